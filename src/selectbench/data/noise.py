"""Noise in a training pool: label noise or corrupted images, exact in number and seeded; the ids of noisy samples are recorded."""

import io
import zipfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.data.corruptions import corrupt_images
from selectbench.data.layouts import Arrays
from selectbench.errors import DataError, suggest
from selectbench.seeds import derive_seed, hash_ids, uniform_by_id

if TYPE_CHECKING:
    from selectbench.data.entries import NoiseEntry


def add_noise(pool: Arrays, noise: "NoiseEntry", num_classes: int, seed: int, human: np.ndarray | None = None) -> tuple[Arrays, np.ndarray]:
    """Return a pool with noise, and the ids of its noisy samples in ascending order.

    Which samples are noisy, and how, depends only on the seed and the sample ids.

    Parameters
    ----------
    pool : images (N, C, H, W) uint8 and labels (N,) int64
    noise : the ``noise`` section of an entry of ``config/datasets.yaml``
    num_classes : C
    seed : of the stream
    human : (N,) labels given by people, for the kind ``human``

    Raises
    ------
    DataError
        The kind is unknown, or labels given by people are missing.
    """
    images, labels = pool
    match noise["kind"]:
        case "symmetric":
            return flip_symmetrically(pool, noise["rate"], num_classes, seed)
        case "asymmetric":
            return flip_by_class(pool, noise["rate"], noise["to"], seed)
        case "human":
            if human is None:
                raise DataError("noise: the kind 'human' needs labels given by people")
            return (images, human), np.flatnonzero(human != labels)
        case "corruption":
            return corrupt_some(pool, noise["rate"], noise["corruptions"], noise["severity"], seed)
    raise DataError(f"noise: unknown kind {noise['kind']!r}{suggest(noise['kind'], ('symmetric', 'asymmetric', 'human', 'corruption'))}")


def count_noisy(rate: float, num: int) -> int:
    """Return round-half-even(rate · num), computed exactly: 0.3 is three tenths."""
    return round(Fraction(str(rate)) * num)


def draw_ids(ids: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Return ``num`` of the ids, drawn without replacement, in ascending order."""
    return np.sort(ids[np.argsort(hash_ids(ids, derive_seed(seed, "which")), kind="stable")[:num]])


def flip_symmetrically(pool: Arrays, rate: float, num_classes: int, seed: int) -> tuple[Arrays, np.ndarray]:
    """Symmetric label noise: give this share of all samples a label drawn uniformly from the other classes."""
    images, labels = pool
    noisy = draw_ids(np.arange(len(labels)), count_noisy(rate, len(labels)), seed)
    steps = 1 + (uniform_by_id(noisy, derive_seed(seed, "label")) * (num_classes - 1)).astype(np.int64)
    changed = labels.copy()
    changed[noisy] = (labels[noisy] + steps) % num_classes
    return (images, changed), noisy


def flip_by_class(pool: Arrays, rate: float, to: Sequence[int], seed: int) -> tuple[Arrays, np.ndarray]:
    """Asymmetric label noise: give this share of every class the label ``to[class]``; classes mapped to themselves stay clean."""
    images, labels = pool
    chosen = [
        draw_ids(members, count_noisy(rate, len(members)), seed)
        for label, other in enumerate(to)
        if other != label and len(members := np.flatnonzero(labels == label))
    ]
    noisy = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *chosen]))
    changed = labels.copy()
    changed[noisy] = np.asarray(to, dtype=np.int64)[labels[noisy]]
    return (images, changed), noisy


def corrupt_some(pool: Arrays, rate: float, corruptions: Sequence[str], severity: int, seed: int) -> tuple[Arrays, np.ndarray]:
    """Corrupt this share of all images, each by one of the corruptions; labels are unchanged."""
    images, labels = pool
    noisy = draw_ids(np.arange(len(labels)), count_noisy(rate, len(labels)), seed)
    kinds = (uniform_by_id(noisy, derive_seed(seed, "kind")) * len(corruptions)).astype(np.int64)
    changed = images.copy()
    for kind, name in enumerate(corruptions):
        ids = noisy[kinds == kind]
        changed[ids] = corrupt_images(images[ids], ids, name, severity, derive_seed(seed, "corruption"))
    return (changed, labels), noisy


def read_human_labels(path: Path, member: str, name: str, clean: np.ndarray) -> np.ndarray:
    """Return one of CIFAR-N's label sets (Wei et al., ICLR 2022), after comparing its clean labels with the pool's.

    Parameters
    ----------
    path : the zip, whose checksum was verified
    member : a torch file of named arrays in the zip, ``clean_label`` among them
    name : of the label set, such as ``worse_label``
    clean : (N,) the pool's own labels

    Raises
    ------
    DataError
        There is no such label set, or its samples are in another order.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        content = archive.read(member)
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # private, and so in no stub
    numpy_parts: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [np.ndarray, np.dtype, np.dtypes.Int64DType]
    numpy_parts.append((reconstruct, "numpy.core.multiarray._reconstruct"))
    with torch.serialization.safe_globals(numpy_parts):
        labels = torch.load(io.BytesIO(content), weights_only=True)
    if name not in labels:
        raise DataError(f"{path}: holds no labels {name!r}{suggest(name, labels)}")
    if not np.array_equal(labels["clean_label"], clean):
        raise DataError(f"{path}: its clean labels are not those of the pool, so its noisy ones belong to other samples")
    return np.asarray(labels[name], dtype=np.int64)
