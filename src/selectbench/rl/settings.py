"""What the agent of RL-Selector reads of a method's parameters."""

from typing import Literal, Protocol

from selectbench.policy import Quota, Tail

Form = Literal["per_sample", "scalar"]
Terms = Literal["both", "alignment", "redundancy"]
Metric = Literal["cover", "squared", "centroid", "nearest", "cosine"]
Scale = Literal["standard", "mean", "none", "sum"]
Alignment = Literal["gap", "price"]
Baseline = Literal["critic", "draws"]
Algorithm = Literal["a2c", "ppo", "dqn"]
Binarise = Literal["exact", "threshold"]


class RewardSettings(Protocol):
    """Settings of the reward."""

    @property
    def reward(self) -> Form:
        """Whether each sample gets its own reward or all share one."""

    @property
    def terms(self) -> Terms:
        """The parts of the reward that count."""

    @property
    def delta(self) -> float:
        """Weight Δ of the alignment."""

    @property
    def alignment(self) -> Alignment:
        """Whether a kept sample is paid what the alignment gains from it, or pays a price."""

    @property
    def price_rate(self) -> float:
        """How fast the price follows the kept fraction."""

    @property
    def scale(self) -> Scale:
        """How redundancies are scaled."""


class SelectorSettings(RewardSettings, Protocol):
    """Settings of reward, agent and final mask; ``methods.rl_selector.RLSelector``, which describes them all, is one such object."""

    @property
    def algorithm(self) -> Algorithm:
        """The agent."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the agent's Adam."""

    @property
    def baseline(self) -> Baseline:
        """What rewards are compared with."""

    @property
    def normalise(self) -> bool:
        """Whether the advantages of a batch are standardised."""

    @property
    def entropy(self) -> float:
        """Weight of the policy's entropy."""

    @property
    def draws(self) -> int:
        """Actions drawn per state and update."""

    @property
    def updates(self) -> int:
        """Updates per batch."""

    @property
    def learns(self) -> bool:
        """Whether the agent is updated."""

    @property
    def noise(self) -> bool:
        """Whether the mask holds sampled actions or the policy's means."""

    @property
    def epochs(self) -> int:
        """Passes over frozen features."""

    @property
    def batch_size(self) -> int:
        """Samples per step on frozen features."""

    @property
    def tolerance(self) -> float:
        """Largest accepted gap between kept and wanted fraction."""

    @property
    def binarise(self) -> Binarise:
        """Keep exactly k samples, or all whose action exceeds ½."""

    @property
    def quota(self) -> Quota:
        """How the k places are shared among classes."""

    @property
    def tail(self) -> Tail:
        """Which end of the actions is kept."""
