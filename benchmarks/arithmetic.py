"""Which setting governs the bits of which library, and what holding libraries to AVX2 or SSE4 costs each kind of stage.

Bits: small computations of every library run in a process of their own for each environment: all settings of AVX2, the same with one
setting of SSE4, all of SSE4, none, and all of AVX2 with two threads. A digest that differs from that of AVX2 is marked.

Costs: commands of the workflow run in turn with every arithmetic, several times; user CPU seconds are those of the command without the
import of torch, which commands of one turn share. Stages on images are those of scale tiny, with three targets and one keep fraction;
stages on texts are those of scale smoke, since embedding the texts of scale tiny takes a minute.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from selectbench.planning.plan import Plan, load_plan
from selectbench.planning.rules import to_json
from selectbench.planning.stage import Stage
from selectbench.records.arithmetic import AVX2, NATIVE, SETTINGS, SSE4
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.stages.cluster_texts import ClusterTexts
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.measure_gradients import MeasureGradients
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.score_samples import ScoreSamples
from selectbench.stages.search_clusters import SearchClusters
from selectbench.stages.select_subsets import SelectSubsets
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_selectors import TrainSelectors
from selectbench.stages.train_targets import TrainTargets

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
REPEATS, TARGETS = 4, 3
LIMIT = 0.10  # a stage that loses more is marked
NUMBA = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # one choice in two variables
COMPARED = (NATIVE, AVX2, SSE4)
RUNNER = """
import json, os, runpy, sys

commands = json.loads(sys.argv[1])
sys.argv[:] = ["-m", *commands[0][1]]  # as a command sees it while its packages are imported
import selectbench.stages
import torch

for name, arguments in commands:
    process = os.fork()
    if process == 0:
        sys.stdout = sys.stderr
        sys.argv[:] = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{name} ended with status {status}")
    print(usage.ru_utime, flush=True)
"""


def main() -> None:
    """Measure everything, print it and write it; ``--short`` runs one probe and one turn and writes nothing."""
    if sys.argv[1:] == ["--probe"]:
        print(json.dumps({name: digest(probe()) for name, probe in list_probes().items()}))
        return
    short, started = "--short" in sys.argv[1:], datetime.now(UTC)
    digests = {name: run_probes(settings, threads) for name, (settings, threads) in list_environments().items()}
    costs = measure_costs(1 if short else REPEATS)
    provenance = describe_provenance("", CPU, started)
    versions = ", ".join(f"{name} {provenance['versions'][name]}" for name in ("numpy", "scipy", "scikit-learn", "torch"))
    page = write_markdown(digests, costs, f"{provenance['processor']} with {name_widest()}, Python {provenance['python']}, {versions}")
    print(page)
    if short:
        return
    (FOLDER / "arithmetic.md").write_text(page, encoding="utf-8")
    with open(FOLDER / "arithmetic.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["kind", "what", "environment", "value"])
        writer.writerows(["digest", probe, name, value] for name, found in digests.items() for probe, value in found.items())
        writer.writerows(
            ["user CPU s", stage, name, f"{value:.2f}"]
            for stage, found in costs.items()
            for name, values in found.items()
            for value in values
        )


def list_environments() -> dict[str, tuple[Mapping[str, str], int]]:
    """Return name → settings and number of threads; the first is what the others are compared with."""
    pinned, narrow = SETTINGS[AVX2], SETTINGS[SSE4]
    single = {name: {name: narrow[name]} for name in pinned if name not in NUMBA}
    single["NUMBA_CPU_NAME"] = {name: narrow[name] for name in NUMBA}
    return {
        "avx2": (pinned, 1),
        **{name: ({**pinned, **settings}, 1) for name, settings in single.items()},
        "sse4": (narrow, 1),
        "native": ({}, 1),
        "avx2, 2 threads": (pinned, 2),
    }


def run_probes(settings: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return probe → digest, computed in a process of its own with these settings only."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS[AVX2]}
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.arithmetic", "--probe"]
    result = subprocess.run(command, env={**clean, **settings, **counts}, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
    return found


def list_probes() -> dict[str, Callable[[], Sequence[object]]]:
    """Return name → function that computes arrays from fixed numbers."""
    import lightgbm
    import numpy as np
    import scipy.linalg
    import scipy.sparse
    import torch
    import umap
    from scipy.spatial.distance import cdist
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    draws = np.random.default_rng(0)
    doubles = draws.normal(size=(300, 300))
    singles = doubles.astype(np.float32)
    floats = torch.from_numpy(singles)

    def train_convolution() -> list[object]:
        numbers = torch.from_numpy(draws.normal(size=(8, 16, 12, 12)).astype(np.float32))
        weights = torch.from_numpy(draws.normal(size=(16, 16, 3, 3)).astype(np.float32)).requires_grad_()
        torch.nn.functional.conv2d(numbers, weights, padding=1).square().mean().backward()
        return [weights.grad]

    def boost() -> list[object]:
        settings = {"verbose": -1, "num_threads": int(os.environ["OMP_NUM_THREADS"])}
        return [lightgbm.train(settings, lightgbm.Dataset(doubles, doubles[:, 0] * doubles[:, 1]), 30).predict(doubles)]

    return {
        "torch: matrix product": lambda: [floats @ floats, floats @ floats[0]],
        "torch: solve, singular values": lambda: [torch.linalg.solve(floats, floats), torch.linalg.svdvals(floats)],
        "torch: exp, tanh": lambda: [floats.exp(), floats.tanh()],
        "torch: gelu": lambda: [torch.nn.functional.gelu(floats)],
        "torch: softmax, sum": lambda: [floats.softmax(1), floats.sum()],
        "torch: convolution, gradient": train_convolution,
        "NumPy: matrix product": lambda: [doubles @ doubles],
        "NumPy: sum": lambda: [doubles.sum(), singles.sum()],
        "NumPy: exp, log, tanh": lambda: [np.exp(singles), np.log(np.abs(singles)), np.tanh(doubles)],
        "SciPy: Cholesky": lambda: [scipy.linalg.cholesky(doubles @ doubles.T + 300 * np.eye(300))],
        "SciPy: distances": lambda: [cdist(doubles, doubles)],
        "SciPy: sparse product": lambda: [scipy.sparse.csr_matrix(doubles) @ doubles],
        "scikit-learn: k-means": lambda: [KMeans(5, n_init=1, random_state=0).fit(doubles).cluster_centers_],
        "scikit-learn: PCA": lambda: [PCA(5, svd_solver="full").fit_transform(doubles)],
        "scikit-learn: logistic regression": lambda: [LogisticRegression(max_iter=50).fit(doubles, np.arange(300) % 3).coef_],
        "LightGBM": boost,
        "UMAP": lambda: [umap.UMAP(10, metric="jaccard", n_epochs=50, random_state=1, n_jobs=1).fit_transform(doubles[:150] > 0)],
    }


def digest(arrays: Sequence[object]) -> str:
    """Return the first digits of the SHA-256 of the arrays' bytes."""
    import numpy as np

    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:12]


def measure_costs(repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return stage → arithmetic → user CPU seconds of each turn; a first turn only fills file caches."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for turn in range(repeats + 1):
        for name in COMPARED[turn % 3 :] + COMPARED[: turn % 3] if turn else (AVX2,):
            commands = [*list_commands("tiny", name), *list_commands("smoke", name)]
            found: Counter[str] = Counter()
            for (module, _), taken in zip(commands, run_commands(commands), strict=True):
                found[module.rpartition(".")[2]] += taken
            for stage, taken in found.items() if turn else ():
                seconds.setdefault(stage, {}).setdefault(name, []).append(taken)
    return {stage: {name: found[name] for name in COMPARED} for stage, found in seconds.items()}


def run_commands(commands: Sequence[tuple[str, list[str]]]) -> list[float]:
    """Run commands in an empty folder and return the user CPU seconds of each."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS[AVX2]}
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", RUNNER, json.dumps(commands)]
        result = subprocess.run(command, cwd=folder, env={**clean, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr[-2000:])
    return [float(line) for line in result.stdout.split()]


def list_commands(scale: str, arithmetic: str) -> list[tuple[str, list[str]]]:
    """Return module and arguments of the commands of a scale, each after those whose files it reads."""
    plan = load_plan(ROOT, {"scale": scale, "results": "results", "resources": "resources", "arithmetic": arithmetic})
    jobs: list[Stage]
    if scale == "tiny":
        jobs = [
            PrepareData("digits"),
            TrainProxy("digits", "convnet", "0"),
            MeasureGradients("digits", "convnet", "alignments", "0"),
            EmbedSamples("digits", "0"),
            ScoreSamples("digits", "convnet", "moso", "0"),
            SelectSubsets("digits", "convnet", "moso", "0"),
            TrainSelectors("digits", "convnet", "rl_selector", "0"),
            TrainTargets.for_batch(find_batch(plan, "train", "digits/none-to-convnet/equal_epochs/infobatch")),
            EvaluateTargets.for_batch(find_batch(plan, "evaluate", "digits/none-to-convnet/equal_epochs/infobatch")),
        ]
    else:
        jobs = [
            PrepareData("tweets_few"),
            EmbedTexts("tweets_few"),
            ClusterTexts("tweets_few", "kmeans", "12", "0"),
            SearchClusters("tweets_few", "minilm_head", "climb_disc_few", "0"),
            FinetuneTargets.for_batch(find_batch(plan, "train", "tweets_few/none-to-minilm_head/equal_epochs/data_agent")),
        ]
    return [make_command(plan, job) for job in jobs]


def find_batch(plan: Plan, kind: str, start: str) -> str:
    """Return the first batch with a run whose id begins as given."""
    return next(name for name, runs in plan.batches[kind].items() if any(run.id.startswith(start) for run in runs))


def make_command(plan: Plan, job: Stage) -> tuple[str, list[str]]:
    """Return the module and the arguments of a job's command, with one keep fraction, a few runs that need no subset, and few test sets."""
    spec, inputs = dict(job.specify(plan)), job.list_input_paths(plan)
    if "test_sets" in spec:
        spec["test_sets"] = ["test"]
    if "splits" in spec:
        spec["splits"] = ["pool", "validation"]
    if "runs" in spec:
        free = [run for run in job.list_runs(plan) if run.method in ("infobatch", "data_agent")][:TARGETS]
        chosen = {run.id for run in free}
        spec["runs"] = [{**run, **({"test_sets": ["test"]} if "test_sets" in run else {})} for run in spec["runs"] if run["id"] in chosen]
        inputs = {name: [] if name == "subsets" else paths for name, paths in inputs.items()}
        if "trained" in inputs:
            inputs = inputs | {"trained": list(dict.fromkeys(find_manifest(plan, run.id) for run in free))}
    if "keeps" in spec:
        spec["keeps"] = spec["keeps"][:1]
    files = inputs | {name: [path] for name, path in job.list_outputs(plan).items()}
    arguments = [part for option, paths in files.items() for part in (f"--{option}", *paths)]
    return f"selectbench.stages.{job.name}", ["--spec", to_json(spec), *arguments]


def find_manifest(plan: Plan, run: str) -> str:
    """Return the manifest of the batch that trains a run on images."""
    return TrainTargets.for_batch(plan.train_batch_of[run]).find_output(plan, "manifest")


def name_widest() -> str:
    """Return the widest vector instructions of the processor."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2 (no AVX-512)")) if flag in flags), "SSE")


def write_markdown(digests: Mapping[str, Mapping[str, str]], costs: Mapping[str, Mapping[str, Sequence[float]]], machine: str) -> str:
    """Return the page with both tables."""
    (first, base), *others = digests.items()
    names = [name for name, _ in others]
    rows = [[probe, *("differs" if found[probe] != value else "" for _, found in others)] for probe, value in base.items()]
    return "\n".join(
        [
            "# Arithmetic",
            "",
            f"Written by `make bench` (`benchmarks/arithmetic.py`) on {machine}. Numbers of other processors differ.",
            "",
            "## Which setting governs which library",
            "",
            f"Each column is one environment. `differs`: the bytes of the result are not those with all settings of `{first}`. A column "
            "named by a variable has its value of `sse4` and all others of `avx2`. Digests are in `arithmetic.csv`.",
            "",
            *format_table(["computation", *names], rows, "---"),
            "",
            "## What it costs",
            "",
            f"User CPU seconds: median of {len(next(iter(costs.values()))[AVX2])} turns [lowest, highest]. A ratio above "
            f"{1 + LIMIT:.2f} is marked with *.",
            "",
            *format_table(
                ["stage", *COMPARED, "avx2 : native", "sse4 : native"],
                [describe_cost(stage, found) for stage, found in costs.items()],
                "--:",
            ),
            "",
        ]
    )


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return the lines of a Markdown table whose first column is left-aligned."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *[alignment] * (len(head) - 1)], *rows)]


def describe_cost(stage: str, seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the row of a stage: seconds with their range, and ratios of medians."""
    ratios = [median(seconds[name]) / median(seconds[NATIVE]) for name in (AVX2, SSE4)]
    return [
        stage,
        *(f"{median(values):.2f} [{min(values):.2f}, {max(values):.2f}]" for values in seconds.values()),
        *(f"{ratio:.2f}{'*' if ratio > 1 + LIMIT else ''}" for ratio in ratios),
    ]


if __name__ == "__main__":
    main()
