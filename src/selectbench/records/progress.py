"""Progress messages: how many runs are done, and how long the rest will take."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from selectbench.records.files import append_line, write_json


def start_progress(folder: Path, batches: Mapping[str, Mapping[str, int]]) -> None:
    """Write down the planned batches; called once, when the workflow starts.

    Parameters
    ----------
    folder : the scale's results folder
    batches : stage → path of a batch's manifest → number of its runs
    """
    for stage in batches:
        _ticks(folder, stage).unlink(missing_ok=True)
    write_json(_todo(folder), {stage: dict(manifests) for stage, manifests in batches.items()})


def report_run(folder: Path, stage: str, manifest: Path, text: str) -> None:
    """Print ``[train 37/213, about 2 min left] text`` to standard error for one finished run of a batch."""
    append_line(_ticks(folder, stage), f"{time.time():.3f} {manifest}")
    print(f"[{stage}{_count(folder, stage)}] {text}", file=sys.stderr, flush=True)


def _count(folder: Path, stage: str) -> str:
    """Count the runs of finished batches and the finished runs of batches in progress; estimate the time left from their pace."""
    try:
        batches = json.loads(_todo(folder).read_text(encoding="utf-8"))[stage]
    except (OSError, KeyError, json.JSONDecodeError):
        return ""
    ticks = [line.split(" ", 1) for line in _ticks(folder, stage).read_text(encoding="utf-8").splitlines()]
    finished = {manifest for manifest in batches if Path(manifest).exists()}
    done = sum(batches[manifest] for manifest in finished) + sum(manifest not in finished for _, manifest in ticks)
    total = sum(batches.values())
    count = f" {done}/{total}"
    if done >= total or len(ticks) < 5:
        return count
    seconds = (total - done) * (float(ticks[-1][0]) - float(ticks[0][0])) / (len(ticks) - 1)
    return f"{count}, about {seconds / 60:.0f} min left" if seconds >= 90 else f"{count}, about {seconds:.0f} s left"


def _todo(folder: Path) -> Path:
    return folder / "state" / "progress" / "todo.json"


def _ticks(folder: Path, stage: str) -> Path:
    return folder / "state" / "progress" / f"{stage}.txt"
