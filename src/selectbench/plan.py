"""The plan: papers and a scale → runs, the jobs that make them, and the artefacts made of them.

Tables drive everything: the ``where`` of each table is the list of its runs. This module is pure and imports no torch; the
workflow asks it for the inputs and the specification of every job, and a job's specification is all that may influence it.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from selectbench.config import Config, load_config
from selectbench.errors import ConfigError, suggest
from selectbench.fingerprint import fingerprint
from selectbench.methods import load_method
from selectbench.policy import parse_keep
from selectbench.seeds import derive_seed

NO_PROXY = "none"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Run:
    """One trained target: the unit of every table."""

    dataset: str
    proxy: str
    target: str
    regime: str
    method: str
    keep: str
    seed: int

    @property
    def id(self) -> str:
        """The run's name and the folder of its record, readable by people."""
        return f"{self.dataset}/{self.proxy}-to-{self.target}/{self.regime}/{self.method}/keep-{self.keep}/seed-{self.seed}"

    @property
    def group(self) -> str:
        """What the runs of one job have in common."""
        return self.id.partition("/keep-")[0]


class Plan:
    """Everything one invocation will make.

    Parameters
    ----------
    config : the checked configuration
    reported : paper → rows of ``config/reported/<paper>.csv``
    """

    def __init__(self, config: Config, reported: Mapping[str, list[dict[str, str]]]) -> None:
        self.config = config
        self.scale = config.main["scale"]
        self.folder = f"{config.main['results']}/{self.scale}"
        self.resources = config.main["resources"]
        self._reported = reported
        self.runs: dict[str, Run] = {}
        self.tables = {
            (paper, table): self._resolve_table(paper, table) for paper, entry in config.papers.items() for table in entry["tables"]
        }
        self.claims = {
            paper: [self._resolve_claim(paper, claim, claim_entry) for claim, claim_entry in entry["claims"].items()]
            for paper, entry in config.papers.items()
        }

    # ---- runs -------------------------------------------------------------------------------------------------------

    def _add_run(self, where: Mapping[str, str], method: str, keep: str, seed: int) -> str:
        """Register a run and return its id. Runs that no axis can tell apart are one run."""
        full = method == "full"
        run = Run(
            dataset=where["dataset"],
            proxy=where["proxy"] if load_method(method).needs else NO_PROXY,
            target=where["target"],
            regime="equal_epochs" if full else where["regime"],
            method=method,
            keep="1" if full else keep,
            seed=seed,
        )
        return self.runs.setdefault(run.id, run).id

    def _resolve_table(self, paper: str, table: str) -> dict:
        """Return a table's specification: every panel, row and cell with the runs it needs."""
        entry = self.config.papers[paper]["tables"][table]
        axes, where, methods = self.config.scale["axes"], entry["where"], self.config.methods
        test_set = axes["test_set"][entry["test_set"]]
        keeps = sorted({format_keep(keep) for keep in where["keep"]} - {"1"}, key=Fraction)
        controls = [name for name, method in methods.items() if method.get("control")]
        rest = [name for name in where["method"] if name not in controls]
        panels = []
        for paper_dataset in where["dataset"]:
            dataset = axes["dataset"][paper_dataset]
            absent = self._absence(paper_dataset, dataset, entry["test_set"], test_set)
            if absent:
                title = self.config.datasets.get(paper_dataset, {"title": paper_dataset})["title"]
                panels.append({"id": paper_dataset, "title": title, "absent": absent, "rows": []})
                continue
            concrete = {
                "dataset": dataset,
                "proxy": axes["model"][where["proxy"]],
                "target": axes["model"][where["target"]],
                "regime": where["regime"],
            }
            titles = [self.config.models[concrete[role]]["title"] for role in ("proxy", "target")]
            rows = []
            for method in [*controls, *rest, *self._additions]:
                planned = bool(methods[method].get("planned"))
                cells = {}
                for keep in ["1"] if method == "full" else keeps:
                    runs = [] if planned else [self._add_run(concrete, method, keep, seed) for seed in self.config.scale["seeds"]]
                    cells[keep] = {"runs": runs, "reported": self._find_reported(paper, table, paper_dataset, method, keep)}
                title = methods[method]["title"] + (" (added)" if method in self._additions else "")
                rows.append({"id": method, "title": title, "control": method in controls, "planned": planned, "cells": cells})
            title = f"{self.config.datasets[dataset]['title']}, {titles[0]} → {titles[1]}"
            panels.append({"id": dataset, "title": title, "absent": None, "rows": rows})
        return {
            "paper": paper,
            "id": table,
            "scale": self.scale,
            "title": entry["title"],
            "note": entry["note"],
            "metric": "top1",
            "test_set": test_set or entry["test_set"],
            "regime": where["regime"],
            "partial": self.config.main["partial"],
            "tolerance": entry["tolerance"],
            "compare_reported": self.config.scale["compare_reported"],
            "columns": [{"id": keep, "title": f"{float(Fraction(keep) * 100):g} %"} for keep in [*keeps, "1"]],
            "panels": panels,
        }

    @cached_property
    def _additions(self) -> list[str]:
        """Methods that no table names: an author's own. They get a row in every table."""
        tables = [table for paper in self.config.papers.values() for table in paper["tables"].values()]
        named = {method for table in tables for method in table["where"]["method"]}
        return [name for name, method in self.config.methods.items() if name not in named and not method.get("control")]

    def _absence(self, paper_dataset: str, dataset: str | None, paper_test_set: str, test_set: str | None) -> str | None:
        """Return why a panel does not exist at this scale, or None if it does."""
        if dataset is None:
            return f"no data set stands for it at scale {self.scale}"
        if test_set is None or test_set not in self.config.datasets[dataset]["test_sets"]:
            return f"{self.config.datasets[dataset]['title']} has no {paper_test_set!r} test set at scale {self.scale}"
        return None

    def _find_reported(self, paper: str, table: str, dataset: str, method: str, keep: str) -> dict | None:
        for row in self._reported.get(paper, []):
            if (row["table"], row["dataset"], row["method"], format_keep(row["keep"])) == (table, dataset, method, keep):
                return {"value": float(row["value"]), "evidence": row["evidence"], "note": row["note"]}
        return None

    # ---- jobs -------------------------------------------------------------------------------------------------------

    @cached_property
    def batches(self) -> dict[str, dict[str, list[Run]]]:
        """Stage (train or evaluate) → batch name → the runs that one job does."""
        groups: dict[str, list[Run]] = {}
        for run in self.runs.values():
            groups.setdefault(run.group, []).append(run)
        batches: dict[str, dict[str, list[Run]]] = {"train": {}, "evaluate": {}}
        for group, runs in groups.items():
            runs = sorted(runs, key=lambda run: (run.seed, Fraction(run.keep)))
            for stage, named in batches.items():
                size = self.config.scale["batch"][stage]
                for index, start in enumerate(range(0, len(runs), size)):
                    named[f"{group}/{index}"] = runs[start : start + size]
        return batches

    @cached_property
    def _train_batch_of(self) -> dict[str, str]:
        return {run.id: batch for batch, runs in self.batches["train"].items() for run in runs}

    @cached_property
    def _keeps_of(self) -> dict[tuple[str, str, str, int], set[str]]:
        keeps: dict[tuple[str, str, str, int], set[str]] = {}
        for run in self.runs.values():
            keeps.setdefault((run.dataset, run.proxy, run.method, run.seed), set()).add(run.keep)
        return keeps

    def manifests(self, stage: str) -> list[str]:
        """List the files that say a stage's batches are done."""
        return [f"{self.folder}/batches/{stage}/{batch}.json" for batch in self.batches[stage]]

    def batch_sizes(self, stage: str) -> dict[str, int]:
        """Return manifest → number of runs of a stage's batches."""
        return {manifest: len(runs) for manifest, runs in zip(self.manifests(stage), self.batches[stage].values(), strict=True)}

    def data(self, dataset: str) -> str:
        """Return the manifest of a prepared data set."""
        return f"{self.resources}/{dataset}/prepared/manifest.json"

    def signals(self, dataset: str, proxy: str, seed: int | str) -> str:
        """Return the signals file of a proxy run."""
        return f"{self.folder}/proxies/{dataset}/{proxy}/seed-{seed}.npz"

    def score_inputs(self, dataset: str, proxy: str, seed: str) -> list[str]:
        """List what scoring reads beside the data: the signals, unless the method needs no proxy."""
        return [] if proxy == NO_PROXY else [self.signals(dataset, proxy, seed)]

    def subset(self, run: Run) -> str:
        """Return the file of the subsets that hold a run's."""
        return f"{self.folder}/subsets/{run.dataset}/{run.proxy}/{run.method}/seed-{run.seed}.npz"

    def subset_inputs(self, batch: str) -> list[str]:
        """List the subset files a batch of trainings reads."""
        return _unique(self.subset(run) for run in self.batches["train"][batch])

    def train_inputs(self, batch: str) -> list[str]:
        """List the training manifests a batch of evaluations reads."""
        return _unique(f"{self.folder}/batches/train/{self._train_batch_of[run.id]}.json" for run in self.batches["evaluate"][batch])

    def record_inputs(self, paper: str) -> list[str]:
        """List the evaluation manifests a paper's records are collected from."""
        wanted = set(self.paper_runs(paper))
        return [
            f"{self.folder}/batches/evaluate/{batch}.json"
            for batch, runs in self.batches["evaluate"].items()
            if wanted.intersection(run.id for run in runs)
        ]

    def paper_runs(self, paper: str) -> list[str]:
        """List the ids of the runs that a paper's tables need, sorted."""
        tables = [spec for (owner, _), spec in self.tables.items() if owner == paper]
        return sorted(
            {
                run
                for spec in tables
                for panel in spec["panels"]
                for row in panel["rows"]
                for cell in row["cells"].values()
                for run in cell["runs"]
            }
        )

    def records(self, paper: str) -> str:
        """Return the file that all artefacts of a paper are made of."""
        return f"{self.folder}/{paper}/records.jsonl"

    def table_cells(self, paper: str) -> list[str]:
        """List the sidecars of a paper's tables, in the paper's order."""
        return [f"{self.folder}/{paper}/tables/{table}.cells.json" for table in self.config.papers[paper]["tables"]]

    def figure_drawings(self, paper: str) -> list[str]:
        """List a paper's figures as SVG, in the paper's order."""
        return [f"{self.folder}/{paper}/figures/{figure}.svg" for figure in self.config.papers[paper]["figures"]]

    def verdict(self, paper: str) -> str:
        """Return the verdict on a paper, as JSON."""
        return f"{self.folder}/{paper}/verdict.json"

    def page(self) -> str:
        """Return the results page of the scale."""
        return f"{self.folder}/index.html"

    def artefacts(self) -> list[str]:
        """List every file people read."""
        files = [self.page()]
        for paper, entry in self.config.papers.items():
            folder = f"{self.folder}/{paper}"
            files += [f"{folder}/tables/{table}.{form}" for table in entry["tables"] for form in ("csv", "md", "tex", "cells.json")]
            files += [f"{folder}/figures/{figure}.{form}" for figure in entry["figures"] for form in ("pdf", "png", "svg")]
            files += [f"{folder}/verdict.md", f"{folder}/verdict.json"]
        return files

    def datasets(self) -> list[str]:
        """List the data sets that runs need."""
        return _unique(run.dataset for run in self.runs.values())

    # ---- specifications: all that may influence a job ---------------------------------------------------------------

    def prepare_spec(self, dataset: str) -> dict:
        """Specify the preparation of a data set."""
        return {
            "dataset": dataset,
            "entry": self.config.datasets[dataset],
            "code": fingerprint("selectbench.stages.prepare_data", files=("data/imagenet1k_classes.txt",)),
        }

    def proxy_spec(self, dataset: str, proxy: str, seed: str) -> dict:
        """Specify one proxy training and what it records."""
        return {
            **self._training_spec("proxy", dataset, proxy),
            "seed": int(seed),
            "state": f"{self.folder}/state/proxies/{dataset}/{proxy}/seed-{seed}.pt",
            "code": fingerprint("selectbench.stages.train_proxy"),
        }

    def score_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the scoring of a pool by one method."""
        return {
            **self._selection_spec(dataset, proxy, method, seed),
            "code": fingerprint("selectbench.stages.score_samples", f"selectbench.methods.{method}"),
        }

    def select_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the subsets that one method's scores give, at all keep fractions."""
        return {
            **self._selection_spec(dataset, proxy, method, seed),
            "keeps": sorted(self._keeps_of[dataset, proxy, method, int(seed)], key=Fraction),
            "code": fingerprint("selectbench.stages.select_subsets", f"selectbench.methods.{method}"),
        }

    def train_spec(self, batch: str) -> dict:
        """Specify a batch of target trainings."""
        first = self.batches["train"][batch][0]
        return {
            **self._training_spec("target", first.dataset, first.target),
            "regime": first.regime,
            "runs": [self._describe_run(run) for run in self.batches["train"][batch]],
            "folder": self.folder,
            "code": fingerprint("selectbench.stages.train_targets"),
        }

    def evaluate_spec(self, batch: str) -> dict:
        """Specify a batch of evaluations: every checkpoint on every test set of its data set."""
        first = self.batches["evaluate"][batch][0]
        return {
            **self._training_spec("target", first.dataset, first.target),
            "runs": [self._describe_run(run) for run in self.batches["evaluate"][batch]],
            "test_sets": sorted(self.config.datasets[first.dataset]["test_sets"]),
            "folder": self.folder,
            "code": fingerprint("selectbench.stages.evaluate_targets"),
        }

    def collect_spec(self, paper: str) -> dict:
        """Specify the collection of a paper's records."""
        return {
            "paper": paper,
            "runs": self.paper_runs(paper),
            "folder": self.folder,
            "code": fingerprint("selectbench.stages.collect_records"),
        }

    def table_spec(self, paper: str, table: str) -> dict:
        """Specify a table."""
        return {**self.tables[paper, table], "code": fingerprint("selectbench.stages.make_table")}

    def figure_spec(self, paper: str, figure: str) -> dict:
        """Specify a figure: the panels of its table, drawn."""
        entry = self.config.papers[paper]["figures"][figure]
        return {
            **self.tables[paper, entry["table"]],
            "id": figure,
            "kind": entry["kind"],
            "title": entry["title"],
            "caption": entry["caption"],
            "code": fingerprint("selectbench.stages.draw_figure"),
        }

    def claims_spec(self, paper: str) -> dict:
        """Specify a paper's claims as comparisons of runs, seed by seed."""
        return {
            "paper": paper,
            "scale": self.scale,
            "confidence": CONFIDENCE,
            "claims": self.claims[paper],
            "code": fingerprint("selectbench.stages.judge_claims"),
        }

    def page_spec(self) -> dict:
        """Specify the results page: all papers with their tables and figures, in order."""
        papers = []
        for paper, entry in self.config.papers.items():
            figures = [{"id": name, "title": figure["title"], "caption": figure["caption"]} for name, figure in entry["figures"].items()]
            papers.append(
                {"id": paper, "title": entry["title"], "citation": entry["citation"], "tables": list(entry["tables"]), "figures": figures}
            )
        return {
            "title": "selectbench results",
            "scale": self.config.scale["title"],
            "scale_id": self.scale,
            "papers": papers,
            "code": fingerprint("selectbench.stages.build_page", files=("artefacts/page.html.j2",)),
        }

    def _resolve_claim(self, paper: str, claim: str, entry: dict) -> dict:
        compare, table, methods = entry["compare"], self.tables[paper, entry["table"]], self.config.methods
        where = f"config/papers/{paper}.yaml: claims.{claim}.compare"
        planned, waiting = ([name for name in compare[side] if methods[name].get("planned")] for side in ("method", "against"))
        table_keeps = [column["id"] for column in table["columns"][:-1]]
        keeps = [format_keep(keep) for keep in compare["keep"]] if "keep" in compare else table_keeps
        for keep in keeps:
            if keep not in table_keeps:
                raise ConfigError(f"{where}.keep: table {entry['table']!r} has no keep fraction {keep}{suggest(keep, table_keeps)}")
        pairs = [(name, other) for name in compare["method"] for other in compare["against"] if not {name, other} & {*planned, *waiting}]
        comparisons = []
        for panel in table["panels"]:
            rows = {row["id"]: row["cells"] for row in panel["rows"]}
            for name, other in pairs if rows else []:
                for method in (name, other):
                    if method not in rows:
                        raise ConfigError(f"{where}: table {entry['table']!r} has no row {method!r}{suggest(method, rows)}")
                for keep in keeps:
                    against = "full data" if other == "full" else methods[other]["title"]
                    comparisons.append(
                        {
                            "label": f"{panel['id']}: {methods[name]['title']} at {100 * float(keep):g} % against {against}",
                            "metric": compare["metric"],
                            "test_set": table["test_set"],
                            "higher_is_better": compare["metric"] != "total_wall_s",
                            "better": rows[name][keep]["runs"],
                            "worse": rows[other]["1" if other == "full" else keep]["runs"],
                        }
                    )
        unavailable = f"not built yet: {', '.join(methods[name]['title'] for name in planned)}" if planned else None
        fields = {key: entry[key] for key in ("statement", "by", "source", "table")}
        return {
            "id": claim,
            **fields,
            "unavailable": unavailable,
            "not_compared": [methods[name]["title"] for name in waiting],
            "comparisons": comparisons,
        }

    def _training_spec(self, role: str, dataset: str, model: str) -> dict:
        entry, scale = self.config.datasets[dataset], self.config.scale
        recipe_name = scale["recipes"][dataset][role]
        return {
            "role": role,
            "dataset": dataset,
            "input_shape": entry["input_shape"],
            "num_classes": entry["classes"],
            "id_test_set": next(name for name, test in entry["test_sets"].items() if test["kind"] == "id"),
            "model_name": model,
            "model": self.config.models[model],
            "recipe_name": recipe_name,
            "recipe": self.config.recipes[recipe_name],
            "threads": scale["resources"]["threads"],
        }

    def _selection_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        return {
            "dataset": dataset,
            "proxy": proxy,
            "method": method,
            "parameters": self.config.methods[method].get("parameters", {}),
            "seed": int(seed),
            "selection_seed": derive_seed("selection", dataset, proxy, method, seed),
            "threads": self.config.scale["resources"]["threads"],
        }

    def _describe_run(self, run: Run) -> dict:
        return {"id": run.id, **asdict(run), "subset": self.subset(run)}


def load_plan(root: Path, overrides: Mapping[str, object] | None = None) -> Plan:
    """Read the configuration below ``root`` and plan it.

    Raises
    ------
    ConfigError
        Anything in the configuration that cannot be run, in one line.
    """
    config = load_config(root, overrides)
    return Plan(config, {paper: _read_reported(root, Path(f"config/reported/{paper}.csv")) for paper in config.papers})


def format_keep(keep: float | str) -> str:
    """Spell a keep fraction in the one way that ids use: 0.30 and "0.3" are "0.3", 1.0 is "1"."""
    return f"{float(parse_keep(keep)):.10g}"


def to_json(spec: Mapping[str, object]) -> str:
    """Spell a specification as the one line of JSON that a command gets."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _read_reported(root: Path, name: Path) -> list[dict[str, str]]:
    """Read the numbers a paper prints; no file means that none could be read."""
    path = root / name
    if not path.exists():
        return []
    columns = ["table", "dataset", "method", "keep", "value", "evidence", "note"]
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != columns:
            raise ConfigError(f"{name}: columns are {reader.fieldnames} and should be {columns}")
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        try:
            float(row["value"])
            parse_keep(row["keep"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: line {line}: {error}") from None
    return rows


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
