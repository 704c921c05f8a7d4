"""Train one replicate of a proxy, resumably, and record what its kind of replicates is for."""

from pathlib import Path
from typing import TypedDict

import torch

from selectbench.stages._specs import ReplicateSpec
from selectbench.stages._states import load_state, save_state
from selectbench.stages._training import build_from_spec, warm_start_from_spec
from selectbench.stages.measure_gradients import read_clean
from selectbench.training.engine import Checkpoint
from selectbench.training.pools import Pool
from selectbench.training.recipes import Recipe
from selectbench.training.replicates import Cost, record_early, train_replicate


class Finished(TypedDict):
    """A finished replicate, as it is saved until all are.

    Parameters
    ----------
    key : identifies the job
    init : seed of its initial weights
    rows : signal → its row, see ``Signals``
    costs : of its parts
    """

    key: str
    init: int
    rows: dict[str, torch.Tensor]
    costs: list[Cost]


def finish_replicate(spec: ReplicateSpec, pool: Pool, index: int, key: str) -> Finished:
    """Return one replicate: trained and recorded now, or by an interrupted job with the same key."""
    state = Path(spec["state"]) / f"{index}-finished.pt"
    saved: Finished | None = load_state(state)  # type: ignore[assignment]  # of the shape that is saved below
    if saved and saved["key"] == key:
        return saved
    stream, recipe = ("replicate", spec["dataset"], spec["seed"], index), Recipe.from_config(spec["recipe"])
    model, seeds = build_from_spec(spec, recipe.stem, stream, pool.device)
    warm_start_from_spec(model, spec)
    checkpoint = Checkpoint(state.with_name(f"{index}.pt"), key)
    correct, cost = train_replicate(model, pool, recipe, spec["trained_epochs"], stream, checkpoint)
    rows, costs = {"correct": correct}, [cost]
    if spec["source"] == "early_replicates":
        rows, early_costs = record_early(model, pool, lambda: read_clean(pool))
        costs += early_costs
    finished = Finished(key=key, init=seeds["init"], rows=rows, costs=costs)
    save_state(state, dict(finished))
    checkpoint.remove()
    return finished
