"""How much a job trains: sample visits by model, as the recipe and the keep fraction ask for them."""

from collections.abc import Mapping
from typing import NamedTuple

from selectbench.data.splits import SEVERITIES
from selectbench.planning.jobs import TARGET_RULES, Job, list_runs
from selectbench.planning.layout import Layout
from selectbench.planning.runs import Run
from selectbench.policy import parse_keep
from selectbench.records.records import EVALUATE
from selectbench.training.recording import list_passes

FORWARD_SHARE = 1 / 3  # of a visit: what a forward pass costs of a forward and backward pass


class Network(NamedTuple):
    """A model as it is built for the inputs of a data set."""

    model: str
    stem: str
    dataset: str


def count_visits(plan: Layout, job: Job) -> tuple[Network, float] | None:
    """Return the model that a job trains or runs and its sample visits, a forward pass alone being a third of one.

    Returns
    -------
    None for a job whose cost is not that of visits: scores, clusters, searches, artefacts.
    """
    if job.rule in TARGET_RULES:
        counted = [visit_run(plan, run, TARGET_RULES[job.rule]) for run in list_runs(plan, job)]
        return counted[0][0], sum(visits for _, visits in counted)
    if job.rule == "embed_samples":
        return visit_encoder(plan, job.key[0])
    if job.rule not in ("train_proxy", "measure_gradients", "train_selectors"):
        return None
    dataset, model, *rest = job.key
    recipe = plan.config.recipes[plan.recipe_name("selector" if job.rule == "train_selectors" else "proxy", dataset, model)]
    if job.rule == "train_proxy":
        passes = recipe["epochs"] + FORWARD_SHARE * len(list_passes(recipe["record_at"], recipe["epochs"]))
    elif job.rule == "train_selectors":
        passes = recipe["epochs"] * len({run.keep for run in plan.runs.values() if is_chosen_by(run, job)})
    elif rest[-1] == "gradient_norms":
        passes = len(recipe["record_at"])
    else:
        passes = len(recipe["align_at"]) * (1 + 2 * FORWARD_SHARE)
    return Network(model, recipe.get("stem", ""), dataset), passes * plan.config.datasets[dataset]["pool_size"]


def is_chosen_by(run: Run, job: Job) -> bool:
    """Tell whether a job that selects chooses the subset of a run."""
    return (run.dataset, run.proxy, run.method, str(run.seed)) == job.key


def visit_encoder(plan: Layout, dataset: str) -> tuple[Network, float] | None:
    """Return the model and the visits of an encoder that is trained on a pool of images; None for one that comes trained."""
    encoder = plan.config.encoders[plan.config.scale["encoders"][plan.config.base_of(dataset)]]
    if encoder["kind"] != "simclr":
        return None
    passes = 2 * encoder["epochs"] + FORWARD_SHARE  # two views of every sample
    return Network(encoder["model"], encoder["stem"], dataset), passes * plan.config.datasets[dataset]["pool_size"]


def visit_run(plan: Layout, run: Run, stage: str) -> tuple[Network, float]:
    """Return the model of a run and the visits of its training or evaluation."""
    dataset = plan.config.datasets[run.dataset]
    recipe = plan.config.recipes[plan.run_recipe(run)]
    network = Network(run.target, recipe.get("stem", ""), run.dataset)
    if stage == EVALUATE:
        return network, FORWARD_SHARE * sum(size_test_set(dataset, name) for name in plan.run_test_sets(run))
    share = 1.0 if run.regime == "equal_steps" else float(parse_keep(run.keep))
    tracked = FORWARD_SHARE * size_test_set(dataset, plan.id_test_set(run.dataset)) if recipe["track_test"] else 0.0
    return network, recipe["epochs"] * (share * dataset["pool_size"] + tracked)


def size_test_set(dataset: Mapping, name: str) -> int:
    """Return the number of samples of a test set; a corrupted one has those it is made of, by corruption and severity."""
    settings = dataset["test_sets"][name]
    if settings["kind"] == "corrupted":
        return len(settings["corruptions"]) * SEVERITIES * size_test_set(dataset, settings["of"])
    return settings["size"]
