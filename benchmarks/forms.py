"""Wrappers that call a selector, or the naive form of its rule, on a pool: a dictionary of arrays by signal name."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

import selectbench as sb
from selectbench.methods.glister import add_bias, add_greedily
from selectbench.models.factory import build_model
from selectbench.rl.geometry import normalise_rows
from selectbench.seeds import isolated_torch_rng
from selectbench.training.gradients import Batches
from selectbench.training.recorder import measure_divergences

Pool = dict[str, np.ndarray]
Form = Callable[[Pool], np.ndarray]
EPOCHS, KEEP = 20, 0.3
BATCH = 256  # as in stages/measure_gradients
EVALUATION_BATCH = 512  # as in engine.predict


def make_pool(reads: tuple[str, ...], n: int, d: int | None, classes: int) -> Pool:
    """Return random labels and random arrays of the named signals."""
    rng = np.random.default_rng(0)
    shapes = {
        "features": (n, d),
        "embeddings": (n, d),
        "logits": (n, classes),
        "outputs": (EPOCHS // 2, n, classes),
        "correct": (EPOCHS, n),
        "aum": (n,),
        "images": (n, 3, 32, 32),
    }
    arrays = {name: rng.standard_normal(shapes[name], dtype=np.float32) for name in reads}
    if "correct" in arrays:
        arrays["correct"] = arrays["correct"] > 0
    return {"labels": rng.permutation(np.arange(n) % classes), **arrays}


def per_class(rule: Callable[[np.ndarray], np.ndarray]) -> Form:
    """Apply a rule to the float64 rows of one class after another."""

    def apply(pool: Pool) -> np.ndarray:
        answers = np.empty(len(pool["labels"]))
        for label in np.unique(pool["labels"]):
            members = np.flatnonzero(pool["labels"] == label)
            answers[members] = rule(pool["features"][members].astype(np.float64))
        return answers

    return apply


def solve_halves(solve: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Apply CG-Score to rows whose first half belongs to the class and whose second half does not."""
    return lambda rows: solve(normalise_rows(rows), np.where(np.arange(len(rows)) < len(rows) // 2, 1.0, -1.0), 1e-6)


def add_in_rounds(add: Callable[..., np.ndarray], rounds: int | None = None) -> Form:
    """Apply Glister with this many rounds, or one per sample."""

    def apply(pool: Pool) -> np.ndarray:
        logits, features = pool["logits"].astype(np.float64), pool["features"].astype(np.float64)
        return add(logits, features, pool["labels"], 0.1, -(-len(logits) // (rounds or len(logits))))

    return apply


def add_all(logits: np.ndarray, features: np.ndarray, labels: np.ndarray, step_size: float, per_round: int) -> np.ndarray:
    """Order all samples by Glister."""
    biased = add_bias(features, np.arange(len(features)))
    return add_greedily(logits, biased, labels, step_size, per_round, len(logits))


def score_with(method: str) -> Form:
    """Score with a method; signals are validated each time, because callers of the library pay for that too."""
    return lambda pool: sb.score(method, sb.Signals(**pool))


def select_with(method: str) -> Form:
    """Select a subset with a method at keep fraction ``KEEP``."""
    return lambda pool: sb.select(method, sb.Signals(**pool), KEEP).ids


def score_stream(pool: Pool) -> np.ndarray:
    """Compute TDDS's divergences batch by batch as outputs arrive, keeping only the last epoch's outputs, and score."""
    epochs = torch.from_numpy(pool["outputs"])
    before, divergences = torch.empty(epochs.shape[1:]), torch.empty(len(epochs) - 1, epochs.shape[1])
    for epoch, outputs in enumerate(epochs):
        for start in range(0, len(outputs), EVALUATION_BATCH):
            where = slice(start, start + EVALUATION_BATCH)
            logarithms = outputs[where].log_softmax(dim=1)
            if epoch > 0:
                divergences[epoch - 1, where] = measure_divergences(before[where], logarithms)
            before[where] = logarithms
    return sb.score("tdds", sb.Signals(labels=pool["labels"], divergences=divergences.numpy()))


def measure_batches(measure: Callable[[torch.nn.Module, Batches], torch.Tensor]) -> Form:
    """Measure gradients of a small net, batch by batch."""

    def apply(pool: Pool) -> np.ndarray:
        images, labels = torch.from_numpy(pool["images"]).split(BATCH), torch.from_numpy(pool["labels"]).split(BATCH)
        return measure(build_net(), lambda: zip(images, labels, strict=True)).numpy()

    return apply


def measure_samples(measure: Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], np.ndarray]) -> Form:
    """Measure gradients of the same net, sample by sample."""
    return lambda pool: measure(build_net(), torch.from_numpy(pool["images"]), torch.from_numpy(pool["labels"]))


@cache
def build_net() -> torch.nn.Module:
    """Return an untrained residual net with 19,954 parameters."""
    with isolated_torch_rng(0):
        return build_model({"library": "selectbench", "name": "resnet8", "width": 8}, "small", (3, 32, 32), 10).eval()
