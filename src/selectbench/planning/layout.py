"""The layout: the runs of papers at a scale, their batches, and which file holds what and is made of which others."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property

from selectbench.planning.config import Config, as_list
from selectbench.planning.resolve import resolve_claim, resolve_table
from selectbench.planning.runs import NO_PROXY, Run

BROWSED_SEEDS = 2  # whose subsets the results page shows sample by sample


class Layout:
    """The runs of an invocation and the files they become.

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
        """Return the file of the signals that one source records (see ``signals.SOURCES``); those of texts alone have no seed."""
        if source in ("statistics", "perplexities") or (source == "encoder" and self.config.is_text(dataset)):
            return f"{self.folder}/texts/{dataset}/{source}.npz"
        folder = {
            "proxy": f"proxies/{dataset}/{proxy}",
            "gradient_norms": f"gradients/{dataset}/{proxy}/gradient_norms",
            "alignments": f"gradients/{dataset}/{proxy}/alignments",
            "influences": f"gradients/{dataset}/influences",
            "encoder": f"encoders/{dataset}",
        }[source]
        return f"{self.folder}/{folder}/seed-{seed}.npz"

    def embeddings(self, dataset: str) -> str:
        """Return the embeddings and token counts of all splits of a data set of texts."""
        return f"{self.folder}/texts/{dataset}/encoder.splits.npz"

    def head_embeddings(self, dataset: str, *models: str) -> list[str]:
        """List the embeddings that language models read: one file if any of them is a head on frozen embeddings."""
        return [self.embeddings(dataset)] if any(self.config.models[model].get("kind") == "head" for model in models) else []

    def reads_matches(self, dataset: str) -> bool:
        """Tell whether a data set holds questions, and heads, of runs or for influences, read how their options match them."""
        runs = [run for run in self.runs.values() if run.dataset == dataset]
        models = {model for run in runs for model in (run.proxy, run.target) if model != NO_PROXY}
        sources = {source for run in runs for source in self.run_sources(run)}
        is_read = "influences" in sources or bool(self.head_embeddings(dataset, *models))
        return self.config.datasets[dataset]["task"] == "choice" and is_read

    def clusters(self, dataset: str, clustering: str, clusters: int | str, seed: int | str) -> str:
        """Return the clusters of a pool of texts."""
        return f"{self.folder}/clusters/{dataset}/{clustering}-{clusters}/seed-{seed}.npz"

    def batch_embeddings(self, stage: str, batch: str) -> list[str]:
        """List the embeddings that a batch of targets on texts reads (see ``head_embeddings``)."""
        first = self.batches[stage][batch][0]
        return self.head_embeddings(first.dataset, first.target)

    def validity_clusters(self, dataset: str, seed: int | str) -> str:
        """Return the clusters on whose sets proxies are held against targets: those that agents search by default."""
        from selectbench.llm.agents import ClusterAgent

        return self.clusters(dataset, ClusterAgent.clustering, ClusterAgent.clusters, seed)

    def searched_clusters(self, dataset: str, method: str, seed: int | str) -> str:
        """Return the clusters that an agent searches."""
        agent = self.config.make_agent(method)
        return self.clusters(dataset, agent.clustering, agent.clusters, seed)

    def score_inputs(self, dataset: str, proxy: str, method: str, seed: str) -> list[str]:
        """List what scoring reads beside the data: the signals of every source the method needs."""
        return [self.signals(source, dataset, proxy, seed) for source in self.config.find_method(method).sources()]

    def learned_methods(self) -> list[str]:
        """List the methods whose subsets an agent chooses beside a model, in a stage of their own."""
        other = ("planned", "dynamic", "search")
        static = [name for name, entry in self.config.methods.items() if not any(entry.get(kind) for kind in other)]
        return [name for name in static if self.config.find_method(name).learned]

    def search_methods(self) -> list[str]:
        """List the methods whose subsets an agent finds among clusters of texts."""
        return [name for name in self.config.methods if self.config.is_search(name)]

    def text_datasets(self) -> list[str]:
        """List all data sets of texts."""
        return [name for name in self.config.datasets if self.config.is_text(name)]

    def run_sources(self, run: Run) -> tuple[str, ...]:
        """Return who records the signals that a run's subset is made of; samplers, and agents beside a model, read none."""
        if self.config.is_search(run.method):
            return ("encoder",)
        method = self.config.find_method(run.method) if self.has_subset(run) else None
        return () if method is None or method.learned else method.sources()

    def has_subset(self, run: Run) -> bool:
        """Tell whether a run trains on a subset chosen before; dynamic methods choose while it trains."""
        return not self.config.is_dynamic(run.method)

    def subset(self, run: Run) -> str:
        """Return the file of the subsets that hold a run's."""
        return f"{self.folder}/subsets/{run.dataset}/{run.proxy}/{run.method}/seed-{run.seed}.npz"

    def scores(self, run: Run) -> str | None:
        """Return the file of the scores that a run's subset is taken from; None if an agent chose it, without any."""
        if self.config.is_search(run.method) or not self.has_subset(run) or self.config.find_method(run.method).learned:
            return None
        return f"{self.folder}/scores/{run.dataset}/{run.proxy}/{run.method}/seed-{run.seed}.npz"

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
        """List the subset files whose overlaps a paper's figures and its part of the results page show."""
        return _unique(self.subset(run) for run in self._compared_runs(paper))

    def _compared_runs(self, paper: str) -> list[Run]:
        entry = self.config.papers[paper]
        tables = {figure["table"] for figure in entry["figures"].values() if figure["kind"] == "overlap"}
        return self._list_subset_runs(paper, tables | ({entry["browse"]} if "browse" in entry else set()))

    def _list_subset_runs(self, paper: str, tables: Iterable[str]) -> list[Run]:
        """List the runs of tables that train on a subset, full data aside."""
        runs = sorted({run for table in tables for run in self.table_runs(paper, table)})
        return [self.runs[run] for run in runs if self.runs[run].method != "full" and self.has_subset(self.runs[run])]

    def browsing_papers(self) -> list[str]:
        """List the papers whose subsets the results page shows sample by sample."""
        return [paper for paper in self.config.papers if self.browsed_runs(paper)]

    def browsed_runs(self, paper: str) -> list[Run]:
        """List the runs whose subsets the results page shows, those of the first seeds."""
        seeds, entry = self.config.scale["seeds"][:BROWSED_SEEDS], self.config.papers[paper]
        return [run for run in self._list_subset_runs(paper, [entry["browse"]] if "browse" in entry else []) if run.seed in seeds]

    def browsed_files(self, paper: str) -> list[str]:
        """List the subsets and scores that a paper's browser is made of."""
        runs = self.browsed_runs(paper)
        return _unique([*map(self.subset, runs), *filter(None, map(self.scores, runs))])

    def browsed_data(self, paper: str) -> list[str]:
        """List the prepared data sets whose samples a paper's browser shows."""
        return _unique(self.data(run.dataset) for run in self.browsed_runs(paper))

    def browser(self, paper: str) -> str:
        """Return what a paper's subset browser shows: samples, who keeps which, and scores."""
        return f"{self.folder}/{paper}/subsets.json"

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
        """List one file a data set, proxy (of texts, and target) and seed of the tables."""
        axes, files = self.config.scale["axes"], []
        for where in (self.config.papers[paper]["tables"][table]["where"] for table in tables):
            seeds, proxy = self.config.scale["seeds"][: where.get("seeds")], axes["model"][where["proxy"]]
            for dataset in filter(None, (axes["dataset"][name] for name in where["dataset"])):
                targets = filter(None, (axes["model"][name] for name in as_list(where["target"])))
                text = self.config.is_text(dataset)
                places = [f"validity/{dataset}/{proxy}-to-{target}" for target in targets] if text else [f"theory/{dataset}/{proxy}"]
                files += [f"{self.folder}/{place}/seed-{seed}.json" for place in places for seed in seeds]
        return _unique(files)

    def searches(self, paper: str) -> list[str]:
        """List what agents explored, one file a data set, method and seed, for the map of a paper's figures."""
        entry = self.config.papers[paper]
        tables = {figure["table"] for figure in entry["figures"].values() if figure["kind"] == "states"}
        runs = sorted({run for table in tables for run in self.table_runs(paper, table)})
        return _unique(self.search(self.runs[run]) for run in runs if self.config.is_search(self.runs[run].method))

    def search(self, run: Run) -> str:
        """Return what the agent of a run explored."""
        return f"{self.folder}/searches/{run.dataset}/{run.proxy}/{run.method}/seed-{run.seed}.json"

    def states(self, paper: str) -> str:
        """Return the map of the states that a paper's agents explored."""
        return f"{self.folder}/{paper}/states.json"

    def figure_states(self, paper: str, figure: str) -> list[str]:
        """List the maps that a figure reads: one file for its kind, none for others."""
        return [self.states(paper)] if self.config.papers[paper]["figures"][figure]["kind"] == "states" else []

    def figure_clusters(self, paper: str, figure: str) -> list[str]:
        """List the records of the clusters that a figure reads: for its kind those that the agents of its table search."""
        entry = self.config.papers[paper]["figures"][figure]
        if entry["kind"] != "coherence":
            return []
        runs = [self.runs[run] for run in sorted(self.table_runs(paper, entry["table"]))]
        files = [self.searched_clusters(run.dataset, run.method, run.seed) for run in runs if self.config.is_search(run.method)]
        return _unique(sorted(name.removesuffix(".npz") + ".json" for name in files))

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

    def front_page(self) -> str:
        """Return the page of all scales."""
        return f"{self.config.main['results']}/index.html"

    def lead_drawing(self) -> list[str]:
        """List the one figure of the front page: the first paper's first, or none if it has none."""
        return [drawing for paper in self.config.papers for drawing in self.figure_drawings(paper)][:1]

    def artefacts(self) -> list[str]:
        """List every file people read; a scale that is only for trying leaves the page of all scales alone."""
        files = [self.page(), *([self.front_page()] if self.scale in self.config.listed else [])]
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
        """Return the recipe by which a model is usually trained in its role: a target may have one of its own."""
        recipes = self.config.scale["recipes"][self.config.base_of(dataset)]
        return recipes.get("target_of", {}).get(model, recipes["target"]) if role == "target" else recipes[role]

    def run_recipe(self, run: Run) -> str:
        """Return the recipe by which a run's target is trained: its paper's own, or the target's usual one."""
        return run.own_recipe or self.recipe_name("target", run.dataset, run.target)


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


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
