"""The measurements of a paper's propositions, as outputs of other jobs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from selectbench.planning.config import as_list
from selectbench.planning.resolve import find_proxy
from selectbench.planning.stage import Output, Stage
from selectbench.stages.measure_theory import MeasureTheory
from selectbench.stages.measure_validity import MeasureValidity

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


def list_measurements(plan: "Plan", paper: str, tables: Mapping[str, Sequence[int]]) -> list[Output]:
    """List the measurements for tables of a paper: one per data set, proxy and seed, and for text data sets also per target.

    Parameters
    ----------
    tables : table → seeds
    """
    axes = plan.config.scale["axes"]
    jobs: list[Stage] = []
    for table, seeds in tables.items():
        where = plan.config.papers[paper]["tables"][table]["where"]
        places: list[tuple[str, str | None]] = []
        for dataset in filter(None, (axes["dataset"][name] for name in where["dataset"])):
            targets = filter(None, (axes["model"][name] for name in as_list(where["target"])))
            places += [(dataset, target) for target in targets] if plan.config.is_text(dataset) else [(dataset, None)]
        for seed in map(str, seeds):
            for dataset, target in places:
                proxy = find_proxy(plan.config, where["proxy"])
                jobs.append(MeasureTheory(dataset, proxy, seed) if target is None else MeasureValidity(dataset, proxy, target, seed))
    return [Output(job, "record") for job in dict.fromkeys(jobs)]
