"""Fixtures shared by several test folders."""

import io
import subprocess
import tarfile
from pathlib import Path

from selectbench.records.arithmetic import pin_arithmetic

pin_arithmetic()  # before any library is imported that reads the settings: tests compute as stages do

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from selectbench.signals import Signals  # noqa: E402

AXES = {  # signal → its sample axis
    **{"features": 0, "first_features": 0, "inputs": 0, "aum": 0, "embeddings": 0},
    **{"lengths": 0, "rarities": 0, "perplexities": 0, "influences": -1, "sample_influences": -1},
    **{"logits": 1, "divergences": 1, "gradient_norms": 1, "last_layer_norms": 1, "alignments": 1, "correct": -1},
}


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def committed(root, tmp_path_factory) -> Path:
    """A folder with README and results as committed, whatever lies in the working folder; without git, that folder."""
    kept = ("README.md", "results/tiny", "results/decided")
    archive = subprocess.run(["git", "-C", str(root), "archive", "HEAD", *kept], capture_output=True, check=False)
    if archive.returncode:
        return root
    place = tmp_path_factory.mktemp("committed")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    return place


def make_signals(seed: int = 0, sizes: tuple[int, ...] = (90, 70, 42, 1), epochs: int = 7, checkpoints: int = 3) -> Signals:
    """Make signals with the difficulties of real ones: unequal classes, a singleton class, duplicates, ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    num, classes = len(labels), len(sizes)
    features = rng.normal(size=(num, 12)) + 2.0 * np.eye(classes, 12)[labels]
    logits = rng.normal(size=(checkpoints, num, classes)) + 1.5 * np.eye(classes)[labels]
    correct = rng.random((epochs, num)) < np.linspace(0.3, 0.9, epochs)[:, None]
    divergences, embeddings = rng.gamma(1.0, size=(epochs - 1, num)), rng.normal(size=(num, 6)) + np.eye(classes, 6)[labels]
    first_features = features[:, ::-1] + rng.normal(size=features.shape)
    norms, alignments = rng.gamma(2.0, size=(checkpoints, num)), rng.normal(0.2, 1.0, size=(5, num))
    pairs = min(3, sizes[0] // 2)
    twins = np.flatnonzero(labels == 0)[: 2 * pairs].reshape(2, pairs)
    lengths, rarities = rng.integers(0, 40, num), rng.gamma(3.0, size=num)
    perplexities, influences = rng.gamma(2.0, 50.0, size=num), rng.normal(size=(2, num))
    last_norms, sample_influences = rng.gamma(2.0, size=(4, num)), rng.normal(size=(2, num))
    rows = ((features, 0), (first_features, 0), (embeddings, 0), (logits, 1), (correct, 1), (divergences, 1), (norms, 1), (alignments, 1))
    more = ((last_norms, 1), (influences, 1), (sample_influences, 1))
    for array, axis in (*rows, *more, (lengths, 0), (rarities, 0), (perplexities, 0)):
        moved = np.moveaxis(array, axis, 0)
        moved[twins[1]] = moved[twins[0]]
    return Signals(
        labels=labels,
        features=features,
        logits=logits,
        correct=correct,
        inputs=features.reshape(num, 1, 3, 4),
        ids=rng.permutation(1000)[:num],
        aum=np.where(np.isin(np.arange(num), twins), -0.25, rng.uniform(-1, 1, num)),
        recorded_at=np.linspace(0.2, 1.0, checkpoints),
        divergences=divergences,
        gradient_norms=norms,
        alignments=alignments,
        step_sizes=np.linspace(0.1, 0.02, 5),
        embeddings=embeddings,
        first_features=first_features,
        validation_embeddings=rng.normal(size=(9, 6)),
        lengths=lengths,
        rarities=rarities,
        perplexities=perplexities,
        influences=influences,
        sample_influences=sample_influences,
        last_layer_norms=last_norms,
    )


@pytest.fixture
def signals() -> Signals:
    """Signals of 203 samples in four classes, one of them a singleton."""
    return make_signals()
