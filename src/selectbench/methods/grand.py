"""GraNd, last-layer form: the norm of the loss gradient with respect to the classifier's weights and biases."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import ReplicatedMethod
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class GraNd(ReplicatedMethod):
    """‖∇_{W,b} ℓ_i‖₂ = ‖softmax(z_i) − onehot(y_i)‖₂ · √(‖h_i‖² + 1), a closed form that costs O(C + d) per sample.

    With ``replicates``, the mean of these norms over early replicates (``last_layer_norms``); otherwise the norm at the last checkpoint of
    one run, which ``features`` come from. Full-parameter GraNd (``grand_full``) is a different statistic.
    """

    citation = "Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021, Definition 2.1, restricted to the last layer."
    needs = ("errors", "features")

    @property
    def reads(self) -> tuple[str, ...]:
        """The recorded norms of replicates, or what gives those of one run."""
        return ("last_layer_norms",) if self.replicates else self.needs

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) gradient norms."""
        signals.require("grand", *self.reads)
        if self.replicates:
            means: np.ndarray = np.asarray(signals.last_layer_norms, dtype=np.float64).mean(axis=0)
            return means
        features = np.asarray(signals.features)
        squared_norms = np.einsum("nd,nd->n", features, features, dtype=np.float64)
        norms: np.ndarray = signals.prediction_errors[-1] * np.sqrt(squared_norms + 1.0)
        return norms
