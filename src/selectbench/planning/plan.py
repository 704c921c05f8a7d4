"""The plan: papers and a scale → runs, the jobs that make them, and the artefacts made of them.

Tables drive everything: the ``where`` of each table is the list of its runs. This module is pure and imports no torch; the
workflow asks it for the inputs and the specification of every job, and a job's specification is all that may influence it.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from selectbench.errors import ConfigError, SelectbenchError, first_line, shorten
from selectbench.models.pretrained import digest_declared
from selectbench.planning.config import load_config
from selectbench.planning.fingerprint import fingerprint
from selectbench.planning.layout import Layout
from selectbench.planning.runs import Run, format_keep
from selectbench.policy import parse_keep
from selectbench.seeds import derive_seed

CONFIDENCE = 0.95
CLASS_LISTS = tuple(f"data/imagenet{name}_classes.txt" for name in ("1k", "_a", "_r"))
THEORY_PAIRS = 2000  # same-class pairs on which the propositions are measured
VALIDITY_SUBSETS, VALIDITY_KEEP = 30, 0.05  # random sets of clusters on which proxies are held against targets
NGRAM = "ngram"
MOST_BROWSED, LEAST_BROWSED = 300, 100  # samples of larger pools that a browser shows, shared by a paper's data sets
PAGE_FILES = tuple(
    f"artefacts/page/{name}"
    for name in (
        *(f"{part}.html.j2" for part in ("base", "macros", "scale", "paper", "explore", "reading", "front")),
        *("page.css", "page.js", "browser.js", "costs.js"),
    )
)


class Plan(Layout):
    """Everything one invocation will make: what each job is asked to do, and the files it reads and writes (see ``Layout``)."""

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
            **self._device_spec(),
            "encoder_name": name,
            "encoder": entry,
            "model_name": entry.get("model"),
            "model": self.config.models.get(entry.get("model")),
            "seed": int(seed),
            "state": f"{self.folder}/state/encoders/{dataset}/seed-{seed}.pt",
            "code": fingerprint("selectbench.stages.embed_samples"),
        }

    def embed_spec(self, dataset: str) -> dict:
        """Specify the embedding of all splits of a data set of texts."""
        return {
            **self._data_spec(dataset),
            **self._device_spec(),
            **self._encoder_spec(dataset),
            "splits": ["pool", "validation", *self.test_sets(dataset)],
            "matches": self.reads_matches(dataset),
            "code": fingerprint("selectbench.stages.embed_texts"),
        }

    def texts_spec(self, dataset: str, signal: str) -> dict:
        """Specify the measurement of one signal of texts alone."""
        reference = self.config.scale["reference_models"][dataset]
        return {
            **self._data_spec(dataset),
            "gpu": self.texts_gpus(dataset, signal),
            **self._encoder_spec(dataset),
            "signal": signal,
            "reference_name": reference,
            "reference": None if reference == NGRAM else self.config.models[reference],
            "code": fingerprint("selectbench.stages.measure_texts"),
        }

    def texts_gpus(self, dataset: str, signal: str) -> int:
        """Return the GPUs that measuring a signal of texts alone asks for: none, unless a language model says how likely they are."""
        computes = signal == "perplexities" and self.config.scale["reference_models"][dataset] != NGRAM
        return self.config.scale["resources"]["gpu"] if computes else 0

    def influences_spec(self, dataset: str, seed: str) -> dict:
        """Specify the warm-up training of a head on frozen embeddings and the influences of a pool at its checkpoints."""
        return {
            **self._data_spec(dataset),
            "seed": int(seed),
            "code": fingerprint("selectbench.stages.measure_influences"),
        }

    def clusters_spec(self, dataset: str, clustering: str, clusters: str, seed: str) -> dict:
        """Specify the clustering of a pool of texts."""
        return {
            **self._data_spec(dataset),
            "clustering": clustering,
            "clusters": int(clusters),
            "seed": int(seed),
            "code": fingerprint("selectbench.stages.cluster_texts"),
        }

    def search_spec(self, dataset: str, proxy: str, method: str, seed: str) -> dict:
        """Specify the search of one agent for clusters, at all keep fractions."""
        return {
            **self._training_spec("proxy", dataset, proxy),
            **self._selection_spec(dataset, proxy, method, seed),
            "method_name": method,
            "title": self.config.methods[method]["title"],
            "keeps": sorted(self._keeps_of[dataset, proxy, method, int(seed)], key=Fraction),
            "state": f"{self.folder}/state/searches/{dataset}/{proxy}/{method}/seed-{seed}",
            "code": fingerprint("selectbench.stages.search_clusters", f"selectbench.llm.agents.{self.config.method_file(method)}"),
        }

    def validity_spec(self, dataset: str, proxy: str, target: str, seed: str) -> dict:
        """Specify the comparison of proxies with targets on random sets of clusters."""
        return {
            "proxy": self._training_spec("proxy", dataset, proxy),
            "target": self._training_spec("target", dataset, target),
            "dataset": dataset,
            **self._device_spec(),
            "threads": self.config.scale["resources"]["threads"],
            "seed": int(seed),
            "keep": VALIDITY_KEEP,
            "subsets": VALIDITY_SUBSETS,
            "state": f"{self.folder}/state/validity/{dataset}/{proxy}-to-{target}/seed-{seed}",
            "code": fingerprint("selectbench.stages.measure_validity"),
        }

    def states_spec(self, paper: str) -> dict:
        """Specify the map of the states that a paper's agents explored."""
        return {"paper": paper, "seed": derive_seed("states", paper), "code": fingerprint("selectbench.stages.map_states")}

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
            **self._training_spec("target", first.dataset, first.target, self.run_recipe(first)),
            "gpu": self.train_gpus(batch),
            "regime": first.regime,
            "runs": [self._describe_run(run) | self._describe_choice(run) for run in self.batches["train"][batch]],
            "folder": self.folder,
            "code": fingerprint(f"selectbench.stages.{'finetune' if self.config.is_text(first.dataset) else 'train'}_targets"),
        }

    def train_gpus(self, batch: str) -> int:
        """Return the GPUs that a batch of target trainings asks for: the scale's, for each process of its recipe."""
        recipe = self.config.recipes[self.run_recipe(self.batches["train"][batch][0])]
        return self.config.scale["resources"]["gpu"] * recipe.get("processes", 1)

    def evaluate_spec(self, batch: str) -> dict:
        """Specify a batch of evaluations: every checkpoint on the test sets that tables ask of it."""
        runs = self.batches["evaluate"][batch]
        return {
            **self._training_spec("target", runs[0].dataset, runs[0].target, self.run_recipe(runs[0])),
            "runs": [self._describe_run(run) | {"test_sets": self.run_test_sets(run)} for run in runs],
            "folder": self.folder,
            "code": fingerprint(f"selectbench.stages.evaluate_{'texts' if self.config.is_text(runs[0].dataset) else 'targets'}"),
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

    def subsets_spec(self, paper: str) -> dict:
        """Specify what a paper's subset browser shows: data set by data set, every method's files by seed, and how many samples."""
        runs = self.browsed_runs(paper)
        names = list(dict.fromkeys(run.dataset for run in runs))
        return {
            "paper": paper,
            "datasets": [
                {
                    "id": dataset,
                    "title": self.config.datasets[dataset]["title"],
                    "data": self.data(dataset),
                    "is_text": self.config.is_text(dataset),
                    "classes": self.config.datasets[dataset].get("class_names"),
                    "seed": derive_seed("browser", dataset),
                    "most": max(LEAST_BROWSED, MOST_BROWSED // len(names)),
                    "runs": [
                        {"method": run.method, "keep": run.keep, "seed": run.seed, "subset": self.subset(run), "scores": self.scores(run)}
                        for run in runs
                        if run.dataset == dataset
                    ],
                }
                for dataset in names
            ],
            "code": fingerprint("selectbench.stages.collect_subsets"),
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
            figures = [
                {"id": name, **{key: figure[key] for key in ("title", "caption", "table")}} for name, figure in entry["figures"].items()
            ]
            browsed = self._list_browsed(paper) if paper in self.browsing_papers() else None
            papers.append(
                {
                    **{"id": paper, "title": entry["title"], "citation": entry["citation"]},
                    **{"tables": list(entry["tables"]), "figures": figures, "browse": browsed},
                }
            )
        return {
            "title": "selectbench results",
            "scale": self.config.scale["title"],
            "scale_id": self.scale,
            "papers": papers,
            "code": fingerprint("selectbench.stages.build_page", files=PAGE_FILES),
        }

    def _list_browsed(self, paper: str) -> dict:
        """Return the titles of the methods, in the order of their table, and of the data sets whose subsets the page shows."""
        panels = self.tables[paper, self.config.papers[paper]["browse"]]["panels"]
        return {
            "methods": [[name, title] for name, title in {row["id"]: row["title"] for panel in panels for row in panel["rows"]}.items()],
            "datasets": {run.dataset: self.config.datasets[run.dataset]["title"] for run in self.browsed_runs(paper)},
        }

    def front_spec(self) -> dict:
        """Specify the front page: every paper and every scale that is listed, whichever of them this invocation makes."""
        others = {paper: title for paper, title in self.config.known_papers.items() if paper not in self.config.papers}
        papers = {paper: entry["title"] for paper, entry in self.config.papers.items()} | others
        figures = [
            {"paper": paper, "id": name, "title": figure["title"], "caption": figure["caption"]}
            for paper, entry in self.config.papers.items()
            for name, figure in entry["figures"].items()
        ]
        return {
            "title": "selectbench results",
            "results": self.config.main["results"],
            "scales": [{"id": scale, "title": title} for scale, title in self.config.listed.items()],
            "papers": [{"id": paper, "title": title} for paper, title in papers.items()],
            "figure": figures[0] if figures else None,
            "code": fingerprint("selectbench.stages.build_front_page", files=PAGE_FILES),
        }

    def _data_spec(self, dataset: str) -> dict:
        entry = self.config.datasets[dataset]
        shared = {"dataset": dataset, "num_classes": entry["classes"], "threads": self.config.scale["resources"]["threads"]}
        if self.config.is_text(dataset):
            return {**shared, "task": entry["task"], "class_names": entry.get("class_names")}
        return {**shared, "input_shape": entry["input_shape"]}

    def _device_spec(self) -> dict:
        """Return the GPUs of a job, which leases them where it runs."""
        return {"gpu": self.config.scale["resources"]["gpu"]}

    def _encoder_spec(self, dataset: str) -> dict:
        name = self.config.scale["encoders"][dataset]
        return {"encoder_name": name, "encoder": self.config.encoders[name]}

    def _training_spec(self, role: str, dataset: str, model: str, recipe: str = "") -> dict:
        recipe_name = recipe or self.recipe_name(role, dataset, model)
        recipe = self.config.recipes[recipe_name]
        return {
            **self._data_spec(dataset),
            **self._device_spec(),
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
