"""Perplexity: the texts that a reference language model finds neither easy nor hard, or one of these ends."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import centrality
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Perplexity(Method):
    """Rank texts by their perplexity under a reference model and keep the middle of the ranking, or the low or high end.

    Parameters
    ----------
    end : {"middle", "low", "high"}
        What is kept; the literature disagrees on the best end.
    """

    end: Literal["middle", "low", "high"] = "middle"

    citation = "Marion et al., When less is more: investigating data pruning for pretraining LLMs at scale, arXiv 2309.04564, 2023."
    needs = ("perplexities",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) centralities of the ranks, or perplexities, negative if the low end is kept."""
        signals.require("perplexity", "perplexities")
        perplexities = np.asarray(signals.perplexities, dtype=np.float64)
        if self.end == "middle":
            return centrality(perplexities, signals.ids, seed)
        return perplexities if self.end == "high" else -perplexities
