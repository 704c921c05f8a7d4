"""Time and memory of planning: dry runs of the workflow, cost estimates and simulated schedules at scales tiny and full.

The last dry run uses a wider grid: eight keep fractions in RL-Selector's largest tables. Seconds are the median of three processes,
peak memory is the maximum.
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml

from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import load_plan
from selectbench.records.provenance import CPU, describe_provenance

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
KEEPS = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
REPEATS = 3
DRY_RUN = ("snakemake", "--dry-run", "--quiet", "all")
COMMANDS = {
    "dry run": DRY_RUN,
    "costs": ("selectbench.cli", "plan", "--cores", "8"),
    "schedules on 8 and 64 GPUs": ("selectbench.cli", "simulate", "--gpus", "8", "64"),
}


class Row(NamedTuple):
    """One line of the results: what was planned, at which scale, the number of jobs, seconds and peak memory."""

    what: str
    scale: str
    jobs: int
    seconds: float
    peak_mib: float


def main() -> None:
    """Measure everything, print it and write it to ``benchmarks/results/planning.csv`` and ``.md``."""
    started, rows = datetime.now(UTC), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        for what, command in COMMANDS.items():
            rows += [measure(what, scale, folder, command) for scale in ("tiny", "full")]
        widen(folder)
        rows.append(measure("dry run, 8 keep fractions", "full", folder, DRY_RUN))
    provenance = describe_provenance("", CPU, started)
    write_results(rows, f"{provenance['processor']}, Python {provenance['python']}, {started:%Y-%m-%d}")
    print((FOLDER / "planning.md").read_text(encoding="utf-8"))


def measure(what: str, scale: str, folder: Path, command: tuple[str, ...]) -> Row:
    """Run a command in a folder ``REPEATS`` times."""
    chosen = ("--config", f"scale={scale}") if command[0] == "snakemake" else ("--scale", scale)
    runs = [run_once([sys.executable, "-m", *command, *chosen], folder) for _ in range(REPEATS)]
    jobs = len(list_jobs(load_plan(folder, {"scale": scale})))
    return Row(what, scale, jobs, median(seconds for seconds, _ in runs), max(peak for _, peak in runs))


def run_once(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command and return its seconds and peak MiB."""
    clock = time.perf_counter()
    with open(folder / "output", "wb") as output:
        process = subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": str(folder / "src")}, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'output').read_text(encoding='utf-8')[-2000:]}")
    return time.perf_counter() - clock, usage.ru_maxrss / 1024


def copy_project(folder: Path) -> None:
    """Copy what planning reads; of the results, only the collected records."""
    for part in ("Snakefile", "config", "profiles", "src", "workflow"):
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    for records in (ROOT / "results").glob("*/*/records.jsonl.gz"):
        target = folder / records.relative_to(ROOT)
        target.parent.mkdir(parents=True)
        shutil.copy(records, target)


def widen(folder: Path) -> None:
    """Give the two largest tables more keep fractions."""
    path = folder / "config/papers/rl_selector.yaml"
    paper = yaml.safe_load(path.read_text(encoding="utf-8"))
    for table in ("main", "cross"):
        paper["tables"][table]["where"]["keep"] = KEEPS
    path.write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")


def write_results(rows: list[Row], machine: str) -> None:
    """Write the rows as CSV and as Markdown."""
    with open(FOLDER / "planning.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([*row[:3], f"{row.seconds:.2f}", f"{row.peak_mib:.0f}"] for row in rows)
    lines = [f"| {row.what} | {row.scale} | {row.jobs:,} | {row.seconds:.1f} | {row.peak_mib:,.0f} |" for row in rows]
    head = ["# Planning", "", f"{machine}. {' '.join(__doc__.split())}", ""]
    table = ["| what | scale | jobs | seconds | peak MiB |", "|---|---|--:|--:|--:|", *lines]
    (FOLDER / "planning.md").write_text("\n".join([*head, *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
