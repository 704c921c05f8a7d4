"""The base of all dynamic samplers: the ordered ids of an epoch, a loss weight for each, and a memory of what was observed."""

import math
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np

from selectbench.arrays import as_array, check_returned, is_tensor
from selectbench.errors import SelectbenchError, suggest
from selectbench.policy import count_kept, order_by_score, parse_keep
from selectbench.registry import check_fields, check_parameter
from selectbench.seeds import derive_seed, hash_ids

if TYPE_CHECKING:
    import torch

    from selectbench.arrays import Values

VERSION = 1  # of the states of samplers


@dataclass(frozen=True, eq=False)
class Observation:
    """One batch, as passed to ``observe``; optional parts are stored as they were given.

    Parameters
    ----------
    ids : (B,) int64
    losses : (B,) float64, finite, unweighted
    logits : (B, C), or None
    features : (B, d), or None
    uncertainty : (B,) in [0, 1], or None
    """

    ids: np.ndarray
    losses: np.ndarray
    logits: "Values | None" = None
    features: "Values | None" = None
    uncertainty: "Values | None" = None


@dataclass(kw_only=True, eq=False)
class DynamicSampler(ABC):
    """A sampler for ``DataLoader(sampler=…)`` that makes a new choice every epoch from what it has observed so far.

    Every ``iter`` is one epoch and starts the next one when its first id is requested. ``set_epoch`` names the next epoch explicitly;
    given the current epoch, it repeats that epoch with the same choice. Global random generators are neither read nor written: the
    order of an epoch is a function of (seed, epoch, sample id), the same for all samplers, and a rule's own draws use a separate stream.

    A pass that was left before its end (a look at a batch before training, a state that was taken inside an epoch) is neither repeated nor
    skipped silently: the next pass asks for ``set_epoch``. Threads may share a sampler, which serves one call at a time. Processes do not:
    more than one is refused unless each of them observes whole batches in the same order, and ``whole_batches`` says so.

    Parameters
    ----------
    num_samples : int
        N; sample ids are 0 … N−1.
    keep : float
        Fraction kept in a pruned epoch: k = round-half-even(keep · N).
    epochs : int
        T, the length of the training.
    seed : int
        For the order and all random choices.
    warmup : int
        Number of epochs on full data at the start.
    anneal : float
        Epochs that end after this share of the training use full data; 1 means no annealing.
    loss_weight : {"rule", "none", "inverse_keep"}
        The rule's own weights, weights of 1, or weights of 1/keep in pruned epochs.

    Attributes
    ----------
    num_kept : k
    epoch : the current epoch, −1 before the first
    trace : one row per epoch: ``epoch``, ``kept``, and what was observed during it: ``observed`` samples, ``batches``, mean ``loss``
    overhead_s : wall time spent on choosing and observing, excluding the time spent waiting for the device
    whole_batches : whether, in distributed training, every process observes the whole batches of all processes; False unless it is set
    """

    num_samples: int
    keep: float | str
    epochs: int
    seed: int = 0
    warmup: int = 1
    anneal: float = 0.875
    loss_weight: Literal["rule", "none", "inverse_keep"] = "rule"

    citation: ClassVar[str]
    watches: ClassVar[bool] = True  # whether the rule uses observations
    memory: ClassVar[tuple[str, ...]] = ()  # attributes with one number per sample; saved in the state
    measures: ClassVar[tuple[str, ...]] = ()  # additional columns of the trace
    packages: ClassVar[tuple[str, ...]] = ()  # imported when the first batch is observed

    def __post_init__(self) -> None:
        """Check every parameter; rules with further bounds extend this check."""
        check_fields(self, leave=("keep",))
        for name, least in (("num_samples", 1), ("epochs", 1), ("warmup", 0)):
            if getattr(self, name) < least:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is less than {least}")
        if not 0 < self.anneal <= 1:
            raise SelectbenchError(f"anneal: {self.anneal!r} is outside (0, 1]; it is a share of the training, 1 for no annealing")
        self.num_kept = count_kept(self.keep, self.num_samples)
        self.keep = float(parse_keep(self.keep))
        self.epoch = -1
        self.trace: list[dict[str, float | None]] = []
        self.overhead_s = 0.0
        self.whole_batches = False
        self._lock = threading.RLock()
        self._started = False  # whether the current epoch has been passed over
        self._num_handed = 0  # ids handed out in its last pass
        self._resumed = False  # whether it is the one of a restored state, and not yet named again or left
        self._num_observed = 0
        self._counts = np.zeros(self.num_samples, dtype=np.int64)
        self._enter(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        self._annealed_from = math.floor(Fraction(str(self.anneal)) * self.epochs)
        if self.keep < 1 and self.warmup >= self._annealed_from:
            raise SelectbenchError(
                f"epochs: none of {self.epochs} is pruned with warmup {self.warmup} and anneal {self.anneal}; train longer or change these"
            )

    @property
    def name(self) -> str:
        """The sampler's id."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def keep_fraction(self) -> float:
        """The keep fraction as a number."""
        return float(self.keep)

    @property
    def planned_visits(self) -> int:
        """The sample visits of a whole training: k in each epoch that prunes, and N in each of the others."""
        return sum(self.num_kept if self.prunes(epoch) else self.num_samples for epoch in range(self.epochs))

    @property
    def num_epochs(self) -> int:
        """The number of epochs after which the training is over: T, unless the rule says otherwise."""
        return self.epochs

    @property
    def reached_keep(self) -> float:
        """The keep fraction that the rule's parameters stand for, which may be limited to more than the one asked for."""
        return self.keep_fraction

    def locate(self, epoch: int) -> float:
        """Return the place of an epoch's beginning in a learning-rate schedule over T epochs."""
        return epoch

    @abstractmethod
    def choose(self, seed: int) -> np.ndarray:
        """Return the ids (k,) int64 of a pruned epoch, in any order; ``seed`` differs between epochs."""

    @abstractmethod
    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Learn from one batch; return the measurements that the trace averages."""

    def weigh(self, chosen: np.ndarray) -> np.ndarray:
        """Return the rule's loss weights (k,) for the ids of an epoch, pruned or not."""
        return np.ones(len(chosen))

    def end_epoch(self) -> None:  # noqa: B027  (most rules have nothing to do)
        """Finish an epoch, before the next one is chosen."""

    def prunes(self, epoch: int) -> bool:
        """Tell whether the rule chooses an epoch; otherwise it visits full data."""
        return self.warmup <= epoch < self._annealed_from

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch and choose its samples; optional, since every ``iter`` advances by one epoch.

        Raises
        ------
        SelectbenchError
            The epoch has passed, or lies beyond the last one.
        """
        epoch = check_parameter("epoch", int, epoch)
        with self._lock:
            if not max(self.epoch, 0) <= epoch < self.num_epochs:
                raise SelectbenchError(
                    f"set_epoch: {epoch} is outside {max(self.epoch, 0)} … {self.num_epochs - 1}, the remaining epochs; "
                    f"use load_state_dict to go back, and set_epoch({self._next_epoch}) to go on (with accelerate, the prepared loader's)"
                )
            if epoch > self.epoch:
                self._begin(epoch)
            self._started, self._resumed = False, False

    def __iter__(self) -> Iterator[int]:
        """Yield the ids of an epoch as Python integers; the epoch is chosen when the first id is requested.

        Raises
        ------
        SelectbenchError
            The last pass was left before its end, or the training is over.
        """
        with self._lock:
            self._refuse_ranks()
            if self._started:
                self._refuse_unfinished()
                self._begin(self.epoch + 1)
            self._ensure_begun()
            self._started, self._num_handed = True, 0
            ids = self._ids
        for sample in ids.tolist():
            with self._lock:
                self._counts[sample] += 1
                self._num_handed += ids is self._ids
            yield sample

    def __len__(self) -> int:
        """Return how many samples the current epoch visits."""
        return len(self.epoch_ids)

    @property
    def epoch_ids(self) -> np.ndarray:
        """The ids (k,) of the current epoch in the order of visits; read-only."""
        self._ensure_begun()
        return self._ids

    @property
    def visit_counts(self) -> np.ndarray:
        """How often each sample was visited (N,)."""
        return self._counts.copy()

    @property
    def visits(self) -> int:
        """Total number of sample visits so far."""
        return int(self._counts.sum())

    @property
    def seen_fraction(self) -> float:
        """The share of samples that were visited at least once."""
        return float((self._counts > 0).mean())

    @overload
    def weights(self, ids: "torch.Tensor") -> "torch.Tensor": ...

    @overload
    def weights(self, ids: "np.ndarray | Sequence[int]") -> np.ndarray: ...

    def weights(self, ids: "np.ndarray | torch.Tensor | Sequence[int]") -> "np.ndarray | torch.Tensor":
        """Return the loss weights of a batch in the current epoch.

        Parameters
        ----------
        ids : (B,) integers

        Returns
        -------
        (B,) float32; a tensor on the device of ``ids`` if those are a tensor, otherwise an array.

        Raises
        ------
        SelectbenchError
            An id is not part of the current epoch.
        """
        with self._lock:
            weights: np.ndarray = self._weights[self._check_ids("weights", ids)]
        if not is_tensor(ids):
            return weights
        import torch

        return torch.from_numpy(weights).to(ids.device)

    def observe(
        self,
        ids: "Values",
        losses: "Values",
        logits: "Values | None" = None,
        features: "Values | None" = None,
        uncertainty: "Values | None" = None,
    ) -> None:
        """Observe the model's outputs on a batch. Tensors are detached; arrays and lists are accepted too.

        Parameters
        ----------
        ids : (B,) integers
        losses : (B,) finite, unweighted, one per sample
        logits : (B, C), for rules that use uncertainty
        features : (B, d), for rules that use the model's features
        uncertainty : (B,) in [0, 1], instead of logits if there are no classes

        Raises
        ------
        SelectbenchError
            A shape is wrong, an id is not part of the current epoch, a loss is not finite, or an input that the rule needs is missing.
        """
        with self._lock:
            self._observe(ids, losses, logits, features, uncertainty)

    def _observe(
        self, ids: "Values", losses: "Values", logits: "Values | None", features: "Values | None", uncertainty: "Values | None"
    ) -> None:
        positions, numbers = self._check_ids("observe", ids), to_numpy("observe: losses", losses).astype(np.float64)
        if numbers.shape != positions.shape:
            raise SelectbenchError(f"observe: losses {numbers.shape} do not match ids {positions.shape}; give one loss per sample")
        if not np.isfinite(numbers).all():
            worst = int(np.isfinite(numbers).argmin())
            raise SelectbenchError(f"observe: the loss of sample {positions[worst]} is {numbers[worst]}")
        if not len(positions):
            return
        started = time.perf_counter()
        measured = self.learn(Observation(positions, numbers, logits, features, uncertainty))
        self._num_observed += len(positions)
        if self.trace:
            self._record(len(positions), float(numbers.mean()), measured)
        self.overhead_s += time.perf_counter() - started

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume: numbers, strings, lists and arrays.

        Arrays are returned as tensors if torch is loaded, so that a saved state can be read with ``torch.load(weights_only=True)``.
        """
        with self._lock:
            return self._collect_state()

    def _collect_state(self) -> dict[str, Any]:
        return {
            "sampler": self.name,
            "version": VERSION,
            "parameters": {parameter.name: getattr(self, parameter.name) for parameter in fields(self)},
            "epoch": self.epoch,
            "started": self._started,
            "num_handed": self._num_handed,
            "ids": _pack(self._ids),
            "weights": _pack(self._weights[self._ids]),
            "counts": _pack(self._counts),
            "num_observed": self._num_observed,
            "overhead_s": self.overhead_s,
            "trace": [dict(row) for row in self.trace],
            "rule": {name: _pack(getattr(self, name)) for name in self.memory},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a ``state_dict``; nothing changes if it is refused.

        The next pass is the epoch after that of the state. If the state was taken inside an epoch, pass its number to ``set_epoch`` to
        repeat it, or the next one's to go on.

        Raises
        ------
        SelectbenchError
            The state belongs to another sampler, to other parameters or to another version, or it is damaged: an entry is missing,
            unknown, or of a wrong length.
        """
        with self._lock:
            self._check_state(state)
            self._restore(state)

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Raise unless a state has the entries, the kinds and the lengths that this sampler's own has."""
        if not isinstance(state, Mapping) or "sampler" not in state:
            raise SelectbenchError("load_state_dict: not the state of a sampler; give what state_dict returned")
        if state["sampler"] != self.name:
            raise SelectbenchError(f"load_state_dict: the state belongs to sampler {state['sampler']!r}, not {self.name!r}")
        if state.get("version") != VERSION:
            raise SelectbenchError(
                f"load_state_dict: the state has version {state.get('version')!r}, and this selectbench reads {VERSION}; train again"
            )
        own = self._collect_state()
        match_keys("", state, own)
        match_keys("parameters.", state["parameters"], own["parameters"])
        match_keys("rule.", state["rule"], own["rule"])
        for name, ours in own["parameters"].items():
            theirs = state["parameters"][name]
            if not isinstance(theirs, int | float | str) or theirs != ours:
                raise SelectbenchError(f"load_state_dict: {name} is {theirs!r} in the state and {ours!r} here")
        for name, kind in (("epoch", int), ("started", bool), ("num_handed", int), ("num_observed", int), ("overhead_s", float)):
            check_parameter(f"load_state_dict: {name}", kind, state[name])
        if state["num_observed"] < 0 or state["overhead_s"] < 0:
            raise SelectbenchError("load_state_dict: num_observed or overhead_s is negative; the state is damaged")
        if not -1 <= state["epoch"] < self.num_epochs:
            raise SelectbenchError(f"load_state_dict: epoch: {state['epoch']} is outside -1 … {self.num_epochs - 1}")
        ids = read_numbers("ids", state["ids"], None, "iu")
        if len(np.unique(ids)) != len(ids) or (ids.size and not 0 <= ids.min() <= ids.max() < self.num_samples):
            raise SelectbenchError(f"load_state_dict: ids: not different ids in 0 … {self.num_samples - 1}")
        self._check_trace(state, len(ids))
        if not 0 <= state["num_handed"] <= len(ids):
            raise SelectbenchError(f"load_state_dict: num_handed: {state['num_handed']} is outside 0 … {len(ids)}")
        if not (read_numbers("weights", state["weights"], len(ids), "f") > 0).all():
            raise SelectbenchError("load_state_dict: weights: not all positive")
        if (read_numbers("counts", state["counts"], self.num_samples, "iu") < 0).any():
            raise SelectbenchError("load_state_dict: counts: not all positive or zero; the state is damaged")
        for name in self.memory:
            read_numbers(f"rule.{name}", state["rule"][name], self.num_samples, getattr(self, name).dtype.kind, missing=True)

    def _check_trace(self, state: Mapping[str, Any], num_ids: int) -> None:
        """Raise unless the trace of a state has this sampler's columns, and ends with the epoch of the state."""
        columns = {"epoch", "kept", "observed", "batches", "loss", *self.measures}
        rows = state["trace"] if isinstance(state["trace"], list) else [None]
        if not all(isinstance(row, Mapping) and row.keys() == columns and all(map(is_entry, row.values())) for row in rows):
            raise SelectbenchError(f"load_state_dict: trace: not a list of rows with {', '.join(sorted(columns))}; the state is damaged")
        epoch, kept = (state["trace"][-1]["epoch"], state["trace"][-1]["kept"]) if state["trace"] else (-1, 0)
        if (epoch, kept) != (state["epoch"], num_ids):
            found = f"{num_ids} ids of epoch {state['epoch']}, but its trace ends with {kept} of epoch {epoch}"
            raise SelectbenchError(f"load_state_dict: ids: holds {found}; the state is damaged")

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        self._started, self._num_handed, self._resumed = state["started"], state["num_handed"], True
        self._enter(to_numpy("ids", state["ids"]), to_numpy("weights", state["weights"]))
        self._counts = to_numpy("counts", state["counts"]).copy()
        self._num_observed = state["num_observed"]
        self.overhead_s = state["overhead_s"]
        self.trace = [dict(row) for row in state["trace"]]
        for name in self.memory:
            setattr(self, name, to_numpy(name, state["rule"][name]).copy())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    @property
    def _next_epoch(self) -> int:
        """The epoch of the next pass, or the last one of all."""
        return min(max(self.epoch, 0) + self._started, self.num_epochs - 1)

    def _refuse_unfinished(self) -> None:
        """Raise if the last pass over the current epoch was left before its end, and it is unclear whether to repeat the epoch."""
        row, num = self.trace[-1], len(self._ids)
        observed, batches = int(row["observed"] or 0), int(row["batches"] or 0)
        is_short = self._num_handed < num
        later = f", or set_epoch({self.epoch + 1}) to go on" if self.epoch + 1 < self.num_epochs else ""
        remedy = f"call set_epoch({self.epoch}) to repeat it{later}"
        if self._resumed and (is_short or (batches and num - observed >= observed / batches)):
            done = f"{self._num_handed if is_short else observed} of {num} samples"
            raise SelectbenchError(f"the state was taken inside epoch {self.epoch}, after {done}; {remedy}")
        if is_short and not observed:
            raise SelectbenchError(
                f"epoch {self.epoch} was left after {self._num_handed} of {num} samples, and none of them was observed; {remedy}"
            )

    def _ensure_begun(self) -> None:
        with self._lock:
            if self.epoch < 0:
                self._begin(0)

    def _begin(self, epoch: int) -> None:
        """Choose the ordered ids of an epoch and their weights."""
        if epoch >= self.num_epochs:
            last = self.num_epochs - 1
            raise SelectbenchError(f"epoch {epoch} is past the last one, {last}; the sampler was made for {self.num_epochs} epochs")
        self._refuse_ranks()
        started = time.perf_counter()
        self.end_epoch()
        pruned = self.prunes(epoch)
        if pruned and epoch and self.watches and not self._num_observed:
            raise SelectbenchError(
                f"{self.name} has nothing to choose epoch {epoch} from; call observe(ids, losses, …) after every batch, "
                f"and set_epoch({epoch - 1}) after a mere look at a batch"
            )
        choice_seed = derive_seed("dynamic", "choice", self.name, self.seed, epoch)
        chosen = self._check_choice(self.choose(choice_seed)) if pruned else np.arange(self.num_samples)
        ids = shuffle(chosen, derive_seed("dynamic", "order", self.seed, epoch))
        self._enter(ids, self._weigh(ids, pruned))
        self.epoch, self._started, self._num_handed, self._resumed = epoch, False, 0, False
        row: dict[str, float | None] = {"epoch": epoch, "kept": len(ids), "observed": 0, "batches": 0, "loss": None}
        self.trace.append(row | dict.fromkeys(self.measures))
        self.overhead_s += time.perf_counter() - started

    def _refuse_ranks(self) -> None:
        """Raise if this is one of several processes that would each choose from what it alone has observed."""
        size = 1 if self.whole_batches else count_ranks()
        if size > 1:
            raise SelectbenchError(
                f"{self.name}: samplers do not share observations between the {size} processes of this training; use one process, or let "
                "each observe the whole batches of all, in the same order, and set sampler.whole_batches = True"
            )

    def _weigh(self, ids: np.ndarray, pruned: bool) -> np.ndarray:
        if self.loss_weight == "rule":
            return self._check_weights(ids, self.weigh(ids))
        return np.full(len(ids), 1.0 / self.keep_fraction if pruned and self.loss_weight == "inverse_keep" else 1.0)

    def _check_choice(self, chosen: "Values") -> np.ndarray:
        """Return the ids (k,) int64 that the rule chose; raise unless they are different ids of the pool, and one at least."""
        ids = as_array(f"{self.name}: choose", chosen)
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
            raise SelectbenchError(f"{self.name}: choose returned {ids.shape} of {ids.dtype}, not (k,) ids")
        if not 0 <= ids.min() <= ids.max() < self.num_samples or len(np.unique(ids)) < len(ids):
            raise SelectbenchError(f"{self.name}: choose returned ids that are not different ones among 0 … {self.num_samples - 1}")
        return ids.astype(np.int64, copy=False)

    def _check_weights(self, ids: np.ndarray, weights: "Values") -> np.ndarray:
        """Return the loss weights (k,) that the rule gave; raise unless there is one, finite and not 0, for each id."""
        found = as_array(f"{self.name}: weigh", weights)
        if found.shape != ids.shape:
            raise SelectbenchError(f"{self.name}: weigh returned {found.shape} for {ids.shape} ids; give one weight per sample")
        bad = ~np.isfinite(found) | (found == 0)
        if bad.any():
            worst = int(bad.argmax())
            raise SelectbenchError(f"{self.name}: weigh returned {found[worst]} for sample {ids[worst]}; give finite weights other than 0")
        return found

    def _enter(self, ids: np.ndarray, weights: np.ndarray) -> None:
        """Set the ids and weights of the current epoch."""
        self._ids = ids.copy()
        self._ids.flags.writeable = False
        self._weights = np.zeros(self.num_samples, dtype=np.float32)
        self._weights[ids] = weights

    def _check_ids(self, verb: str, ids: "Values") -> np.ndarray:
        self._ensure_begun()
        positions = to_numpy(f"{verb}: ids", ids)
        if positions.ndim != 1 or (positions.dtype.kind not in "iu" and len(positions)):
            raise SelectbenchError(f"{verb}: ids must be (B,) whole numbers, not {positions.shape} of {positions.dtype}")
        unknown = (positions < 0) | (positions >= self.num_samples)
        if unknown.any():
            raise SelectbenchError(f"{verb}: id {positions[unknown.argmax()]} is outside 0 … {self.num_samples - 1}")
        positions = positions.astype(np.int64)
        strange = self._weights[positions] == 0
        if strange.any():
            raise SelectbenchError(
                f"{verb}: sample {positions[strange.argmax()]} is not in epoch {self.epoch}; give only ids that the sampler hands out in it"
            )
        return positions

    def _record(self, num: int, loss: float, measured: Mapping[str, float]) -> None:
        """Add a batch to the epoch's row: the loss averaged over samples, the rule's measurements over batches."""
        row = self.trace[-1]
        observed, batches = (row["observed"] or 0) + num, (row["batches"] or 0) + 1
        row["observed"], row["batches"] = observed, batches
        row["loss"] = fold(row["loss"], loss, num / observed)
        for name, value in measured.items():
            if name not in self.measures:
                raise SelectbenchError(f"{self.name}: learn returned {name!r}, which is no measure of it{suggest(name, self.measures)}")
            check_returned(f"{self.name}: learn", name, value)
            row[name] = fold(row[name], value, 1 / batches)


def fold(mean: float | None, value: float, share: float) -> float:
    """Return a running mean updated with a value that makes up the given share of all values."""
    return value if mean is None else mean + share * (value - mean)


def shuffle(ids: np.ndarray, seed: int) -> np.ndarray:
    """Return ids in the order of their seeded hashes: uniformly random, independent of the input order."""
    return ids[np.argsort(hash_ids(ids, seed))]


def take_highest(scores: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Return the ids of the ``num`` highest scores; samples without a score (NaN) come first, ties break by the seeded hash of the id."""
    return order_by_score(np.where(np.isnan(scores), np.inf, scores), np.arange(len(scores)), seed)[:num]


def to_numpy(name: str, values: "Values") -> np.ndarray:
    """Return a tensor, array or list as an array (see ``as_array``); floating-point tensors become float64."""
    array = as_array(name, values)
    return array.astype(np.float64) if is_tensor(values) and array.dtype.kind == "f" else array


def read_numbers(name: str, values: object, num: int | None, kinds: str, missing: bool = False) -> np.ndarray:
    """Return an array (num,) of a state.

    Parameters
    ----------
    name : of the entry
    values : an array or a tensor
    num : its length, or None for any
    kinds : of its dtype, as NumPy abbreviates them
    missing : whether NaN may stand for samples without a value

    Raises
    ------
    SelectbenchError
        The entry has another shape or kind.
    """
    array = as_array(f"load_state_dict: {name}", values)
    if array.ndim != 1 or array.dtype.kind not in kinds or num not in (None, len(array)):
        expected = f"({'N' if num is None else num},)"
        raise SelectbenchError(f"load_state_dict: {name}: {array.shape} of {array.dtype} instead of {expected}; the state is damaged")
    if array.dtype.kind == "f" and not (np.isfinite(array) | (missing & np.isnan(array))).all():
        raise SelectbenchError(f"load_state_dict: {name}: holds NaN or infinity; the state is damaged")
    return array


def is_entry(value: object) -> bool:
    """Tell whether a value may stand in a trace: a number, or None."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def match_keys(where: str, given: object, own: Mapping[str, object]) -> None:
    """Raise unless a mapping of a state has exactly the keys that the sampler's own has."""
    if not isinstance(given, Mapping):
        raise SelectbenchError(f"load_state_dict: {where.rstrip('.')}: not a mapping; the state is damaged")
    for name in own.keys() - given.keys():
        raise SelectbenchError(f"load_state_dict: {where}{name} is missing; the state is damaged")
    for name in given.keys() - own.keys():
        raise SelectbenchError(f"load_state_dict: unknown {where}{name}{suggest(name, own)}")


def count_ranks() -> int:
    """Return the number of processes that train together: as torch is connected, otherwise as torchrun announces them."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    announced = os.environ.get("WORLD_SIZE", "")
    return int(announced) if "RANK" in os.environ and announced.isdigit() else 1


def _pack(array: np.ndarray) -> "np.ndarray | torch.Tensor":
    """Copy an array, as a tensor if torch is loaded."""
    torch = sys.modules.get("torch")
    return torch.tensor(array) if torch else array.copy()
