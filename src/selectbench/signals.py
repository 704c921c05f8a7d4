"""Signals: what a proxy run recorded about every sample of a training pool."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from selectbench.arrays import as_array
from selectbench.errors import MissingSignal, SelectbenchError, suggest
from selectbench.records.files import read_arrays, write_arrays

_BLOCK = 1 << 22  # numbers per block when a large array is reduced

# The source that records each signal, and the replicates that record it too. A method pays for the sources of the signals it reads.
SOURCES = {
    "proxy": ("features", "first_features", "logits", "errors", "correct", "aum", "divergences"),
    "gradient_norms": ("gradient_norms",),
    "alignments": ("alignments", "step_sizes"),
    "influences": ("influences", "sample_influences"),
    "encoder": ("embeddings", "validation_embeddings"),
    "statistics": ("lengths", "rarities"),
    "perplexities": ("perplexities",),
}
REPLICATES = {
    "early_replicates": ("errors", "gradient_norms", "last_layer_norms"),
    "whole_replicates": ("correct",),
}
TEXT_SIGNALS = frozenset(  # recorded only for texts
    {"validation_embeddings", "influences", "sample_influences", "lengths", "rarities", "perplexities"}
)
PROXY_SOURCES = frozenset({"proxy", "gradient_norms", "alignments"})  # recorded while the proxy trains


@dataclass(frozen=True, eq=False)
class Signals:
    """Per-sample signals: N samples, C classes, d features, T epochs, R checkpoints or replicates.

    Only ``labels`` is required. Arrays, tensors (of any precision and device, with or without a graph), lists and columns of data frames
    are checked and converted when the object is created.

    Parameters
    ----------
    labels : (N,) integers
        The class of every sample.
    features : (N, d), optional
        Penultimate-layer features of the clean inputs, in evaluation mode.
    logits : (R, N, C) or (N, C), optional
        Outputs at R early checkpoints or of R replicates, in order. ``logits[-1]`` and ``features`` come from the same checkpoint.
    correct : (T, N) or (R, T, N) bool, optional
        Whether the sample was classified correctly in the training pass, before the update; one row per epoch (of each of R runs).
    inputs : (N, …), optional
        The raw inputs.
    ids : (N,) integers, optional
        Sample ids, by default 0 … N−1; selections are returned as these ids.
    recorded_at : (R,) numbers in (0, 1], optional
        The fraction of the proxy's training after which each row of ``logits`` was recorded.
    aum : (N,), optional
        Area under the margin: the label's probability minus the largest other one, averaged over the training passes of all epochs.
    errors : (R, N), optional
        ‖softmax(logits) − onehot(label)‖₂, recorded instead of ``logits`` where these would take too much memory.
    divergences : (T−1, N), optional
        Σ_c |p' log(p'/p)| between the outputs p and p' of an epoch's training pass and the next one's.
    gradient_norms : (R, N), optional
        ‖∇ℓ_i‖₂ over all parameters, at the checkpoints of ``recorded_at`` or of R replicates.
    last_layer_norms : (R, N), optional
        ‖∇ℓ_i‖₂ over the weights and biases of the classifier, of R replicates.
    alignments : (M, N), optional
        ⟨∇L, ∇ℓ_i⟩ over all parameters at M checkpoints during training; L is the mean loss on the pool.
    step_sizes : (M,), optional
        The learning rate at each row of ``alignments``.
    first_features : (N, d), optional
        Features after the first epoch.
    embeddings : (N, d'), optional
        Features of an encoder trained without labels.
    validation_embeddings : (V, d'), optional
        Features of V validation samples from the same encoder.
    lengths : (N,), optional
        Number of tokens of every text.
    rarities : (N,), optional
        Mean over the words of a text of −log(relative frequency in the pool).
    perplexities : (N,), optional
        Perplexity of every text under a reference language model.
    influences : (N,) or (S, N), optional
        Similarity of each sample's gradient to the mean gradient of the validation samples (of each of S tasks), summed over checkpoints
        and weighted by learning rate.
    sample_influences : (N,) or (S, N), optional
        The same with the mean of the similarities to single validation samples instead of the similarity to their mean.

    Raises
    ------
    SelectbenchError
        A shape does not match, rows have different lengths, an array holds NaN, labels are not integers, or ids repeat.
    """

    labels: np.ndarray
    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    correct: np.ndarray | None = None
    inputs: np.ndarray | None = None
    ids: np.ndarray = None  # type: ignore[assignment]  # 0 … N−1 once the object is made
    recorded_at: np.ndarray | None = None
    aum: np.ndarray | None = None
    errors: np.ndarray | None = None
    divergences: np.ndarray | None = None
    gradient_norms: np.ndarray | None = None
    last_layer_norms: np.ndarray | None = None
    alignments: np.ndarray | None = None
    step_sizes: np.ndarray | None = None
    first_features: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    validation_embeddings: np.ndarray | None = None
    lengths: np.ndarray | None = None
    rarities: np.ndarray | None = None
    perplexities: np.ndarray | None = None
    influences: np.ndarray | None = None
    sample_influences: np.ndarray | None = None

    def __post_init__(self) -> None:
        labels = _as_integers("labels", self.labels)
        if labels.ndim != 1 or not len(labels):
            raise SelectbenchError(f"labels: shape {labels.shape} should be (N,) with N > 0")
        ids = np.arange(len(labels)) if self.ids is None else _as_integers("ids", self.ids)
        self._set("labels", labels)
        self._set("ids", ids)
        for field in fields(self):
            if field.name not in ("labels", "ids") and getattr(self, field.name) is not None:
                self._set(field.name, as_array(field.name, getattr(self, field.name)))
        if self.logits is not None and self.logits.ndim == 2:
            self._set("logits", self.logits[None])
        if self.correct is not None:
            self._set("correct", _as_bits(self.correct))
        for name, axis, dimensions in (
            ("ids", 0, (1,)),
            ("features", 0, (2,)),
            ("logits", 1, (3,)),
            ("correct", -1, (2, 3)),
            ("inputs", 0, tuple(range(1, 9))),
            ("aum", 0, (1,)),
            ("errors", 1, (2,)),
            ("divergences", 1, (2,)),
            ("gradient_norms", 1, (2,)),
            ("last_layer_norms", 1, (2,)),
            ("alignments", 1, (2,)),
            ("first_features", 0, (2,)),
            ("embeddings", 0, (2,)),
            ("lengths", 0, (1,)),
            ("rarities", 0, (1,)),
            ("perplexities", 0, (1,)),
            ("influences", -1, (1, 2)),
            ("sample_influences", -1, (1, 2)),
        ):
            self._check(name, axis, len(labels), dimensions)
        if self.validation_embeddings is not None:
            self._check("validation_embeddings", 0, len(np.atleast_1d(self.validation_embeddings)), (2,))
            if self.embeddings is not None and self.embeddings.shape[1] != self.validation_embeddings.shape[1]:
                widths = f"{self.validation_embeddings.shape[1]} and {self.embeddings.shape[1]}"
                raise SelectbenchError(f"validation_embeddings: not as wide as embeddings ({widths}); take both from one encoder")
        unique, counts = np.unique(ids, return_counts=True)
        if len(unique) != len(ids):
            raise SelectbenchError(f"ids: {int(unique[counts > 1][0])} occurs {int(counts.max())} times; sample ids must be unique")
        if self.logits is not None and not (labels.min() >= 0 and labels.max() < self.logits.shape[2]):
            raise SelectbenchError(
                f"labels: run from {labels.min()} to {labels.max()}, but logits have {self.logits.shape[2]} classes (0 … C−1)"
            )
        self._check_rows("recorded_at", "logits", "errors", "gradient_norms")
        self._check_rows("step_sizes", "alignments")

    def _set(self, name: str, value: np.ndarray) -> None:
        object.__setattr__(self, name, value)

    def _check(self, name: str, axis: int, num: int, dimensions: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if value.ndim not in dimensions or value.shape[axis] != num:
            raise SelectbenchError(f"{name}: shape {value.shape} does not fit {len(self.labels)} labels")
        if value.dtype.kind == "f" and not _all_finite(value):
            raise SelectbenchError(f"{name}: holds NaN or infinity; remove these samples from all arrays, or record them again")

    def _check_rows(self, name: str, *described: str) -> None:
        """Convert ``name`` to float64; raise unless it has one number for each row of every signal it describes."""
        if getattr(self, name) is None:
            return
        values = getattr(self, name).astype(np.float64)
        if not np.isfinite(values).all():
            raise SelectbenchError(f"{name}: holds NaN or infinity")
        for other in described:
            rows = getattr(self, other)
            if rows is not None and values.shape != (len(rows),):
                raise SelectbenchError(f"{name}: shape {values.shape} should be ({len(rows)},), one number for each row of {other}")
        self._set(name, values)

    def __len__(self) -> int:
        return len(self.labels)

    def select_early(self, rows: np.ndarray, until: float, method: str) -> np.ndarray:
        """Return the rows of an (R, N) signal recorded in the first fraction ``until`` of training; all of them for 1.

        Raises
        ------
        MissingSignal
            ``recorded_at`` is needed but missing.
        SelectbenchError
            Nothing was recorded that early.
        """
        if until == 1:
            return rows
        self.require(method, "recorded_at")
        recorded_at = np.asarray(self.recorded_at)
        early = recorded_at <= until + 1e-9
        if not early.any():
            raise SelectbenchError(f"{method}: no checkpoint was recorded up to until={until}; the first is at {recorded_at.min():g}")
        return rows[early]

    def require(self, method: str, *names: str) -> None:
        """Raise ``MissingSignal`` for the first of ``names`` that was not recorded."""
        for name in names:
            if getattr(self, name) is None and not (name == "errors" and self.logits is not None):
                raise MissingSignal(method, name if name != "errors" else "logits")

    @cached_property
    def prediction_errors(self) -> np.ndarray:
        """(R, N) float64: ‖softmax(logits) − onehot(label)‖₂ at every checkpoint, as recorded or else computed from ``logits``."""
        if self.errors is not None:
            return np.asarray(self.errors, dtype=np.float64)
        return np.stack([error_norms(row, self.labels) for row in np.asarray(self.logits)])

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file for ``Signals.load``; ``correct`` is packed to bits."""
        arrays = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        if self.correct is not None:
            arrays["correct"] = np.packbits(self.correct, axis=-1)
            arrays["correct_packed"] = np.array(True)
        write_arrays(path, arrays)

    def merge(self, other: "Signals") -> "Signals":
        """Return these signals together with those that only ``other`` has; both must describe the same pool."""
        if not (np.array_equal(self.labels, other.labels) and np.array_equal(self.ids, other.ids)):
            raise SelectbenchError("signals: recordings of different pools cannot be merged")
        added = {field.name: getattr(other, field.name) for field in fields(self) if getattr(self, field.name) is None}
        return replace(self, **added)

    @classmethod
    def load(cls, path: Path) -> "Signals":
        """Read an ``.npz`` file whose arrays are named like the parameters.

        Raises
        ------
        SelectbenchError
            The file cannot be read, an array has an unknown name, or ``labels`` is missing.
        """
        arrays = read_arrays(path)
        packed = arrays.pop("correct_packed", None) is not None
        valid = {field.name for field in fields(cls)}
        for name in arrays:
            if name not in valid:
                raise SelectbenchError(f"{path}: unknown array {name!r}{suggest(name, valid)}")
        if "labels" not in arrays:
            raise SelectbenchError(f"{path}: has no array 'labels', which is required")
        try:
            if packed:
                arrays["correct"] = _unpack_bits(arrays.get("correct"), arrays["labels"])
            return cls(**arrays)
        except SelectbenchError as error:
            raise SelectbenchError(f"{path}: {error}") from None


def error_norms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ‖softmax(z_i) − onehot(y_i)‖₂ for every row, in float64 and block by block.

    Parameters
    ----------
    logits : (N, C)
    labels : (N,) in 0 … C−1

    Returns
    -------
    (N,) float64 in [0, √2]
    """
    norms = np.empty(len(logits), dtype=np.float64)
    rows = max(1, _BLOCK // logits.shape[1])
    for start in range(0, len(logits), rows):
        block = slice(start, start + rows)
        residuals = softmax_residuals(np.asarray(logits[block], dtype=np.float64), labels[block])
        norms[block] = np.sqrt(np.square(residuals).sum(axis=1))
    return norms


def softmax_residuals(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return softmax(z) − onehot(y) (N, C): the gradient of each sample's cross-entropy with respect to its logits."""
    residuals: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    residuals /= residuals.sum(axis=1, keepdims=True)
    residuals[np.arange(len(labels)), labels] -= 1.0
    return residuals


def _as_integers(name: str, values: np.ndarray) -> np.ndarray:
    array = as_array(name, values, "integers")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise SelectbenchError(f"{name}: holds {array.dtype}, not integers")
    return array.astype(np.int64)


def _as_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise SelectbenchError("correct: holds values other than true and false")
    return array.astype(bool)


def _unpack_bits(packed: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    if packed is None or packed.dtype != np.uint8 or not packed.ndim or labels.ndim != 1:
        raise SelectbenchError("correct: is not packed as correct_packed says")
    return np.unpackbits(packed, axis=-1, count=len(labels)).astype(bool)


def _all_finite(values: np.ndarray) -> bool:
    flat = values.reshape(-1)
    return all(np.isfinite(flat[start : start + _BLOCK]).all() for start in range(0, len(flat), _BLOCK))
