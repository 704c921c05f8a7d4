"""InfoBatch: randomly drop some samples with below-average loss, and give the remaining ones a larger weight."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, shuffle
from selectbench.errors import SelectbenchError

_LARGEST = 0.9  # upper limit of a derived ratio: no weight exceeds about ten


@dataclass(kw_only=True, eq=False)
class InfoBatch(DynamicSampler):
    """Drop a share ρ of the samples whose last loss is below the mean of all last losses; weight the remaining ones by 1/(1 − ρ).

    Of b samples below the mean, exactly round(ρ·b) are dropped, but never all of them. The weight is b divided by the number that
    remain, which is 1/(1 − ρ) up to rounding: the inverse of the probability of being kept, so that an epoch's weights sum to N.
    Samples at or above the mean, and samples without a loss, are kept with weight 1.

    The rule fixes ρ, not the number of samples kept. Unless a ratio is given, ρ = 2·(1 − keep), at most 0.9, which would keep the target
    fraction if half of the samples were below the mean. Because losses are skewed, more than half are, and an epoch often keeps less
    than ``keep`` while ρ < 0.9; ``trace`` and ``visits`` tell what was kept. At ρ = 0.9 the rule stands for a keep fraction of 0.55
    (``reached_keep``), and all lower ones are the same training.

    Parameters
    ----------
    ratio : float
        Share ρ in [0, 1) of the samples below the mean that is dropped; 0 derives it from the keep fraction.
    """

    ratio: float = 0.0

    citation = "Qin et al.: InfoBatch: lossless training speed up by unbiased dynamic data pruning, ICLR 2024, Section 3."
    memory = ("losses",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio < 1:
            raise SelectbenchError(
                f"ratio: {self.ratio!r} is outside [0, 1); it is the share dropped below the mean, 0 derives it from keep"
            )
        self.losses = np.full(self.num_samples, np.nan)

    @property
    def drop_share(self) -> float:
        """The ρ in use."""
        return self.ratio or min(2 * (1 - self.keep_fraction), _LARGEST)

    @property
    def reached_keep(self) -> float:
        """The keep fraction 1 − ρ/2 that ρ stands for."""
        return 1 - self.drop_share / 2

    def choose(self, seed: int) -> np.ndarray:
        """Return all ids except the dropped ones."""
        below = np.flatnonzero(self._lie_below())
        num_dropped = min(round(self.drop_share * len(below)), max(0, len(below) - 1))
        return np.delete(np.arange(self.num_samples), shuffle(below, seed)[:num_dropped])

    def weigh(self, chosen: np.ndarray) -> np.ndarray:
        """Return how many samples each kept sample stands for."""
        below = self._lie_below()
        survives = below[chosen]
        return np.where(survives, below.sum() / max(1, survives.sum()), 1.0)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Store the losses."""
        self.losses[batch.ids] = batch.losses
        return {}

    def _lie_below(self) -> np.ndarray:
        """Mark the samples (N,) below the mean of the known losses: no sample if all losses are equal."""
        known = self.losses[~np.isnan(self.losses)]
        return self.losses < min(known.mean(), known.max()) if len(known) else np.zeros(self.num_samples, dtype=bool)
