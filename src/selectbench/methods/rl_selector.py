"""RL-Selector: an agent learns which samples to keep while a target model trains, rewarded for low redundancy and the right subset size."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import choose_positions
from selectbench.rl.settings import Algorithm, Alignment, Baseline, Binarise, Form, Metric, Scale, Terms
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RLSelector(Method):
    """A2C with a Beta policy over samples; the reward adds alignment with the keep fraction and sample cover of the kept samples.

    In the benchmark the target model trains while the agent learns (``stages/train_selectors.py``). On user-supplied signals the
    features are frozen and the agent makes several passes over them.

    The defaults are those of the tuned agent, chosen by its own reward (``benchmarks/tune_selector.py``); the published settings are
    those of ``rl_selector`` in ``config/methods.yaml``.

    Parameters
    ----------
    reward : {"per_sample", "scalar"}
        Each sample receives its own part of the reward (our reading of the formula), or all samples share one value.
    terms : {"both", "alignment", "redundancy"}
        Which terms the reward contains.
    metric : {"cover", "squared", "centroid", "nearest", "cosine"}
        The redundancy measure: sample cover, or an alternative for comparison.
    scale : {"standard", "mean", "none", "sum"}
        Whether redundancies are standardised, divided by their mean, mean distances as they are, or sums over the class.
    alignment : {"gap", "price"}
        A kept sample is paid what r1 gains from it, which jumps at the target fraction, or pays a price that follows the kept fraction.
    delta : float
        Weight Δ of r1.
    price_rate : float
        How much the price, in units of E, changes per batch and unit of distance from the target fraction.
    algorithm : {"a2c", "ppo", "dqn"}
        The agent; PPO and DQN are taken from stable-baselines3.
    learning_rate : float
        Learning rate of the agent's Adam optimiser.
    baseline : {"critic", "draws"}
        An action's advantage is its reward minus the critic's value of the state, or minus the mean reward of the other draws.
    normalise : bool
        Whether the advantages of an update are standardised. With a scalar reward and one draw they would no longer depend on the
        reward, so this is refused.
    entropy : float
        Weight of the policy's entropy in the loss of A2C, which keeps actions apart that would saturate.
    draws : int
        Actions that A2C draws per state and update.
    updates : int
        Updates of A2C per batch.
    learns : bool
        Whether A2C is updated at all; its never-learning twin acts alike.
    noise : bool
        Whether the mask stores sampled actions instead of the policy's means.
    tolerance : float
        Of the epochs whose kept fraction differs from the target by at most this much, the mask with the highest reward is taken.
    binarise : {"exact", "threshold"}
        Keep exactly the k largest actions, of the nearest epoch if none is within tolerance, or all actions above ½ as in the paper.
    start : float
        Keep fraction at which a policy is first trained, before it is fine-tuned to the target one; 0 trains from scratch.
    transfer_epochs : int
        Epochs of that fine-tuning.
    epochs : int
        Passes over frozen features; with a training target, its recipe sets the number of epochs.
    batch_size : int
        Samples per step on frozen features.
    """

    reward: Form = "per_sample"
    terms: Terms = "both"
    metric: Metric = "cover"
    scale: Scale = "standard"
    alignment: Alignment = "price"
    delta: float = 0.8
    price_rate: float = 0.1
    algorithm: Algorithm = "a2c"
    learning_rate: float = 0.006
    baseline: Baseline = "critic"
    normalise: bool = False
    entropy: float = 0.1
    draws: int = 16
    updates: int = 2
    learns: bool = True
    noise: bool = False
    tolerance: float = 0.01
    binarise: Binarise = "exact"
    start: float = 0.0
    transfer_epochs: int = 15
    epochs: int = 60
    batch_size: int = 64

    citation = "RL-Selector: reinforcement-learning-guided data selection via redundancy assessment, ICCV 2025, Sections 3 and 4."
    needs = ("features",)
    ranked = False
    learned = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("delta", "price_rate", "learning_rate", "tolerance"):
            if getattr(self, name) <= 0:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is not positive")
        if self.entropy < 0:
            raise SelectbenchError(f"entropy: {self.entropy} is negative; 0 adds none")
        if not 0 <= self.start <= 1:
            raise SelectbenchError(f"start: {self.start} is outside [0, 1]; it is a keep fraction, or 0 for none")
        for name in ("transfer_epochs", "epochs", "batch_size", "draws", "updates"):
            if getattr(self, name) < 1:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is less than 1")
        if self.baseline == "draws" and self.draws == 1:
            raise SelectbenchError("baseline: draws has nothing to compare a single draw with; say critic, or draws: 2")
        if self.reward == "scalar" and self.normalise and self.draws == 1:
            raise SelectbenchError(
                "normalise: standardised advantages of one draw do not depend on a scalar reward; say false, or draws: 2"
            )
        if not self.learns and self.algorithm != "a2c":
            raise SelectbenchError(f"learns: only a2c has a never-learning twin, not {self.algorithm}")
        if self.start and self.algorithm != "a2c":
            raise SelectbenchError(f"start: only a2c is fine-tuned from another keep fraction, not {self.algorithm}")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) redundancy values of the features that enter the reward; larger = less redundant."""
        from selectbench.rl.redundancy import measure_redundancy

        signals.require("rl_selector", "features")
        return measure_redundancy(self.metric, np.asarray(signals.features), signals.labels)

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return the positions that an agent keeps, trained on frozen features and these redundancies; best first.

        Raises
        ------
        SelectionFailedError
            The mask is thresholded, and the policy never came close enough to the target keep fraction.
        """
        if num_kept == len(signals):
            return choose_positions(scores, num_kept, labels=None, ids=signals.ids, quota="none", tail="high", seed=seed)
        from selectbench.rl.selector import select_frozen

        signals.require("rl_selector", "features")
        return select_frozen(self, scores, signals, num_kept, seed)
