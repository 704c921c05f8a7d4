"""RL-Selector: an agent that scores samples by redundancy and kept fraction while a target model trains."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import choose_positions
from selectbench.rl.settings import Algorithm, Binarise, Form, Metric, Scale, Terms
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RLSelector(Method):
    """A2C with a Beta policy over samples; reward = alignment with the keep fraction + redundancy (ε-sample cover) of what is kept.

    In the benchmark the target model trains while the agent learns (``stages/train_selectors.py``). On signals of one's own, the
    features are frozen and the agent walks over them.

    Parameters
    ----------
    reward : {"per_sample", "scalar"}
        Each sample is paid its own part of the reward (the formula's reading), or all share one number.
    terms : {"both", "alignment", "redundancy"}
        Which parts of the reward count.
    metric : {"cover", "squared", "centroid", "nearest", "cosine"}
        The redundancy: sample cover, or what it is compared with.
    scale : {"standard", "mean"}
        Whether redundancies are standardised or divided by their mean.
    delta : float
        Weight Δ of the alignment.
    algorithm : {"a2c", "ppo", "dqn"}
        The agent; PPO and DQN are those of stable-baselines3.
    learning_rate : float
        Of the agent's Adam.
    noise : bool
        Whether the mask holds sampled actions or the policy's means.
    tolerance : float
        Largest distance of the kept fraction from the wanted one at which an epoch's mask is a candidate.
    binarise : {"exact", "threshold"}
        Keep exactly k by the largest actions, or all actions above ½ as the paper does.
    start : float
        Keep fraction at which a policy is trained first, to be fine-tuned to the wanted one; 0 trains from scratch.
    transfer_epochs : int
        Epochs of that fine-tuning.
    epochs : int
        Passes over frozen features; a training target has the epochs of its recipe.
    batch_size : int
        Samples a step on frozen features.
    """

    reward: Form = "per_sample"
    terms: Terms = "both"
    metric: Metric = "cover"
    scale: Scale = "standard"
    delta: float = 0.8
    algorithm: Algorithm = "a2c"
    learning_rate: float = 0.003
    noise: bool = True
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
        for name in ("delta", "learning_rate", "tolerance"):
            if getattr(self, name) <= 0:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is not positive")
        if not 0 <= self.start <= 1:
            raise SelectbenchError(f"start: {self.start} is outside [0, 1]; it is a keep fraction, or 0 for none")
        for name in ("transfer_epochs", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is less than 1")
        if self.start and self.algorithm != "a2c":
            raise SelectbenchError(f"start: only a2c is fine-tuned from another keep fraction, not {self.algorithm}")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) redundancies of the features, which the agent is paid by; larger = less redundant."""
        from selectbench.rl.redundancy import measure_redundancy

        signals.require("rl_selector", "features")
        return measure_redundancy(self.metric, np.asarray(signals.features), signals.labels)

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return the positions that an agent on these frozen redundancies keeps, best first.

        Raises
        ------
        SelectionFailedError
            The policy never came near the wanted kept fraction.
        """
        if num_kept == len(signals):
            return choose_positions(scores, num_kept, labels=None, ids=signals.ids, quota="none", tail="high", seed=seed)
        from selectbench.rl.selector import select_frozen

        signals.require("rl_selector", "features")
        return select_frozen(self, scores, signals, num_kept, seed)
