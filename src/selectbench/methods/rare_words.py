"""Rare words: keep the texts whose words are rarest in the pool, or those with the most common words."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RareWords(Method):
    """Rank texts by the mean of −log relative frequency of their words; ``tail: low`` keeps texts with common words."""

    citation = "Control: mean word rarity, after Platanios et al., Competence-based curriculum learning, NAACL 2019."
    needs = ("rarities",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) mean rarities."""
        signals.require("rare_words", "rarities")
        return np.asarray(signals.rarities, dtype=np.float64)
