"""Train an agent alongside a target model, resumably, and describe the subset that it chooses."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from selectbench.errors import SelectionFailedError
from selectbench.methods.rl_selector import RLSelector
from selectbench.policy import count_kept
from selectbench.records.provenance import read_peak_memory_mb
from selectbench.records.records import tabulate
from selectbench.rl.live import LiveEnvironment
from selectbench.rl.redundancy import measure_redundancy, scale_redundancy
from selectbench.rl.selector import RunState, Store, make_reward, run_agent, take_mask
from selectbench.seeds import derive_seed
from selectbench.stages._specs import SelectorSpec
from selectbench.stages._states import load_state, save_state
from selectbench.stages._training import build_from_spec, warm_start_from_spec
from selectbench.stages.select_subsets import describe_subset
from selectbench.training.pools import Pool
from selectbench.training.recipes import Recipe


def select_subset(spec: SelectorSpec, method: RLSelector, pool: Pool, keep: str, state: Path, key: str) -> tuple[list[int], dict[str, Any]]:
    """Train one agent and return the ids it keeps and their description; a mask out of tolerance may fail."""
    labels, num_kept = pool.labels.cpu().numpy(), count_kept(keep, len(pool))
    environment = train_agent(spec, method, pool, keep, lambda phase: make_store(state.with_suffix(f".{phase}.pt"), key))
    chosen_epoch = environment.chosen_epoch
    try:
        ids = take_mask(method, environment, num_kept, labels, np.arange(len(pool)), spec["selection_seed"])
        described = describe_subset(ids, labels[ids], spec["num_classes"])
    except SelectionFailedError as error:
        ids, chosen_epoch = np.array([], dtype=np.int64), None
        described = {"failure": str(error), "num_kept": 0, "sha256": None, "class_counts": None}
    paid = {"wall_s": environment.wall_s, "sample_visits": environment.sample_visits, "peak_memory_mb": read_peak_memory_mb()}
    learnt = {"trajectory": tabulate(environment.trajectory, chosen_epoch), "distance": round(environment.distance, 6)}
    cost = {"proxy_share": 0.0, "sources": {"agent": paid}, "score_s": 0.0, "select_s": 0.0, **paid, **learnt}
    finished = ids.tolist(), described | {"cost": cost}
    save_state(state, {"key": key, "finished": finished})
    return finished


def train_agent(spec: SelectorSpec, method: RLSelector, pool: Pool, keep: str, store_of: Callable[[str], Store]) -> LiveEnvironment:
    """Train an agent, first for another keep fraction if the method says so, and return its environment after the last epoch."""
    recipe, stream = Recipe.from_config(spec["recipe"]), ("selector", spec["dataset"], spec["seed"])
    labels, seed = pool.labels.cpu().numpy(), spec["selection_seed"]
    model, _ = build_from_spec(spec, recipe.stem, stream, pool.device)
    warm_start_from_spec(model, spec)
    environment = LiveEnvironment(
        model,
        pool,
        recipe,
        lambda features: scale_redundancy(measure_redundancy(method.metric, features, labels), method.scale, labels),
        make_reward(method, method.start or float(keep)),
        tolerance=method.tolerance,
        stream=stream,
    )
    environment.warm_up()
    agent = run_agent(method, environment, derive_seed(seed, method.start or keep), store=store_of("first"))
    if method.start:
        environment.extend(method.transfer_epochs, make_reward(method, float(keep)))
        run_agent(method, environment, derive_seed(seed, keep), start=agent, store=store_of("transfer"))
    return environment


def make_store(path: Path, key: str, every_s: float = 300.0) -> Store:
    """Return a store of one file that ignores states with another key; it writes at most every ``every_s`` seconds, and at the end."""
    last = time.perf_counter()

    def load() -> RunState | None:
        saved = load_state(path)
        return cast(RunState, saved) if saved and saved["key"] == key else None

    def save(content: RunState) -> None:
        nonlocal last
        finished = content["environment"]["epoch"] == content["environment"]["epochs"]
        if finished or time.perf_counter() - last > every_s:
            save_state(path, {"key": key, **content})
            last = time.perf_counter()

    return Store(load, save)


def load_finished(state: Path, key: str) -> tuple[list[int], dict[str, Any]] | None:
    """Return what ``select_subset`` returned in an interrupted job with the same key; None if it did not get that far."""
    saved = load_state(state)
    if not saved or saved["key"] != key:
        return None
    ids, described = saved["finished"]
    return ids, described
