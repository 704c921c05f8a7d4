"""The plan: papers and a scale → runs, the jobs that make them, and the artefacts made of them.

Tables drive everything: the ``where`` of each table is the list of its runs. This module is pure and imports no torch; the
workflow asks it for the inputs and the specification of every job, and a job's specification is all that may influence it.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from selectbench.config import Config, load_config
from selectbench.errors import ConfigError
from selectbench.fingerprint import fingerprint
from selectbench.policy import parse_keep
from selectbench.pretrained import digest_declared
from selectbench.resolve import resolve_claim, resolve_table
from selectbench.runs import NO_PROXY, Run, format_keep
from selectbench.seeds import derive_seed
from selectbench.signals import SOURCES

CONFIDENCE = 0.95
CLASS_LISTS = tuple(f"data/imagenet{name}_classes.txt" for name in ("1k", "_a", "_r"))
THEORY_PAIRS = 2000  # same-class pairs on which the propositions are measured


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
        self.runs: dict[str, Run] = {}
        self.tables: dict[tuple[str, str], dict] = {}
        for paper, entry in config.papers.items():
            for table in entry["tables"]:
                self.tables[paper, table], runs = resolve_table(config, reported[paper], paper, table)
                self.runs |= {run.id: run for run in runs}
        self.claims = {
            paper: [resolve_claim(config, self.tables, paper, claim) for claim in entry["claims"]] for paper, entry in config.papers.items()
        }

    @cached_property
    def batches(self) -> dict[str, dict[str, list[Run]]]:
        """Stage (train or evaluate) → batch name → the runs that one job does: one data set, target and regime."""
        groups: dict[str, list[Run]] = {}
        for run in sorted(self.runs.values(), key=lambda run: (run.group, run.seed, Fraction(run.keep))):
            groups.setdefault(run.group, []).append(run)
        places: dict[str, list[list[Run]]] = {}
        for runs in groups.values():
            places.setdefault(f"{runs[0].dataset}/{runs[0].target}/{runs[0].regime}", []).append(runs)
        return {
            stage: {
                f"{place}/{index}": runs
                for place, groups_there in places.items()
                for index, runs in enumerate(pack_groups(groups_there, self.config.scale["batch"][stage]))
            }
            for stage in ("train", "evaluate")
        }

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

    def weights(self, dataset: str, proxy: str, seed: int | str) -> str:
        """Return the weights that a proxy run kept along its training."""
        return f"{self.folder}/proxies/{dataset}/{proxy}/seed-{seed}.pt"

    def signals(self, source: str, dataset: str, proxy: str, seed: int | str) -> str:
        """Return the file of the signals that one source records (see ``signals.SOURCES``)."""
        folder = {
            "proxy": f"proxies/{dataset}/{proxy}",
            "gradient_norms": f"gradients/{dataset}/{proxy}/gradient_norms",
            "alignments": f"gradients/{dataset}/{proxy}/alignments",
            "encoder": f"encoders/{dataset}",
        }[source]
        return f"{self.folder}/{folder}/seed-{seed}.npz"

    def score_inputs(self, dataset: str, proxy: str, method: str, seed: str) -> list[str]:
        """List what scoring reads beside the data: the signals of every source the method needs."""
        return [self.signals(source, dataset, proxy, seed) for source in self.config.find_method(method).sources()]

    def learned_methods(self) -> list[str]:
        """List the methods whose subsets an agent chooses, in a stage of their own."""
        static = [name for name, entry in self.config.methods.items() if not (entry.get("planned") or entry.get("dynamic"))]
        return [name for name in static if self.config.find_method(name).learned]

    def count_sources(self) -> dict[str, int]:
        """Return source → number of recordings that the runs need; measuring gradients needs its proxy run too."""
        files: dict[str, set[str]] = {source: set() for source in SOURCES}
        for run in filter(self.has_subset, self.runs.values()):
            method = self.config.find_method(run.method)
            for source in () if method.learned else method.sources():
                files[source].add(self.signals(source, run.dataset, run.proxy, run.seed))
                if run.proxy != NO_PROXY:
                    files["proxy"].add(self.signals("proxy", run.dataset, run.proxy, run.seed))
        return {source: len(names) for source, names in files.items()}

    def has_subset(self, run: Run) -> bool:
        """Tell whether a run trains on a subset chosen before; dynamic methods choose while it trains."""
        return not self.config.is_dynamic(run.method)

    def subset(self, run: Run) -> str:
        """Return the file of the subsets that hold a run's."""
        return f"{self.folder}/subsets/{run.dataset}/{run.proxy}/{run.method}/seed-{run.seed}.npz"

    def subset_inputs(self, batch: str) -> list[str]:
        """List the subset files a batch of trainings reads."""
        return _unique(self.subset(run) for run in self.batches["train"][batch] if self.has_subset(run))

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

    def table_runs(self, paper: str, table: str) -> set[str]:
        """Return the ids of the runs that a table needs."""
        return _list_runs(self.tables[paper, table])

    def paper_runs(self, paper: str) -> list[str]:
        """List the ids of the runs that a paper's tables need, sorted."""
        return sorted(set().union(*(self.table_runs(paper, table) for table in self.config.papers[paper]["tables"])))

    def overlaps(self, paper: str) -> str:
        """Return the overlaps of a paper's subsets."""
        return f"{self.folder}/{paper}/overlaps.json"

    def compared_subsets(self, paper: str) -> list[str]:
        """List the subset files whose overlaps a paper's figures show."""
        return _unique(self.subset(run) for run in self._compared_runs(paper))

    def _compared_runs(self, paper: str) -> list[Run]:
        entry = self.config.papers[paper]
        tables = {figure["table"] for figure in entry["figures"].values() if figure["kind"] == "overlap"}
        runs = sorted({run for table in tables for run in self.table_runs(paper, table)})
        return [self.runs[run] for run in runs if self.runs[run].method != "full" and self.has_subset(self.runs[run])]

    def figure_overlaps(self, paper: str, figure: str) -> list[str]:
        """List the overlaps that a figure reads: one file for its kind, none for others."""
        return [self.overlaps(paper)] if self.config.papers[paper]["figures"][figure]["kind"] == "overlap" else []

    def figure_measurements(self, paper: str, figure: str) -> list[str]:
        """List the measurements that a figure reads."""
        entry = self.config.papers[paper]["figures"][figure]
        return self._list_measurements(paper, [entry["table"]]) if entry["kind"] == "measured" else []

    def measurements(self, paper: str) -> list[str]:
        """List the measured propositions that a paper's claims read."""
        claims = self.config.papers[paper]["claims"].values()
        return self._list_measurements(paper, [claim["table"] for claim in claims if "measured" in claim])

    def _list_measurements(self, paper: str, tables: Iterable[str]) -> list[str]:
        """List one file a data set, proxy and seed of the tables."""
        axes, files = self.config.scale["axes"], []
        for where in (self.config.papers[paper]["tables"][table]["where"] for table in tables):
            proxy = axes["model"][where["proxy"]]
            for dataset in filter(None, (axes["dataset"][name] for name in where["dataset"])):
                files += [f"{self.folder}/theory/{dataset}/{proxy}/seed-{seed}.json" for seed in self.config.scale["seeds"]]
        return _unique(files)

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

    @cached_property
    def _test_sets_of(self) -> dict[str, set[str]]:
        """Run → the test sets of the tables that show it."""
        tests: dict[str, set[str]] = {}
        for table in self.tables.values():
            for panel in table["panels"]:
                for run in list_panel_runs(panel):
                    tests.setdefault(run, set()).add(panel["test_set"])
        return tests

    def run_test_sets(self, run: Run) -> list[str]:
        """List the test sets that a run is evaluated on: its data set's own, and those of the tables that show it."""
        return sorted({self.id_test_set(run.dataset), *self._test_sets_of[run.id]})

    def test_sets(self, dataset: str) -> list[str]:
        """List the test sets of a data set that runs need."""
        return sorted({test for run in self.runs.values() if run.dataset == dataset for test in self.run_test_sets(run)})

    def id_test_set(self, dataset: str) -> str:
        """Return the test set of a data set that comes from the distribution of its pool."""
        return next(name for name, test in self.config.datasets[dataset]["test_sets"].items() if test["kind"] == "id")

    def recipe_name(self, role: str, dataset: str, model: str) -> str:
        """Return the recipe by which a model is trained in its role: a target may have one of its own."""
        recipes = self.config.scale["recipes"][self.config.base_of(dataset)]
        return recipes.get("target_of", {}).get(model, recipes["target"]) if role == "target" else recipes[role]

    def prepare_spec(self, dataset: str) -> dict:
        """Specify the preparation of a data set."""
        return {
            "dataset": dataset,
            "test_sets": self.test_sets(dataset),
            "entry": self.config.datasets[dataset],
            "code": fingerprint("selectbench.stages.prepare_data", files=CLASS_LISTS),
        }

    def proxy_spec(self, dataset: str, proxy: str, seed: str) -> dict:
        """Specify one proxy training and what it records."""
        return {
            **self._training_spec("proxy", dataset, proxy),
            "seed": int(seed),
            "state": f"{self.folder}/state/proxies/{dataset}/{proxy}/seed-{seed}.pt",
            "code": fingerprint("selectbench.stages.train_proxy"),
        }

    def gradients_spec(self, dataset: str, proxy: str, seed: str, signal: str) -> dict:
        """Specify the measurement of one gradient signal at the weights of a proxy run."""
        return {
            **self._training_spec("proxy", dataset, proxy),
            "seed": int(seed),
            "signal": signal,
            "code": fingerprint("selectbench.stages.measure_gradients"),
        }

    def theory_spec(self, dataset: str, proxy: str, seed: str) -> dict:
        """Specify the measurement of the propositions about covered pairs on a proxy run."""
        return {
            **self._training_spec("proxy", dataset, proxy),
            "seed": int(seed),
            "pairs": THEORY_PAIRS,
            "code": fingerprint("selectbench.stages.measure_theory"),
        }

    def encoder_spec(self, dataset: str, seed: str) -> dict:
        """Specify the embedding of a pool by the encoder that the scale declares for it."""
        name = self.config.scale["encoders"][self.config.base_of(dataset)]
        entry = self.config.encoders[name]
        return {
            **self._data_spec(dataset),
            "encoder_name": name,
            "encoder": entry,
            "model_name": entry.get("model"),
            "model": self.config.models.get(entry.get("model")),
            "seed": int(seed),
            "state": f"{self.folder}/state/encoders/{dataset}/seed-{seed}.pt",
            "code": fingerprint("selectbench.stages.embed_samples"),
        }

    def score_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the scoring of a pool by one method."""
        return {
            **self._selection_spec(dataset, proxy, method, seed),
            "threads": self.config.scale["resources"]["threads"],
            "code": self._method_code("selectbench.stages.score_samples", method),
        }

    def select_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the subsets that one method's scores give, at all keep fractions."""
        return {
            **self._selection_spec(dataset, proxy, method, seed),
            "keeps": sorted(self._keeps_of[dataset, proxy, method, int(seed)], key=Fraction),
            "code": self._method_code("selectbench.stages.select_subsets", method),
        }

    def selector_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the agents of one method, one a keep fraction, each trained beside a model of the proxy's kind."""
        return {
            **self._training_spec("selector", dataset, proxy),
            **self._selection_spec(dataset, proxy, method, seed),
            "method_name": method,
            "keeps": sorted(self._keeps_of[dataset, proxy, method, int(seed)], key=Fraction),
            "state": f"{self.folder}/state/selectors/{dataset}/{proxy}/{method}/seed-{seed}",
            "code": self._method_code("selectbench.stages.train_selectors", method),
        }

    def train_spec(self, batch: str) -> dict:
        """Specify a batch of target trainings."""
        first = self.batches["train"][batch][0]
        return {
            **self._training_spec("target", first.dataset, first.target),
            "regime": first.regime,
            "runs": [self._describe_run(run) | self._describe_choice(run) for run in self.batches["train"][batch]],
            "folder": self.folder,
            "code": fingerprint("selectbench.stages.train_targets"),
        }

    def evaluate_spec(self, batch: str) -> dict:
        """Specify a batch of evaluations: every checkpoint on the test sets that tables ask of it."""
        runs = self.batches["evaluate"][batch]
        return {
            **self._training_spec("target", runs[0].dataset, runs[0].target),
            "runs": [self._describe_run(run) | {"test_sets": self.run_test_sets(run)} for run in runs],
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

    def overlaps_spec(self, paper: str) -> dict:
        """Specify the comparison of a paper's subsets: by data set and keep fraction, every method's files by seed."""
        groups: dict[tuple[str, str], dict[str, list[dict]]] = {}
        for run in self._compared_runs(paper):
            methods = groups.setdefault((run.dataset, run.keep), {})
            methods.setdefault(run.method, []).append({"seed": run.seed, "subset": self.subset(run)})
        sizes = {dataset: self.config.datasets[dataset]["pool_size"] for dataset, _ in groups}
        return {
            "paper": paper,
            "groups": [
                {"dataset": dataset, "keep": keep, "num_pool": sizes[dataset], "methods": methods}
                for (dataset, keep), methods in groups.items()
            ],
            "code": fingerprint("selectbench.stages.compare_subsets"),
        }

    def table_spec(self, paper: str, table: str) -> dict:
        """Specify a table."""
        return {**self.tables[paper, table], "code": fingerprint("selectbench.stages.make_table")}

    def figure_spec(self, paper: str, figure: str) -> dict:
        """Specify a figure: the panels of its table, drawn."""
        entry = self.config.papers[paper]["figures"][figure]
        keep = {"keep": format_keep(entry["keep"])} if "keep" in entry else {}
        return {
            **self.tables[paper, entry["table"]],
            "id": figure,
            **{name: value for name, value in entry.items() if name != "table"},
            **keep,
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

    def _data_spec(self, dataset: str) -> dict:
        entry = self.config.datasets[dataset]
        return {
            "dataset": dataset,
            "input_shape": entry["input_shape"],
            "num_classes": entry["classes"],
            "threads": self.config.scale["resources"]["threads"],
        }

    def _training_spec(self, role: str, dataset: str, model: str) -> dict:
        recipe_name = self.recipe_name(role, dataset, model)
        recipe = self.config.recipes[recipe_name]
        return {
            **self._data_spec(dataset),
            "role": role,
            "id_test_set": self.id_test_set(dataset),
            "model_name": model,
            "model": self.config.models[model],
            "recipe_name": recipe_name,
            "recipe": recipe,
            "weights": digest_declared(recipe.get("pretrained", False), f"config/recipes.yaml: {recipe_name}.pretrained"),
        }

    def _selection_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        file = self.config.method_file(method)
        return {
            "dataset": dataset,
            "proxy": proxy,
            "method": file,
            "parameters": self.config.methods[method].get("parameters", {}),
            "seed": int(seed),
            "selection_seed": derive_seed("selection", dataset, proxy, file, seed),
        }

    def _method_code(self, stage: str, method: str) -> str:
        return fingerprint(stage, f"selectbench.methods.{self.config.method_file(method)}")

    def _describe_run(self, run: Run) -> dict:
        return {"id": run.id, **asdict(run)}

    def _describe_choice(self, run: Run) -> dict:
        """Return where a run's samples come from: a file of subsets, or a sampler."""
        if self.has_subset(run):
            return {"subset": self.subset(run), "sampler": None}
        file = self.config.method_file(run.method)
        sampler = {
            "name": file,
            "parameters": self.config.methods[run.method].get("parameters", {}),
            "seed": derive_seed("selection", run.dataset, run.proxy, file, run.seed),
            "code": fingerprint(f"selectbench.dynamic.{file}"),
        }
        return {"subset": None, "sampler": sampler}


def pack_groups(groups: Iterable[Sequence[Run]], size: int) -> list[list[Run]]:
    """Pack groups of runs, in order, into batches of at most ``size``; a group is cut only if it is larger than a batch."""
    batches: list[list[Run]] = []
    for group in groups:
        if batches and len(batches[-1]) + len(group) <= size:
            batches[-1] += group
        else:
            batches += [list(group[start : start + size]) for start in range(0, len(group), size)]
    return batches


def _list_runs(table: Mapping) -> set[str]:
    return set().union(*map(list_panel_runs, table["panels"]))


def list_panel_runs(panel: Mapping) -> set[str]:
    """Return the ids of the runs that a panel shows."""
    return {run for row in panel["rows"] for cell in row["cells"].values() for run in cell["runs"]}


def load_plan(root: Path, overrides: Mapping[str, object] | None = None) -> Plan:
    """Read the configuration below ``root`` and plan it.

    Raises
    ------
    ConfigError
        Anything in the configuration that cannot be run, in one line.
    """
    config = load_config(root, overrides)
    return Plan(config, {paper: _read_reported(root, Path(f"config/reported/{paper}.csv")) for paper in config.papers})


def to_json(spec: Mapping[str, object]) -> str:
    """Spell a specification as the one line of JSON that a command gets."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _read_reported(root: Path, name: Path) -> list[dict[str, str]]:
    """Read the numbers a paper prints; no file means that none could be read."""
    path = root / name
    if not path.exists():
        return []
    columns = ["table", "dataset", "target", "method", "keep", "value", "evidence", "note"]
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
