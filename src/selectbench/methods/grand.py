"""GraNd, last-layer form: the norm of the loss gradient with respect to the classifier's weights and biases."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class GraNd(Method):
    """‖∇_{W,b} ℓ_i‖₂ = ‖softmax(z_i) − onehot(y_i)‖₂ · √(‖h_i‖² + 1), a closed form that costs O(C + d) per sample.

    Uses the last checkpoint, which ``features`` come from. Full-parameter GraNd (``grand_full``) is a different statistic.
    """

    citation = "Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021, Definition 2.1, restricted to the last layer."
    needs = ("errors", "features")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) gradient norms."""
        signals.require("grand", "errors", "features")
        features = np.asarray(signals.features)
        squared_norms = np.einsum("nd,nd->n", features, features, dtype=np.float64)
        norms: np.ndarray = signals.prediction_errors[-1] * np.sqrt(squared_norms + 1.0)
        return norms
