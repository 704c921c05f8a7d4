"""Seeds and random streams, derived from the names of the axes and never from a global generator."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

_MASK = (1 << 63) - 1


def derive_seed(*axes: object) -> int:
    """Derive a 63-bit seed from the names of the axes it depends on.

    Runs that should share a stream name the same axes; an additional axis separates them.

    >>> derive_seed("order", "digits", 0) == derive_seed("order", "digits", 0)
    True
    """
    text = "\x1f".join(str(axis) for axis in axes)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & _MASK


def hash_ids(ids: np.ndarray, seed: int) -> np.ndarray:
    """Map every sample id to a pseudo-random 64-bit key that depends only on the id and the seed (SplitMix64).

    Parameters
    ----------
    ids : (N,) integers
    seed : of the stream

    Returns
    -------
    (N,) uint64; permuting ``ids`` permutes the keys.
    """
    with np.errstate(over="ignore"):
        key = np.asarray(ids).astype(np.int64).astype(np.uint64)
        key = key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(derive_seed("hash", seed))
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))


def uniform_by_id(ids: np.ndarray, seed: int) -> np.ndarray:
    """Map every sample id to a uniform draw in [0, 1) that depends only on the id and the seed."""
    return (hash_ids(ids, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@contextmanager
def isolated_torch_rng(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore their states afterwards.

    Layer initialisation and dropout accept no other generator than the global one; this is the only place that touches it. Without a
    GPU only the CPU's generator is seeded: for missing devices, torch would queue the call together with a formatted stack.
    """
    import torch

    gpus = _count_gpus()
    with torch.random.fork_rng(devices=range(gpus)):
        (torch.manual_seed if gpus else torch.default_generator.manual_seed)(seed)
        yield


@cache
def _count_gpus() -> int:
    """Return how many GPUs this process may use; cached, since torch queries the driver library at every call."""
    import torch

    return torch.cuda.device_count()


@contextmanager
def isolated_generators(seed: int) -> Iterator[None]:
    """Let the block seed all global generators, as stable-baselines3 does, and restore their states afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with isolated_torch_rng(seed):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
