"""Each selector against the naive form of its rule, in one process: seconds, ratio, peak memory, and growth with the pool."""

import csv
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from threadpoolctl import threadpool_limits

from selectbench.methods.cg_score import complexity_gaps, relu_kernel
from selectbench.methods.glister import add_greedily
from selectbench.methods.herding import herd
from selectbench.methods.k_center import traverse_farthest_first
from selectbench.methods.moderate import distances_to_prototype
from selectbench.rl.cover import sample_cover
from selectbench.signals import softmax_residuals

mpl.use("Agg")
FOLDER = Path(__file__).parent / "results"


def naive_herding(features: np.ndarray) -> np.ndarray:
    """Sum the chosen and copy the rest at every step."""
    mean, chosen, left = features.mean(axis=0), [], list(range(len(features)))
    while left:
        target = (len(chosen) + 1) * mean - features[chosen].sum(axis=0)
        chosen.append(left.pop(int(np.linalg.norm(features[left] - target, axis=1).argmin())))
    return np.array(chosen)


def naive_k_center(features: np.ndarray) -> np.ndarray:
    """Keep the distances of all centres to all samples."""
    chosen, distances = [0], np.empty((len(features), len(features)))
    while True:
        distances[len(chosen) - 1] = np.linalg.norm(features - features[chosen[-1]], axis=1)
        nearest = distances[: len(chosen)].min(axis=0)
        nearest[chosen] = -1
        if len(chosen) == len(features):
            return np.array(chosen)
        chosen.append(int(nearest.argmax()))


def naive_cover(features: np.ndarray) -> np.ndarray:
    """One row of differences at a time."""
    return np.array([np.linalg.norm(features - row, axis=1).sum() for row in features])


def naive_complexity_gaps(units: np.ndarray) -> np.ndarray:
    """Solve the system without each sample in turn."""
    signs = np.repeat([1.0, -1.0], [len(units) // 2, len(units) - len(units) // 2])
    kernel = relu_kernel(units) + 1e-6 * np.eye(len(units))
    whole, gaps = signs @ np.linalg.solve(kernel, signs), []
    for sample in range(len(units)):
        rest = np.delete(np.arange(len(units)), sample)
        gaps.append(whole - signs[rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], signs[rest]))
    return np.array(gaps)


def fast_complexity_gaps(units: np.ndarray) -> np.ndarray:
    """One factorisation."""
    signs = np.repeat([1.0, -1.0], [len(units) // 2, len(units) - len(units) // 2])
    return complexity_gaps(units, signs, 1e-6)


def naive_glister(features: np.ndarray) -> np.ndarray:
    """Form every last-layer gradient, N × C·(d+1), and multiply by it at every step."""
    logits, labels = make_outputs(features)
    biased = np.c_[features, np.ones(len(features))]
    gradients = np.einsum("nc,nd->ncd", softmax_residuals(logits, labels), biased).reshape(len(features), -1)
    shifted, chosen, left = logits.copy(), [], np.ones(len(features), dtype=bool)
    while left.any():
        slope = np.einsum("nc,nd->cd", softmax_residuals(shifted, labels), biased) / len(features)
        gains = np.where(left, gradients @ slope.ravel(), -np.inf)
        chosen.append(int(gains.argmax()))
        left[chosen[-1]] = False
        shifted -= 0.1 * biased @ gradients[chosen[-1]].reshape(logits.shape[1], -1).T
    return np.array(chosen)


def fast_glister(features: np.ndarray) -> np.ndarray:
    """Keep residuals and features apart."""
    return add_greedily(*(lambda outputs: (outputs[0], features, outputs[1]))(make_outputs(features)), 0.1, 1)


def make_outputs(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of ten classes and labels for the features."""
    rng = np.random.default_rng(1)
    return features @ rng.normal(size=(features.shape[1], 10)) / 8, rng.integers(0, 10, len(features))


def measure(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the best seconds of up to three runs, peak MiB allocated by NumPy in a run of its own, and the answer."""
    seconds = []
    while not seconds or (len(seconds) < 3 and sum(seconds) < 1):
        clock = time.perf_counter()
        answer = function(rows)
        seconds.append(time.perf_counter() - clock)
    tracemalloc.start()
    function(rows)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return min(seconds), peak, answer


PAIRS = {
    # name: (fast, naive, sizes of both, sizes of the fast form alone, width)
    "herding": (herd, naive_herding, (500, 1000, 2000), (5000,), 128),
    "k_center": (lambda rows: traverse_farthest_first(rows, 0), naive_k_center, (500, 1000, 2000), (5000,), 128),
    "sample_cover": (lambda rows: sample_cover(rows, np.zeros(len(rows), dtype=int)), naive_cover, (1000, 2000, 5000), (10000,), 512),
    "cg_score": (fast_complexity_gaps, naive_complexity_gaps, (100, 200, 400), (2000, 4000), 256),
    "glister": (fast_glister, naive_glister, (500, 1000, 2000), (4000,), 256),
}


def main() -> None:
    """Print and store the comparison, the growth plot, and the two selectors that must do ImageNet."""
    lines = []
    for name, (fast, naive, both, alone, width) in PAIRS.items():
        fast(np.random.default_rng(0).normal(size=(8, width)) / np.sqrt(width))  # imports and first calls are not the selector's
        for size in (*both, *alone):
            rows = np.random.default_rng(0).normal(size=(size, width))
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if name == "cg_score" else rows
            seconds, peak, answer = measure(fast, rows)
            line = {"selector": name, "n": size, "d": width, "fast_s": seconds, "fast_mib": peak}
            if size in both:
                naive_s, naive_mib, expected = measure(naive, rows)
                assert np.allclose(answer, expected, rtol=1e-6), name
                line |= {"naive_s": naive_s, "naive_mib": naive_mib, "ratio": naive_s / seconds}
            lines.append(line)
            print(
                "  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in line.items()), flush=True
            )
    lines += measure_imagenet_size()
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "selectors.csv", "w", newline="", encoding="utf-8") as stream:
        columns = ["selector", "n", "d", "fast_s", "fast_mib", "naive_s", "naive_mib", "ratio", "note"]
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in line.items()} for line in lines)
    draw_growth(lines)


def measure_imagenet_size() -> list[dict]:
    """Time sample cover and Moderate-DS on 1,281,167 × 512 single-precision features in 1,000 classes; peak is their own memory."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 1281167)
    features = np.empty((len(labels), 512), dtype=np.float32)
    for start in range(0, len(labels), 65536):
        features[start : start + 65536] = rng.standard_normal((min(65536, len(labels) - start), 512), dtype=np.float32)
    rate = measure_product_rate()
    lines = []
    flops = 2.0 * 512 * np.square(np.bincount(labels).astype(float)).sum()
    for name, function in (
        ("sample_cover", sample_cover),
        ("moderate", lambda rows, classes: distances_to_prototype(rows, classes, "mean")),
    ):
        clock = time.perf_counter()
        function(features, labels)
        seconds = time.perf_counter() - clock
        tracemalloc.start()
        function(features, labels)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        note = f"{features.nbytes / 2**20:.0f} MiB of features beside it"
        if name == "sample_cover":
            note += f"; {flops / seconds / rate:.0%} of the float64 matrix-product rate"
        lines.append({"selector": name, "n": len(labels), "d": 512, "fast_s": seconds, "fast_mib": peak, "note": note})
        print(name, len(labels), f"{seconds:.1f} s, {peak:.0f} MiB; {note}", flush=True)
    return lines


def measure_product_rate() -> float:
    """Return the best float64 matrix-product rate of products shaped like one class's, in operations a second."""
    rows = np.random.default_rng(0).normal(size=(1281, 512))
    seconds = []
    for _ in range(20):
        clock = time.perf_counter()
        rows @ rows.T
        seconds.append(time.perf_counter() - clock)
    return 2.0 * 512 * 1281**2 / min(seconds)


def draw_growth(lines: list[dict]) -> None:
    """Plot seconds by pool size, fast solid and naive dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for index, name in enumerate(PAIRS):
        mine = [line for line in lines if line["selector"] == name and "note" not in line]
        colour = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")[index]
        axes.loglog([line["n"] for line in mine], [line["fast_s"] for line in mine], "o-", color=colour, label=name, markersize=4)
        slow = [line for line in mine if "naive_s" in line]
        axes.loglog([line["n"] for line in slow], [line["naive_s"] for line in slow], "x--", color=colour, markersize=5)
    for line in lines:
        if "note" in line:
            axes.loglog(line["n"], line["fast_s"], "k*", markersize=8)
            axes.annotate(
                f"{line['selector']}, 1,000 classes",
                (line["n"], line["fast_s"]),
                (-6, 6),
                textcoords="offset points",
                ha="right",
                fontsize=7,
            )
    axes.set_xlabel("samples")
    axes.set_ylabel("seconds (dashed: naive form)")
    axes.grid(color="#E4E4E4")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(FOLDER / "selectors.png", dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    with threadpool_limits(2):
        main()
