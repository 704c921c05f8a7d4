"""InfoBatch: some of the samples below the mean loss are dropped, the others of them count for those."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, shuffle
from selectbench.errors import SelectbenchError

_LARGEST = 0.9  # of a ratio derived from the keep fraction: a survivor never counts for more than ten


@dataclass(kw_only=True, eq=False)
class InfoBatch(DynamicSampler):
    """Drop a share ρ of the samples whose last loss is below the mean of all last losses; weight the survivors of these by 1/(1 − ρ).

    Of b samples below the mean exactly round(ρ·b) are dropped, but never all. The weight is b over the number of survivors, which is
    1/(1 − ρ) up to that rounding: it is the inverse of a survivor's chance, and an epoch's weights add up to N. Samples at or above the
    mean, and those without a loss, are kept with weight 1.

    The rule fixes ρ, not what is kept. If no ratio is given, it is the one that would keep the wanted fraction if half of the samples
    lay below the mean, ρ = 2·(1 − keep), at most 0.9. Losses are skewed, more than half lie below, so an epoch often keeps less than
    ``keep`` while ρ < 0.9; ``trace`` and ``visits`` say what was kept.

    Parameters
    ----------
    ratio : float
        Share ρ in [0, 1) that is dropped of the samples below the mean; 0 derives it from the keep fraction.
    """

    ratio: float = 0.0

    citation = "Qin et al.: InfoBatch: lossless training speed up by unbiased dynamic data pruning, ICLR 2024, Section 3."
    memory = ("losses",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio < 1:
            raise SelectbenchError(f"ratio: {self.ratio!r} is outside [0, 1); it is the share dropped below the mean, 0 for keep's own")
        self.losses = np.full(self.num_samples, np.nan)

    @property
    def drop_share(self) -> float:
        """The ρ in use."""
        return self.ratio or min(2 * (1 - self.keep), _LARGEST)

    def choose(self, seed: int) -> np.ndarray:
        """Return all ids but the dropped ones."""
        below = np.flatnonzero(self._lie_below())
        num_dropped = min(round(self.drop_share * len(below)), max(0, len(below) - 1))
        return np.delete(np.arange(self.num_samples), shuffle(below, seed)[:num_dropped])

    def weigh(self, chosen: np.ndarray) -> np.ndarray:
        """Return how many samples each one stands for."""
        below = self._lie_below()
        survives = below[chosen]
        return np.where(survives, below.sum() / max(1, survives.sum()), 1.0)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Remember the losses."""
        self.losses[batch.ids] = batch.losses
        return {}

    def _lie_below(self) -> np.ndarray:
        """Mark (N,) the samples below the mean of the known losses; of equal losses none is."""
        known = self.losses[~np.isnan(self.losses)]
        return self.losses < min(known.mean(), known.max()) if len(known) else np.zeros(self.num_samples, dtype=bool)
