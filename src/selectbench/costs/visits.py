"""How much a job trains: sample visits by model, as the recipe and the keep fraction ask for them."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from selectbench.planning.stage import Network, Visits
from selectbench.policy import parse_keep
from selectbench.records.records import EVALUATE

if TYPE_CHECKING:
    from selectbench.data.entries import Entry
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run

FORWARD_SHARE = 1 / 3  # of a visit: what a forward pass costs of a forward and backward pass


def visit_run(plan: "Plan", run: "Run", stage: str) -> Visits:
    """Return the model of a run and the visits of its training or evaluation.

    Parameters
    ----------
    stage : ``train`` or ``evaluate``
    """
    dataset = plan.config.datasets[run.dataset]
    recipe = plan.config.recipes[plan.run_recipe(run)]
    network = Network(run.target, recipe.get("stem", ""), run.dataset)
    if stage == EVALUATE:
        return Visits(network, FORWARD_SHARE * sum(size_test_set(dataset, name) for name in plan.run_test_sets(run)))
    visits, epochs = count_trained(plan, run, dataset["pool_size"], recipe["epochs"])
    tracked = FORWARD_SHARE * size_test_set(dataset, plan.id_test_set(run.dataset)) if recipe["track_test"] else 0.0
    return Visits(network, visits + epochs * tracked)


def count_trained(plan: "Plan", run: "Run", num_pool: int, epochs: int) -> tuple[float, int]:
    """Return the sample visits of a run's training and its number of epochs, as its recipe or its dynamic sampler plans them.

    Parameters
    ----------
    num_pool : samples of the pool
    epochs : of the recipe
    """
    if plan.config.is_dynamic(run.method):
        parameters = plan.config.methods[run.method].get("parameters", {})
        return count_sampled(plan.config.method_file(run.method), num_pool, run.keep, epochs, tuple(parameters.items()))
    share = 1.0 if run.regime == "equal_steps" else float(parse_keep(run.keep))
    return epochs * share * num_pool, epochs


@cache
def count_sampled(sampler: str, num_pool: int, keep: str, epochs: int, parameters: tuple[tuple[str, Any], ...]) -> tuple[float, int]:
    """Return the sample visits and the number of epochs that a dynamic sampler plans.

    Parameters
    ----------
    sampler : its file
    num_pool, keep, epochs : samples of the pool, keep fraction, epochs of the recipe
    parameters : name and value of each parameter of the sampler
    """
    from selectbench.dynamic import draft

    made = draft(sampler, num_samples=num_pool, keep=keep, epochs=epochs, **dict(parameters))
    return made.planned_visits, made.num_epochs


def size_test_set(dataset: "Entry", name: str) -> int:
    """Return the number of samples of a test set; a corrupted one has those it is made of, by corruption and severity.

    Parameters
    ----------
    dataset : entry of the configuration
    name : of the test set
    """
    from selectbench.data.splits import SEVERITIES

    settings = dataset["test_sets"][name]
    if settings["kind"] == "corrupted":
        return len(settings["corruptions"]) * SEVERITIES * size_test_set(dataset, settings["of"])
    return settings["size"]


def sum_seconds(record: Mapping[str, Any]) -> float:
    """Return the seconds of the costs that the record of a job lists."""
    return float(sum(cost["wall_s"] for cost in record["costs"]))
