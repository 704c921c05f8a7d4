"""The jobs of a plan: what runs, on which processors, and which files of which others it waits for."""

from collections.abc import Iterator
from dataclasses import dataclass

from selectbench.planning.layout import Layout
from selectbench.planning.runs import NO_PROXY, Run

GPU_RULES = frozenset(
    {
        *("train_proxy", "measure_gradients", "embed_samples", "measure_theory", "train_selectors", "train_targets", "evaluate_targets"),
        *("embed_texts", "measure_texts", "search_clusters", "measure_validity", "finetune_targets", "evaluate_texts"),
    }
)
THREADED_RULES = GPU_RULES | {"score_samples", "measure_influences", "cluster_texts"}
TARGET_RULES = {"train_targets": "train", "finetune_targets": "train", "evaluate_targets": "evaluate", "evaluate_texts": "evaluate"}


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Parameters
    ----------
    rule : its rule, which is its stage too
    key : what it is about, as its rule's wildcards name it: data set, proxy, method, seed, batch, …
    outputs : its files; the first names the job
    inputs : files of other jobs that it reads
    gpus : GPUs that it asks for
    threads : processors that it asks for
    """

    rule: str
    key: tuple[str, ...]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    gpus: int
    threads: int


def list_jobs(plan: Layout) -> dict[str, Job]:
    """Return first output → job, for every job of a plan."""
    resources = plan.config.scale["resources"]
    jobs: dict[str, Job] = {}
    for rule, key, outputs, inputs in _describe_jobs(plan):
        gpus = resources["gpu"] if rule in GPU_RULES else 0
        if TARGET_RULES.get(rule) == "train":
            gpus = plan.train_gpus(key[0])
        threads = resources["threads"] if rule in THREADED_RULES else 1
        jobs.setdefault(outputs[0], Job(rule, key, tuple(outputs), tuple(inputs), gpus, threads))
    return jobs


def find_needs(jobs: dict[str, Job]) -> dict[str, list[str]]:
    """Return job → the jobs whose files it reads, all by their first outputs."""
    maker = {output: name for name, job in jobs.items() for output in job.outputs}
    return {name: list(dict.fromkeys(maker[file] for file in job.inputs)) for name, job in jobs.items()}


def list_runs(plan: Layout, job: Job) -> list[Run]:
    """Return the runs that a job trains or evaluates; none for other jobs."""
    return plan.batches[TARGET_RULES[job.rule]][job.key[0]] if job.rule in TARGET_RULES else []


Description = tuple[str, tuple[str, ...], list[str], list[str]]  # rule, key, outputs, inputs


def _describe_jobs(plan: Layout) -> Iterator[Description]:
    for dataset in plan.datasets():
        yield "prepare_data", (dataset,), [plan.data(dataset)], []
    yield from _describe_selections(plan)
    yield from _describe_targets(plan)
    for paper in plan.config.papers:
        yield from _describe_artefacts(plan, paper)
    verdicts = [plan.verdict(paper) for paper in plan.config.papers]
    cells = [name for paper in plan.config.papers for name in plan.table_cells(paper)]
    drawings = [name for paper in plan.config.papers for name in plan.figure_drawings(paper)]
    records = [plan.records(paper) for paper in plan.config.papers]
    browsed = [name(paper) for paper in plan.browsing_papers() for name in (plan.browser, plan.overlaps)]
    yield "build_page", (), [plan.page()], [*verdicts, *cells, *drawings, *records, *browsed]
    if plan.front_page() in plan.artefacts():
        yield "build_front_page", (), [plan.front_page()], [*verdicts, *plan.lead_drawing()]


def _describe_selections(plan: Layout) -> Iterator[Description]:
    chosen = {(run.dataset, run.proxy, run.method, run.seed): run for run in plan.runs.values() if plan.has_subset(run)}
    learned = set(plan.learned_methods())
    for (dataset, proxy, method, seed), run in chosen.items():
        key, data = (dataset, proxy, method, str(seed)), plan.data(dataset)
        if plan.config.is_search(method):
            encoder, clusters = plan.signals("encoder", dataset, proxy, seed), plan.searched_clusters(dataset, method, seed)
            yield from _describe_signals(plan, "encoder", dataset, proxy, seed)
            yield _describe_clusters(plan, dataset, clusters, seed)
            inputs = [data, encoder, *plan.head_embeddings(dataset, proxy), clusters]
            yield "search_clusters", key, [*with_record(plan.subset(run)), plan.search(run)], inputs
        elif method in learned:
            yield "train_selectors", key, with_record(plan.subset(run)), [data]
        else:
            scores = plan.scores(run)
            for source in plan.config.find_method(method).sources():
                yield from _describe_signals(plan, source, dataset, proxy, seed)
            yield "score_samples", key, with_record(scores), [data, *plan.score_inputs(dataset, proxy, method, str(seed))]
            yield "select_subsets", key, with_record(plan.subset(run)), [scores]


def _describe_signals(plan: Layout, source: str, dataset: str, proxy: str, seed: int | str) -> Iterator[Description]:
    """Describe the job that records a source's signals, after those that it reads from."""
    file, data, is_text = plan.signals(source, dataset, proxy, seed), plan.data(dataset), plan.config.is_text(dataset)
    if source == "encoder":
        outputs = [*with_record(file), plan.embeddings(dataset)] if is_text else with_record(file)
        yield ("embed_texts", (dataset,), outputs, [data]) if is_text else ("embed_samples", (dataset, str(seed)), outputs, [data])
    elif source in ("statistics", "perplexities"):
        yield "measure_texts", (dataset, source), with_record(file), [data]
    elif source == "influences":
        yield from _describe_signals(plan, "encoder", dataset, proxy, seed)
        yield "measure_influences", (dataset, str(seed)), with_record(file), [plan.embeddings(dataset), data]
    else:
        weights, recorded = plan.weights(dataset, proxy, seed), plan.signals("proxy", dataset, proxy, seed)
        yield "train_proxy", (dataset, proxy, str(seed)), [*with_record(recorded), weights], [data]
        if source != "proxy":
            yield "measure_gradients", (dataset, proxy, str(seed), source), with_record(file), [data, weights]


def _describe_clusters(plan: Layout, dataset: str, clusters: str, seed: int | str) -> Description:
    kind, _, count = clusters.split("/")[-2].rpartition("-")
    return "cluster_texts", (dataset, kind, count, str(seed)), with_record(clusters), [plan.signals("encoder", dataset, NO_PROXY, seed)]


def with_record(file: str) -> list[str]:
    """Return a file of arrays and the record beside it."""
    return [file, file.removesuffix(".npz") + ".json"]


def _describe_targets(plan: Layout) -> Iterator[Description]:
    for rule, stage in TARGET_RULES.items():
        for batch, runs in plan.batches[stage].items():
            dataset = runs[0].dataset
            if (rule in ("finetune_targets", "evaluate_texts")) != plan.config.is_text(dataset):
                continue
            embeddings = plan.batch_embeddings(stage, batch) if plan.config.is_text(dataset) else []
            for _ in embeddings:
                yield from _describe_signals(plan, "encoder", dataset, NO_PROXY, 0)
            read = plan.subset_inputs(batch) if stage == "train" else plan.train_inputs(batch)
            yield rule, (batch,), [f"{plan.folder}/batches/{stage}/{batch}.json"], [plan.data(dataset), *embeddings, *read]


def _describe_measurement(plan: Layout, file: str) -> Iterator[Description]:
    """Describe the job of a measured proposition, by the name of its file, and those that it reads from."""
    kind, dataset, models, name = file.removeprefix(f"{plan.folder}/").split("/")
    seed = name.removeprefix("seed-").removesuffix(".json")
    if kind == "theory":
        yield from _describe_signals(plan, "proxy", dataset, models, seed)
        inputs = [plan.data(dataset), plan.signals("proxy", dataset, models, seed), plan.weights(dataset, models, seed)]
        yield "measure_theory", (dataset, models, seed), [file], inputs
        return
    proxy, target = models.split("-to-")
    clusters = plan.validity_clusters(dataset, seed)
    yield from _describe_signals(plan, "encoder", dataset, proxy, seed)
    yield _describe_clusters(plan, dataset, clusters, seed)
    inputs = [plan.data(dataset), *plan.head_embeddings(dataset, proxy, target), clusters]
    yield "measure_validity", (dataset, proxy, target, seed), [file], inputs


def _describe_artefacts(plan: Layout, paper: str) -> Iterator[Description]:
    entry, records = plan.config.papers[paper], plan.records(paper)
    yield "collect_records", (paper,), [records], plan.record_inputs(paper)
    cells = plan.table_cells(paper)
    for table, name in zip(entry["tables"], cells, strict=True):
        others = [name.removesuffix("cells.json") + form for form in ("csv", "md", "tex")]
        yield "make_table", (paper, table), [name, *others], [records]
    for figure, drawing in zip(entry["figures"], plan.figure_drawings(paper), strict=True):
        overlaps, states = plan.figure_overlaps(paper, figure), plan.figure_states(paper, figure)
        measurements, clusters = plan.figure_measurements(paper, figure), plan.figure_clusters(paper, figure)
        for name in overlaps:
            yield "compare_subsets", (paper,), [name], plan.compared_subsets(paper)
        for name in states:
            yield "map_states", (paper,), [name], plan.searches(paper)
        for name in measurements:
            yield from _describe_measurement(plan, name)
        others = [drawing.removesuffix("svg") + form for form in ("pdf", "png")]
        yield "draw_figure", (paper, figure), [drawing, *others], [records, *overlaps, *measurements, *states, *clusters]
    if paper in plan.browsing_papers():
        yield "compare_subsets", (paper,), [plan.overlaps(paper)], plan.compared_subsets(paper)
        yield "collect_subsets", (paper,), [plan.browser(paper)], [*plan.browsed_data(paper), *plan.browsed_files(paper)]
    measurements = plan.measurements(paper)
    for name in measurements:
        yield from _describe_measurement(plan, name)
    verdict = plan.verdict(paper)
    yield "judge_claims", (paper,), [verdict, verdict.removesuffix("json") + "md"], [records, *cells, *measurements]
