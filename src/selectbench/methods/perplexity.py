"""Perplexity: keep texts of medium perplexity under a reference language model, or those of low or high perplexity."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import centrality
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Perplexity(Method):
    """Rank texts by their perplexity under a reference model and keep the middle, the low end or the high end of the ranking.

    Parameters
    ----------
    end : {"middle", "low", "high"}
        The part of the ranking that is kept; the literature disagrees on which is best.
    """

    end: Literal["middle", "low", "high"] = "middle"

    citation = "Marion et al., When less is more: investigating data pruning for pretraining LLMs at scale, arXiv 2309.04564, 2023."
    needs = ("perplexities",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) rank centralities, or the perplexities (negated to keep the low end)."""
        signals.require("perplexity", "perplexities")
        perplexities = np.asarray(signals.perplexities, dtype=np.float64)
        if self.end == "middle":
            return centrality(perplexities, signals.ids, seed)
        return perplexities if self.end == "high" else -perplexities
