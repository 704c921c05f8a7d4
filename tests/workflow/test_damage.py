"""Damage of every kind to every kind of file is found and named, and the command that is printed repairs it."""

import csv
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project, duplicate
from selectbench.data.kinds import check_entry
from selectbench.errors import RecordError, SelectbenchError
from selectbench.evidence.damage import Damage, describe_repair, find_damage, find_missing, open_inventory, refuse_damage
from selectbench.planning.jobs import Job, list_jobs, list_wanted_files
from selectbench.planning.plan import load_plan
from selectbench.records.records import COLLECTION

OUT, DATA = "results/smoke", "resources/digits/prepared"
PAPER, OTHER = f"{OUT}/rl_selector", f"{OUT}/data_agent"
RUNS = f"{OUT}/runs/digits/convnet-to-resnet8/equal_epochs"
MAIN, CROSS = f"{PAPER}/tables/main", f"{PAPER}/tables/cross"
COST, OOD = f"{PAPER}/figures/cost", f"{PAPER}/figures/ood_by_keep"
SEEDS = {  # of a job's two seeds
    "proxy": f"{OUT}/proxies/digits/convnet/seed-0",
    "encoder": f"{OUT}/encoders/digits/seed-0",
    "gradients": f"{OUT}/gradients/digits/convnet/alignments/seed-0",
    "scores": f"{OUT}/scores/digits/convnet/el2n/seed-0",
    "subsets": f"{OUT}/subsets/digits/convnet/el2n/seed-0",
}
FILES = {  # kind → a file of it, and another one of its kind, if there is one
    "prepared manifest": (f"{DATA}/manifest.json", "resources/digits_symmetric/prepared/manifest.json"),
    "prepared images": (f"{DATA}/test/images.npy", f"{DATA}/mnist_shift/images.npy"),
    "prepared labels": (f"{DATA}/pool/labels.npy", "resources/digits_symmetric/prepared/pool/labels.npy"),
    "ids of noise": ("resources/digits_symmetric/prepared/pool/noisy.npy", f"{DATA}/test/labels.npy"),
    **{f"{kind}: arrays": (f"{path}.npz", f"{path[:-1]}1.npz") for kind, path in SEEDS.items()},
    **{f"{kind}: record": (f"{path}.json", f"{path[:-1]}1.json") for kind, path in SEEDS.items()},
    "proxy: weights": (f"{SEEDS['proxy']}.pt", f"{SEEDS['proxy'][:-1]}1.pt"),
    "scores: record of another method": (f"{SEEDS['scores']}.json", f"{OUT}/scores/digits/convnet/moso/seed-0.json"),
    "propositions": (f"{OUT}/theory/digits/convnet/seed-0.json", f"{OUT}/theory/digits/convnet/seed-1.json"),
    "training": (f"{RUNS}/el2n/keep-0.5/seed-0/train.json", f"{RUNS}/el2n/keep-0.5/seed-1/train.json"),
    "evaluation": (f"{RUNS}/el2n/keep-0.5/seed-0/evaluate.json", f"{RUNS}/el2n/keep-0.9/seed-0/evaluate.json"),
    "weights of a target": (f"{RUNS}/el2n/keep-0.5/seed-0/model.pt", f"{RUNS}/moso/keep-0.5/seed-0/model.pt"),
    "manifest of trainings": (*(f"{OUT}/batches/train/digits/resnet8/equal_epochs/{number}.json" for number in (0, 1)),),
    "manifest of evaluations": (*(f"{OUT}/batches/evaluate/digits/{target}/equal_epochs/0.json" for target in ("resnet8", "vit_micro")),),
    "rows": (f"{PAPER}/{COLLECTION}", f"{OTHER}/{COLLECTION}"),
    "sources of rows": (f"{PAPER}/records.json", f"{OTHER}/records.json"),
    **{f"table: {ending}": (f"{MAIN}.{ending}", f"{CROSS}.{ending}") for ending in ("csv", "md", "tex", "cells.json")},
    **{f"verdict: {ending}": (f"{PAPER}/verdict.{ending}", f"{OTHER}/verdict.{ending}") for ending in ("json", "md")},
    **{f"figure: {ending}": (f"{COST}.{ending}", f"{OOD}.{ending}") for ending in ("svg", "pdf", "png", "json")},
    "overlaps": (f"{PAPER}/overlaps.json", None),
    "browser": (f"{PAPER}/subsets.json", None),
    **{f"page: {ending}": (f"{OUT}/index.{ending}", f"results/index.{ending}") for ending in ("html", "json")},
    **{f"front page: {ending}": (f"results/index.{ending}", f"{OUT}/index.{ending}") for ending in ("html", "json")},
}
MAY_BE_ABSENT = {  # what nothing reads any more may be deleted, as it is absent where only records were kept
    *("prepared manifest", "propositions", "weights of a target", "overlaps", "browser"),
}

MAY_BE_SWAPPED = ("manifest of trainings", "manifest of evaluations")  # both lists of runs are still checked; numbers of batches change


def edit(path: Path, other: Path | None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path, other: Path | None) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete(path: Path, other: Path | None) -> None:
    path.unlink()


def swap(path: Path, other: Path | None) -> None:
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


WAYS: dict[str, Callable[[Path, Path | None], None]] = {way.__name__: way for way in (edit, truncate, delete, swap)}
CASES = [
    (kind, way)
    for kind, (_, other) in FILES.items()
    for way in WAYS
    if not (way == "swap" and (other is None or kind in MAY_BE_SWAPPED)) and not (way == "delete" and kind in MAY_BE_ABSENT)
]


class Copy:
    """A finished project, its plan, and what is known of its files."""

    def __init__(self) -> None:
        self.plan = load_plan(Path())
        self.jobs = list_jobs(self.plan)
        self.wanted = list(list_wanted_files(self.plan))
        inventory = open_inventory(self.plan)
        assert find_damage(self.plan, self.jobs, inventory) == []
        inventory.save()

    def find_jobs(self, path: Path) -> dict[str, Job]:
        """Return the jobs of the stages that write a file."""
        is_run = "runs" in path.parts
        rules = {job.rule for job in self.jobs.values() if (job.stage.run_record if is_run else str(path) in job.outputs)}
        return {name: job for name, job in self.jobs.items() if job.rule in rules}

    def find(self, jobs: dict[str, Job], *, contents: bool) -> list[Damage]:
        return find_damage(self.plan, jobs, open_inventory(self.plan, contents=contents))

    def find_lost(self, jobs: dict[str, Job]) -> list[str]:
        """List files that are missing beside others of their job, or that are asked for by name."""
        return [*(str(path) for path, _ in find_missing(self.plan, jobs)), *(name for name in self.wanted if not Path(name).exists())]

    def check_data(self) -> list[str]:
        """Return what the checks of prepared data before the first job say."""
        found = []
        for dataset in self.plan.datasets():
            try:
                check_entry(dataset, self.plan.config.datasets[dataset], Path(self.plan.layout.resources), self.plan.test_sets(dataset))
            except SelectbenchError as error:
                found.append(str(error))
        return found


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory):
    """A copy of the finished project as the working folder, which tests leave whole."""
    place = tmp_path_factory.mktemp("damaged") / "copy"
    shutil.copytree(finished.root, place, symlinks=True, ignore=shutil.ignore_patterns(".snakemake"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield Copy()


def keep_whole(paths: list[Path]) -> Callable[[], None]:
    """Return a function that restores files, with their times of modification."""
    kept = [(path, path.read_bytes(), path.stat()) for path in paths]

    def restore() -> None:
        for path, content, status in kept:
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return restore


def keep_times(paths: list[Path]) -> Callable[[], None]:
    """Return a function that restores the times of modification of those files that are there."""
    kept = [(path, path.stat()) for path in paths]

    def restore() -> None:
        for path, status in kept:
            if path.exists():
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return restore


def test_a_whole_folder_has_no_damage(copy):
    for contents in (False, True):
        assert copy.find(copy.jobs, contents=contents) == []
    assert copy.find_lost(copy.jobs) == copy.check_data() == []
    refuse_damage(copy.plan, copy.jobs)


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_damage_is_found_and_named(copy, kind, way):
    paths = [Path(name) for name in FILES[kind] if name is not None]
    restore, restore_times = keep_whole(paths), keep_times(paths)
    jobs, is_data = copy.find_jobs(paths[0]), paths[0].parts[0] == "resources"
    try:
        WAYS[way](*paths, *[None] * (2 - len(paths)))
        restore_times()
        lost, data = copy.find_lost(jobs), copy.check_data() if is_data else []
        for damages in (copy.find(jobs, contents=False), copy.find(jobs, contents=True)):
            assert all(len(damage.problem.splitlines()) == 1 for damage in damages)
            named = {path for damage in damages for path in (damage.path, *damage.remove)}
            assert paths[0] in named or str(paths[0]) in lost or any(str(paths[0]) in line for line in data)
            if way != "swap":  # nothing else is made again
                assert len({damage.make for damage in damages}) <= 1
            if damages and way in ("edit", "truncate"):
                assert damages[0].path == paths[0]
                assert describe_repair(copy.plan, damages, copy.jobs).startswith("rm -rf ")
    finally:
        restore()


def test_files_that_may_be_absent_are_no_damage(copy):
    paths = [Path(FILES[kind][0]) for kind in sorted(MAY_BE_ABSENT)]
    restore = keep_whole(paths)
    try:
        for path in paths:
            path.unlink()
        assert copy.find(copy.jobs, contents=False) == []
    finally:
        restore()


def test_damage_to_one_job_is_not_blamed_on_those_that_read_it(copy):
    paths = [Path(FILES[kind][0]) for kind in ("proxy: arrays", "scores: record", "training", "rows")]
    restore = keep_whole(paths)
    try:
        for path in paths:
            edit(path, None)
        assert {damage.path for damage in copy.find(copy.jobs, contents=False)} == set(paths)
        with pytest.raises(RecordError) as caught:
            refuse_damage(copy.plan, copy.jobs)
        assert len(str(caught.value).splitlines()) == 1 and "(and 3 more); to repair: rm -rf " in str(caught.value)
    finally:
        restore()


def test_results_are_restored_from_git_where_no_runs_are_here(copy):
    table, batches = Path(f"{MAIN}.csv"), Path(OUT, "batches")
    restore, aside = keep_whole([table]), batches.with_name("aside")
    for command in (["init", "--quiet"], ["add", "--force", str(table)]):
        subprocess.run(["git", *command], check=True)
    try:
        edit(table, None)
        damages = copy.find(copy.find_jobs(table), contents=False)
        assert describe_repair(copy.plan, damages, copy.jobs).startswith("rm -rf ")
        batches.rename(aside)
        assert describe_repair(copy.plan, damages, copy.jobs) == f"git checkout -- {table}"
    finally:
        aside.rename(batches)
        shutil.rmtree(".git")
        restore()


def read_tables(project: Project, dropped: set[str]) -> dict[str, list[dict[str, str]]]:
    """Return file → rows of every table, without some columns."""
    tables = {}
    for path in sorted(project.path(OUT).rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        tables[str(path)] = [{name: value for name, value in row.items() if name not in dropped} for row in rows]
    return tables


@pytest.mark.parametrize(
    ("kinds", "differ"),
    [
        (("proxy: arrays", "gradients: record", "training", "weights of a target"), {"selection_cost", "training_cost"}),  # trained again
        (("subsets: arrays", "propositions", "evaluation", "rows", "table: csv", "verdict: md", "figure: png", "front page: json"), set()),
    ],
    ids=["what is trained", "what is not"],
)
def test_the_command_that_is_printed_repairs_all_damage(finished, tmp_path, kinds, differ):
    project = duplicate(finished, tmp_path / "copy")
    files = sorted(project.path(OUT).rglob("*.csv"))
    tables, content = read_tables(project, differ), [path.read_bytes() for path in files]
    assert files
    for kind in kinds:
        path = project.path(FILES[kind][0])
        restore_times = keep_times([path])
        edit(path, None)
        restore_times()
    refused = project.snakemake()
    assert refused.returncode != 0 and "Finished jobid" not in refused.stderr and "Traceback" not in refused.stderr
    command = re.search(r"; to repair: (rm -rf .* && snakemake .*)$", refused.stderr, flags=re.MULTILINE)[1]
    repaired = project.run("bash", "-c", command)
    assert repaired.returncode == 0, repaired.stderr[-3000:]
    assert read_tables(project, differ) == tables
    assert differ or [path.read_bytes() for path in files] == content
    assert project.jobs() == {}  # a plan is refused while anything is damaged
