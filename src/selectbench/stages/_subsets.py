"""Where a run's subset and the scores behind it come from, as outputs of other jobs."""

from typing import TYPE_CHECKING

from selectbench.planning.stage import Output
from selectbench.stages.read_subsets import ReadSubsets
from selectbench.stages.score_samples import ScoreSamples
from selectbench.stages.search_clusters import SearchClusters
from selectbench.stages.select_subsets import SelectSubsets
from selectbench.stages.train_selectors import TrainSelectors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run
    from selectbench.planning.stage import Stage


def find_subset(plan: "Plan", run: "Run") -> Output:
    """Return the file of subsets, for all keep fractions, from which a run takes its own."""
    key = (run.dataset, run.proxy, run.method, str(run.seed))
    chooser: type[Stage]
    if plan.config.is_given(run.method):
        chooser = ReadSubsets
    elif plan.config.is_search(run.method):
        chooser = SearchClusters
    elif plan.config.find_method(run.method).learned:
        chooser = TrainSelectors
    else:
        chooser = SelectSubsets
    return Output(chooser(*key), "subsets")


def find_scores(plan: "Plan", run: "Run") -> Output | None:
    """Return the scores that a run's subset is taken from; None if an agent or other code chooses it, or a sampler in every epoch."""
    config = plan.config
    if config.is_given(run.method) or config.is_search(run.method) or not plan.has_subset(run) or config.find_method(run.method).learned:
        return None
    return Output(ScoreSamples(run.dataset, run.proxy, run.method, str(run.seed)), "scores")


def list_subsets(plan: "Plan", runs: "Iterable[Run]") -> list[Output]:
    """List the files of subsets that these runs train on, each file once; runs without a subset are skipped."""
    return list(dict.fromkeys(find_subset(plan, run) for run in runs if plan.has_subset(run)))
