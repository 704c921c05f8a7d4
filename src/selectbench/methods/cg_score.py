"""CG-Score: a sample's contribution to the complexity gap of its class, computed from the inputs alone."""

from dataclasses import dataclass

import numpy as np

from selectbench.arrays import refuse_oversized
from selectbench.errors import SelectbenchError
from selectbench.methods._base import FEWER, Method
from selectbench.policy import Quota
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals

_PEAK = 3 * 8  # bytes per entry of a kernel: it and two intermediate results in float64


@dataclass(frozen=True, kw_only=True)
class CGScore(Method):
    """yᵀH⁻¹y minus the same value without the sample, where H is the kernel of an infinitely wide two-layer ReLU network.

    Inputs are scaled to unit norm. For each class, its samples (y = +1) are contrasted with as many random samples of other classes
    (y = −1), or with all of them if there are fewer. Both together, n samples, take 24 n² bytes; what does not fit is refused at once.

    Parameters
    ----------
    repeats : int
        Number of draws from the other classes; scores are averaged over them.
    jitter : float
        Added to the diagonal of H, so that H stays invertible when inputs repeat.
    """

    quota: Quota = "proportional"
    repeats: int = 1
    jitter: float = 1e-6

    citation = "Nohyun, Choi & Chung, Data Valuation Without Training of a Model, ICLR 2023, Definition 1 and Equation 7."
    needs = ("inputs",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats < 1:
            raise SelectbenchError(f"repeats: {self.repeats} is less than 1")
        if self.jitter < 0:
            raise SelectbenchError(f"jitter: {self.jitter} is negative")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) non-negative scores."""
        signals.require("cg_score", "inputs")
        inputs = np.asarray(signals.inputs, dtype=np.float64).reshape(len(signals), -1)
        norms = np.linalg.norm(inputs, axis=1, keepdims=True)
        units = inputs / np.where(norms > 0, norms, 1.0)
        by_id = np.argsort(signals.ids)
        scores = np.zeros(len(signals))
        for label in np.unique(signals.labels):
            members = by_id[signals.labels[by_id] == label]
            others = by_id[signals.labels[by_id] != label]
            for repeat in range(self.repeats):
                keys = hash_ids(signals.ids[others], derive_seed("cg_score", seed, label, repeat))
                drawn = others[np.argsort(keys)[: len(members)]]
                signs = np.repeat([1.0, -1.0], [len(members), len(drawn)])
                gaps = complexity_gaps(units[np.concatenate([members, drawn])], signs, self.jitter)
                scores[members] += gaps[: len(members)] / self.repeats
        return scores

    def check_memory(self, labels: np.ndarray) -> None:
        """Raise if the largest kernel does not fit into memory: of a class and as many others, or all of them."""
        sizes = np.unique(labels, return_counts=True)[1]
        most = int((sizes + np.minimum(sizes, len(labels) - sizes)).max())
        refuse_oversized(f"cg_score: the kernel of {most:,} samples (a class and as many others)", _PEAK * most**2, FEWER)


def relu_kernel(units: np.ndarray) -> np.ndarray:
    """Return H (n, n) with entries ⟨x, x'⟩ (π − arccos⟨x, x'⟩) / 2π for unit-norm rows, ½ on the diagonal."""
    cosines = np.clip(units @ units.T, -1.0, 1.0)
    kernel: np.ndarray = cosines * (np.pi - np.arccos(cosines)) / (2 * np.pi)
    np.fill_diagonal(kernel, 0.5)
    return kernel


def complexity_gaps(units: np.ndarray, signs: np.ndarray, jitter: float) -> np.ndarray:
    """Return yᵀH⁻¹y − y₋ᵢᵀ(H₋ᵢ)⁻¹y₋ᵢ for every i: (H⁻¹y)_i² / (H⁻¹)_ii, from a single Cholesky factorisation.

    Parameters
    ----------
    units : (n, d) float64, rows of unit norm
    signs : (n,) ±1
    jitter : added to the diagonal of H
    """
    from scipy.linalg import lapack

    kernel = relu_kernel(units)
    kernel[np.diag_indices_from(kernel)] += jitter
    factor, failed = lapack.dpotrf(kernel, lower=True, overwrite_a=True)
    if failed:
        raise SelectbenchError(f"cg_score: the kernel of {len(units)} inputs is singular; set jitter above {jitter:g}")
    solved, _ = lapack.dpotrs(factor, signs, lower=True)
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    gaps: np.ndarray = np.square(solved) / np.diagonal(inverse)
    return gaps
