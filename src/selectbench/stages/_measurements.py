"""The measurements of a paper's propositions, as outputs of other jobs."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from selectbench.planning.config import as_list
from selectbench.planning.resolve import find_proxy
from selectbench.planning.stage import Output, Stage
from selectbench.stages.measure_searches import PROPOSITIONS as OF_SEARCHES
from selectbench.stages.measure_searches import MeasureSearches
from selectbench.stages.measure_theory import MeasureTheory
from selectbench.stages.measure_validity import MeasureValidity

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


def list_measurements(plan: "Plan", paper: str, wanted: Mapping[tuple[str, str], Sequence[int]]) -> list[Output]:
    """List the measurements of propositions on tables of a paper: one per data set, proxy and seed, of a proxy's validity also per target.

    Parameters
    ----------
    wanted : (table, proposition) → seeds
    """
    axes = plan.config.scale["axes"]
    jobs: list[Stage] = []
    for (table, proposition), seeds in wanted.items():
        where = plan.config.papers[paper]["tables"][table]["where"]
        datasets = [dataset for name in where["dataset"] if (dataset := axes["dataset"][name])]
        targets = [target for name in as_list(where["target"]) if (target := axes["model"][name])]
        for seed, dataset, target in product(map(str, seeds), datasets, targets):
            proxy = find_proxy(plan.config, where["proxy"])
            if not plan.config.is_text(dataset):
                jobs.append(MeasureTheory(dataset, proxy, seed))
            elif proposition in OF_SEARCHES:
                jobs.append(MeasureSearches(dataset, proxy, seed))
            else:
                jobs.append(MeasureValidity(dataset, proxy, target, seed))
    return [Output(job, "record") for job in dict.fromkeys(jobs)]
