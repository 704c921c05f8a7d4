"""Rare words: the texts whose words are rarest in the pool first, or those of common words."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RareWords(Method):
    """Rank texts by the mean of −log relative frequency of their words; ``tail: low`` keeps texts of common words."""

    citation = "Control: word frequency, the difficulty of Platanios et al., Competence-based curriculum learning, NAACL 2019, as a mean."
    needs = ("rarities",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) mean rarities."""
        signals.require("rare_words", "rarities")
        return np.asarray(signals.rarities, dtype=np.float64)
