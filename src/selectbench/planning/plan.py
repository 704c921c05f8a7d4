"""The plan: papers and a scale → the runs that their tables ask for, in batches. Tables drive everything.

What a job is asked to do and which files it makes stands in the declaration of its stage (``selectbench.stages``).
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from selectbench.artefacts.specs import ClaimSpec, PanelSpec, TableSpec, list_compared
from selectbench.errors import ConfigError, SelectbenchError, find_closest, first_line, shorten, suggest
from selectbench.planning.config import SEEDS, Config, list_seeds, load_config
from selectbench.planning.entries import ClaimEntry, Main, Paper
from selectbench.planning.layout import Layout
from selectbench.planning.resolve import add_runs, resolve_claim, resolve_table
from selectbench.planning.runs import Run
from selectbench.policy import parse_keep
from selectbench.records.arithmetic import AVX2

BROWSED_SEEDS = 2  # whose subsets the results page shows sample by sample


class Plan:
    """What one invocation runs.

    Parameters
    ----------
    config : the checked configuration
    reported : paper → rows of ``config/reported/<paper>.csv``

    Attributes
    ----------
    scale : its id
    layout : where files lie
    runs : id → run
    prepared_for : the runs that data sets are prepared for, which are all runs of the scale even if the plan is restricted
    tables : (paper, table) → the table with the runs of every cell
    claims : paper → its claims with the runs that they compare
    """

    def __init__(self, config: Config, reported: Mapping[str, list[dict[str, str]]]) -> None:
        self.config = config
        self.reported = reported
        self.scale: str = config.main["scale"]
        self.layout = Layout(config.main["results"], f"{config.main['results']}/{self.scale}", config.main["resources"])
        self.runs: dict[str, Run] = {}
        self.tables: dict[tuple[str, str], TableSpec] = {}
        for paper, entry in config.papers.items():
            for table in entry["tables"]:
                self.tables[paper, table], runs = resolve_table(config, reported[paper], paper, table)
                self.runs |= {run.id: run for run in runs}
        self._test_sets_of = self._list_test_sets()
        added = self._find_added()
        self.runs |= {run.id: run for runs in added.values() for run in runs}
        self.prepared_for = self.runs
        self.claims: dict[str, list[ClaimSpec]] = {
            paper: [add_runs(resolve_claim(config, self.tables, paper, claim), added) for claim in entry["claims"]]
            for paper, entry in config.papers.items()
        }

    def _find_added(self) -> dict[str, list[Run]]:
        """Return folder of runs that differ in seed alone → the runs of the seeds that ``config/seeds/<scale>.yaml`` adds.

        Raises
        ------
        ConfigError
            No run of the scale has this folder.
        """
        first = {run.cell: run for run in self.runs.values()}
        measured = {f"{paper}/{claim}" for paper, entry in self.config.papers.items() for claim in find_measured(entry)}
        are_all = self.config.papers.keys() == self.config.known_papers.keys()
        scale = self.config.scale
        added: dict[str, list[Run]] = {}
        for name, number in self.config.added.items():
            if name in first:
                added[name] = [replace(first[name], seed=seed) for seed in list_seeds(scale, number)[len(scale["seeds"]) :]]
            elif are_all and name not in measured:
                problem = f"scale {self.scale} has no runs and no measured claim {name!r}"
                raise ConfigError(f"{SEEDS}/{self.scale}.yaml: {problem}{suggest(name, first.keys() | measured)}")
        return added

    def restrict(self, ids: Iterable[str]) -> "Plan":
        """Return the plan of some of the runs, without artefacts.

        Raises
        ------
        ConfigError
            There is no such run.
        """
        wanted = set(ids)
        unknown = min(wanted - self.runs.keys(), default=None)
        if unknown is not None:
            closest = find_closest(unknown, self.runs)
            hint = f"; did you mean {closest!r}?" if closest else ""
            raise ConfigError(f"config/config.yaml: only: scale {self.scale} has no run {unknown!r}{hint}")
        part = Plan(replace(self.config, papers={}), {})
        part.runs = {name: run for name, run in self.runs.items() if name in wanted}
        part.prepared_for, part._test_sets_of = self.prepared_for, self._test_sets_of
        return part

    @property
    def arithmetic(self) -> str:
        """Whether CPUs compute with AVX2 (``avx2``) or SSE4 (``sse4``) at most, or with whatever instructions they have (``native``).

        ``deterministic`` is AVX2 on CPUs, and deterministic kernels on GPUs.
        """
        return self.config.main.get("arithmetic", AVX2)

    @property
    def folder(self) -> str:
        """The results folder of the scale."""
        return self.layout.results

    @cached_property
    def batches(self) -> dict[str, dict[str, list[Run]]]:
        """Stage (train or evaluate) → batch name → the runs that one job does: one data set, target, recipe and regime."""
        groups: dict[str, list[Run]] = {}
        for run in sorted(self.runs.values(), key=lambda run: (run.group, run.seed, Fraction(run.keep))):
            groups.setdefault(run.group, []).append(run)
        places: dict[str, list[list[Run]]] = {}
        for runs in groups.values():
            places.setdefault(f"{runs[0].dataset}/{runs[0].trained}/{runs[0].regime}", []).append(runs)
        return {
            stage: {
                f"{place}/{index}": runs
                for place, groups_there in places.items()
                for index, runs in enumerate(pack_groups(groups_there, size))
            }
            for stage, size in (("train", self.config.scale["batch"]["train"]), ("evaluate", self.config.scale["batch"]["evaluate"]))
        }

    @cached_property
    def train_batch_of(self) -> dict[str, str]:
        """Id of a run → the batch that trains it."""
        return {run.id: batch for batch, runs in self.batches["train"].items() for run in runs}

    @cached_property
    def _keeps_of(self) -> dict[tuple[str, str, str, str], set[str]]:
        keeps: dict[tuple[str, str, str, str], set[str]] = {}
        for run in self.runs.values():
            keeps.setdefault((run.dataset, run.proxy, run.method, str(run.seed)), set()).add(run.keep)
        return keeps

    def list_keeps(self, dataset: str, proxy: str, method: str, seed: str) -> list[str]:
        """List the keep fractions at which runs ask for a method's subsets, ascending."""
        return sorted(self._keeps_of[dataset, proxy, method, seed], key=Fraction)

    @cached_property
    def _browsed(self) -> set[tuple[str, str, str, str]]:
        runs = [run for paper in self.config.papers for run in self.browsed_runs(paper)]
        return {(run.dataset, run.proxy, run.method, str(run.seed)) for run in runs}

    def find_largest_keep(self, dataset: str, proxy: str, method: str, seed: str) -> str:
        """Return the largest keep fraction for which a method's scores are read; a page that ranks all samples by them reads 1."""
        key = (dataset, proxy, method, seed)
        return "1" if key in self._browsed else self.list_keeps(*key)[-1]

    def datasets(self) -> list[str]:
        """List the data sets that runs need."""
        return list_unique(run.dataset for run in self.runs.values())

    def has_subset(self, run: Run) -> bool:
        """Tell whether a run trains on a subset chosen before; dynamic methods choose while it trains."""
        return not self.config.is_dynamic(run.method)

    def run_sources(self, run: Run) -> tuple[str, ...]:
        """Return the sources of the signals that a run's subset is made from; samplers, agents and other code read none."""
        if self.config.is_given(run.method):
            return ()
        if self.config.is_search(run.method):
            return ("encoder",)
        method = self.config.find_method(run.method) if self.has_subset(run) else None
        return () if method is None or method.learned else self.config.make_static(run.method).sources()

    def table_runs(self, paper: str, table: str) -> set[str]:
        """Return the ids of the runs that a table needs."""
        return set().union(*map(list_panel_runs, self.tables[paper, table]["panels"]))

    def paper_runs(self, paper: str) -> list[str]:
        """List the ids of the runs that a paper's tables and claims need, sorted."""
        shown = (self.table_runs(paper, table) for table in self.config.papers[paper]["tables"])
        return sorted(set().union(*shown, *map(list_claim_runs, self.claims[paper])))

    def list_subset_runs(self, paper: str, tables: Iterable[str]) -> list[Run]:
        """List the runs of tables that train on a subset, except full data."""
        runs = sorted({run for table in tables for run in self.table_runs(paper, table)})
        return [self.runs[run] for run in runs if self.runs[run].method != "full" and self.has_subset(self.runs[run])]

    def browsed_runs(self, paper: str) -> list[Run]:
        """List the runs whose subsets the results page shows sample by sample: those of the first seeds."""
        seeds, entry = self.config.scale["seeds"][:BROWSED_SEEDS], self.config.papers[paper]
        return [run for run in self.list_subset_runs(paper, [entry["browse"]] if "browse" in entry else []) if run.seed in seeds]

    def browsing_papers(self) -> list[str]:
        """List the papers whose subsets the results page shows sample by sample."""
        return [paper for paper in self.config.papers if self.browsed_runs(paper)]

    def _list_test_sets(self) -> dict[str, set[str]]:
        """Return folder of runs that differ in seed alone → the test sets of the tables that show them."""
        tests: dict[str, set[str]] = {}
        for table in self.tables.values():
            for panel in table["panels"]:
                if (test_set := panel["test_set"]) is not None:
                    for run in list_panel_runs(panel):
                        tests.setdefault(self.runs[run].cell, set()).add(test_set)
        return tests

    def run_test_sets(self, run: Run) -> list[str]:
        """List the test sets that a run is evaluated on: its data set's own, and those of the tables that show it."""
        return sorted({self.id_test_set(run.dataset), *self._test_sets_of[run.cell]})

    def test_sets(self, dataset: str) -> list[str]:
        """List the test sets of a data set that runs need, those of a restricted plan included: data are prepared once for all."""
        return sorted({test for run in self.prepared_for.values() if run.dataset == dataset for test in self.run_test_sets(run)})

    def id_test_set(self, dataset: str) -> str:
        """Return the test set of a data set that comes from the distribution of its pool."""
        return next(name for name, test in self.config.datasets[dataset]["test_sets"].items() if test["kind"] == "id")

    def recipe_name(self, role: str, dataset: str, model: str) -> str:
        """Return the recipe with which a model is trained in its role by default; a target may have its own."""
        recipes = self.config.scale["recipes"][self.config.base_of(dataset)]
        usual = {"proxy": recipes["proxy"], "selector": recipes.get("selector", ""), "target": recipes["target"]}[role]
        return recipes.get("target_of", {}).get(model, usual) if role == "target" else usual

    def run_recipe(self, run: Run) -> str:
        """Return the recipe by which a run's target is trained: its paper's own, or the target's usual one."""
        return run.own_recipe or self.recipe_name("target", run.dataset, run.target)


def load_plan(root: Path, overrides: Mapping[str, object] | None = None) -> Plan:
    """Read the configuration below ``root`` and plan it.

    Raises
    ------
    ConfigError
        Anything in the configuration that cannot be run, in one line.
    """
    config = load_config(root, overrides)
    plan = Plan(config, {paper: _read_reported(root, Path(f"config/reported/{paper}.csv")) for paper in config.papers})
    return plan.restrict(config.main["only"]) if "only" in config.main else plan


def take_paper(plan: Plan, paper: str) -> Plan:
    """Return the plan of one of a plan's papers alone."""
    main: Main = {**plan.config.main, "papers": [paper]}
    return Plan(replace(plan.config, main=main, papers={paper: plan.config.papers[paper]}), plan.reported)


def pack_groups(groups: Iterable[Sequence[Run]], size: int) -> list[list[Run]]:
    """Pack groups of runs, in order, into batches of at most ``size``; a group is cut only if it is larger than a batch."""
    batches: list[list[Run]] = []
    for group in groups:
        if batches and len(batches[-1]) + len(group) <= size:
            batches[-1] += group
        else:
            batches += [list(group[start : start + size]) for start in range(0, len(group), size)]
    return batches


def list_panel_runs(panel: PanelSpec) -> set[str]:
    """Return the ids of the runs that a panel shows."""
    return {run for row in panel["rows"] for cell in row["cells"].values() for run in cell["runs"]}


def find_measured(paper: Paper) -> dict[str, ClaimEntry]:
    """Return the claims of a paper that compare a measured statistic with a bound."""
    return {name: claim for name, claim in paper["claims"].items() if "measured" in claim}


def list_claim_runs(claim: ClaimSpec) -> set[str]:
    """Return the ids of the runs that a claim compares."""
    return {run for item in claim["comparisons"] for run in list_compared(item)}


def list_unique(names: Iterable[str]) -> list[str]:
    """List names once each, in the order in which they first come."""
    return list(dict.fromkeys(names))


def _read_reported(root: Path, name: Path) -> list[dict[str, str]]:
    """Read the numbers a paper prints; no file means that none could be read."""
    path = root / name
    if not path.exists():
        return []
    columns = ["table", "dataset", "target", "method", "keep", "value", "evidence", "note"]
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, restkey="too many values", restval="")
            if reader.fieldnames != columns:
                raise ConfigError(f"{name}: columns are {shorten(repr(reader.fieldnames))} and should be {columns}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name}: not a readable table ({first_line(error)})") from None
    for line, row in enumerate(rows, start=2):
        try:
            if row.keys() != set(columns) or not math.isfinite(float(row["value"])):
                raise ConfigError(f"should hold {len(columns)} values, of which 'value' is a finite number")
            parse_keep(row["keep"])
        except (SelectbenchError, ValueError) as error:
            raise ConfigError(f"{name}: line {line}: {shorten(first_line(error))}") from None
    return rows
