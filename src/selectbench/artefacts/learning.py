"""Whether an agent learnt: a learned method against its twin, which acts alike and never updates its policy."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from selectbench.artefacts.cells import CONFIDENCE
from selectbench.artefacts.decisions import Effect, find_level, find_p
from selectbench.artefacts.specs import LearnerSpec
from selectbench.records.rows import Records, Row, Trajectory

Outcome = Literal["learnt", "did not learn", "unknown"]
Quantity = Literal["regret", "merit", "proxy_loss"]
LEARNT: Outcome = "learnt"
DID_NOT_LEARN: Outcome = "did not learn"
UNKNOWN: Outcome = "unknown"
SIGNS: Mapping[Quantity, int] = {"regret": -1, "merit": 1, "proxy_loss": -1}  # −1: lower is better
Key = tuple[str | int, ...]


class Learning(NamedTuple):
    """What the records say about the learning of an agent on a data set.

    Parameters
    ----------
    outcome : ``"unknown"`` without a twin, or without a quantity that both have for two seeds at least
    quantity : by which the agent is compared with its twin
    own, twin : its means
    updates : mean number of the policy's updates; None in records that do not count them
    published : number of updates of the published code, if it is known
    """

    outcome: Outcome
    quantity: Quantity | None = None
    own: float | None = None
    twin: float | None = None
    updates: float | None = None
    published: int | None = None


def assess_learning(records: Records, learner: LearnerSpec, dataset: str) -> Learning:
    """Return whether an agent is better than its twin by its own reward, paired by seed and keep fraction.

    It learnt if the mean difference over keep fractions lies above 0 with a one-sided t-test over seeds at 2.5 %.

    Parameters
    ----------
    records : run id → record
    learner : the method and its twin
    dataset : of the runs
    """
    published = learner.get("published_updates")
    ours, theirs = (gather_trajectories(records, method, dataset) for method in (learner["method"], learner["twin"]))
    counts = [count for found in ours.values() if (count := read_last(found.get("updates"))) is not None]
    updates = float(np.mean(counts)) if counts else None
    for quantity in SIGNS:
        own, twin = (read_all(found, quantity) for found in (ours, theirs))
        shared = sorted(own.keys() & twin.keys(), key=str)
        by_seed: dict[str | int, list[float]] = {}
        for key in shared:
            by_seed.setdefault(key[-1], []).append(SIGNS[quantity] * (own[key] - twin[key]))
        if len(by_seed) < 2:
            continue
        differences = [float(np.mean(values)) for values in by_seed.values()]
        effect = Effect(float(np.mean(differences)), float(np.std(differences, ddof=1)), len(differences))
        outcome = LEARNT if find_p(effect) <= find_level(CONFIDENCE) else DID_NOT_LEARN
        mean, other = (float(np.mean([values[key] for key in shared])) for values in (own, twin))
        return Learning(outcome, quantity, mean, other, updates, published)
    return Learning(UNKNOWN, updates=updates, published=published)


def gather_trajectories(records: Records, method: str, dataset: str) -> dict[Key, Trajectory]:
    """Return what an agent is → its trajectory; the last part of a key is the seed.

    An agent that selects before training serves all targets; a sampler learns with its own target.
    """
    found: dict[Key, Trajectory] = {}
    for record in records.values():
        axes, selection = record["run"], record["selection"]
        if (axes["method"], axes["dataset"]) != (method, dataset) or not selection or "trajectory" not in selection:
            continue
        place = (axes["target"], axes["regime"]) if "sampler" in selection else (axes["proxy"],)
        found.setdefault((*place, axes["keep"], axes["seed"]), selection["trajectory"])
    return found


def read_all(trajectories: Mapping[Key, Trajectory], quantity: Quantity) -> dict[Key, float]:
    """Return the value of every trajectory that has one: merit at the last epoch with a value, others at the chosen epoch."""
    values = {
        key: read_last(found.get("merit")) if quantity == "merit" else read_chosen(found, found.get(quantity))
        for key, found in trajectories.items()
    }
    return {key: value for key, value in values.items() if value is not None}


def read_chosen(trajectory: Trajectory, column: Sequence[float | None] | None) -> float | None:
    """Return the value of a column at the epoch, or the proxy training, that gave the subset."""
    chosen = trajectory["chosen_epoch"]
    if chosen is None or column is None or chosen not in trajectory["epoch"]:
        return None
    return column[trajectory["epoch"].index(chosen)]


def read_last(column: Sequence[float | None] | None) -> float | None:
    """Return the last value of a column."""
    return next((value for value in reversed(column or ()) if value is not None), None)


def describe_learning(learning: Learning) -> str:
    """Return ``"agent did not learn (regret 0.98 against 0.96 of its twin; 406 of 39,200 updates)"``; empty for an unknown outcome.

    An agent that is better than its twin, but not beyond doubt, is "not shown to learn".
    """
    if learning.quantity is None or learning.own is None or learning.twin is None:
        return ""
    is_better = SIGNS[learning.quantity] * (learning.own - learning.twin) > 0
    word = "agent learnt" if learning.outcome == LEARNT else "agent not shown to learn" if is_better else "agent did not learn"
    compared = f"{learning.quantity.replace('_', ' ')} {learning.own:.2f} against {learning.twin:.2f} of its twin".replace("-", "−")
    if learning.updates is None:
        return f"{word} ({compared})"
    of = "" if learning.published is None else f" of {learning.published:,}"
    return f"{word} ({compared}; {learning.updates:,.0f}{of} updates)"


def find_idle(records: Records, learners: Sequence[LearnerSpec], datasets: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return (method, data set) → note, for agents that did not learn."""
    found = {
        (learner["method"], dataset): assess_learning(records, learner, dataset)
        for learner in learners
        for dataset in dict.fromkeys(datasets)
    }
    return {key: describe_learning(learning) for key, learning in found.items() if learning.outcome == DID_NOT_LEARN}


def find_dataset(records: Records, run: str) -> str:
    """Return the data set of a run, from its record or, without one, from its id."""
    record: Row | None = records.get(run)
    return record["run"]["dataset"] if record else run.partition("/")[0]
