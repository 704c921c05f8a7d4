"""Length: keep the longest texts, or the shortest."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Length(Method):
    """Rank texts by their number of tokens; ``tail: low`` keeps the shortest."""

    citation = "Shen, Rethinking data selection for supervised fine-tuning, arXiv 2402.06094, 2024 (the longest responses)."
    needs = ("lengths",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) numbers of tokens."""
        signals.require("length", "lengths")
        return np.asarray(signals.lengths, dtype=np.float64)
