"""Train agents beside a target model, one a keep fraction, and write the subsets they choose."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from selectbench.errors import SelectionFailedError
from selectbench.methods import make_method
from selectbench.methods.rl_selector import RLSelector
from selectbench.policy import count_kept
from selectbench.records.files import digest_value, read_json, write_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import tabulate
from selectbench.rl.live import LiveEnvironment
from selectbench.rl.redundancy import measure_redundancy, scale_redundancy
from selectbench.rl.selector import Store, make_reward, run_agent, take_mask
from selectbench.seeds import derive_seed
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._training import build_from_spec, describe_start, open_prepared, warm_start_from_spec
from selectbench.stages.select_subsets import describe_subset
from selectbench.training.pools import Pool, choose_device, name_device
from selectbench.training.recipes import Recipe


def main() -> None:
    """Write the ids kept at every keep fraction, then their record with the trajectory and the cost of each."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("subsets", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device = choose_device()
    pool, method = open_prepared(data, "pool", device), make_method(spec["method"], spec["parameters"])
    start = describe_start(spec)
    key = digest_value({"spec": spec, "data": read_json(data)["splits"]["pool"], "start": start and start["sha256"]})
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        state = Path(spec["state"]) / f"keep-{keep}.pt"
        ids, described[keep] = load_finished(state, key) or select_subset(spec, method, pool, keep, state, key)
        if described[keep]["failure"] is None:
            subsets[keep] = np.array(ids)
        print(f"{spec['method_name']}, keep {keep}: {described[keep]['failure'] or 'chosen'}, {described[keep]['cost']['wall_s']:.1f} s")
    write_arrays(arguments.subsets, subsets)
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "num_pool": len(pool),
            "recipe": spec["recipe"],
            "warm_start": start,
            "context": {"mode": "train", "images": "augmented", "checkpoint": "every epoch"},
            "subsets": described,
            "provenance": describe_provenance(spec["code"], name_device(device), started),
        },
    )
    shutil.rmtree(spec["state"], ignore_errors=True)


def select_subset(spec: dict, method: RLSelector, pool: Pool, keep: str, state: Path, key: str) -> tuple[list[int], dict]:
    """Train one agent and return the ids it keeps and their description; a policy that misses its band is described as failed."""
    labels, num_kept = pool.labels.cpu().numpy(), count_kept(keep, len(pool))
    environment = train_agent(spec, method, pool, keep, lambda phase: make_store(state.with_suffix(f".{phase}.pt"), key))
    trajectory = {"trajectory": tabulate(environment.trajectory, environment.chosen_epoch)}
    try:
        ids = take_mask(method, environment, num_kept, labels, np.arange(len(pool)), spec["selection_seed"])
        described = describe_subset(ids, labels[ids], spec["num_classes"])
    except SelectionFailedError as error:
        ids = np.array([], dtype=np.int64)
        described = {"failure": str(error), "num_kept": 0, "sha256": None, "class_counts": None}
    paid = {"wall_s": environment.wall_s, "sample_visits": environment.sample_visits, "peak_memory_mb": read_peak_memory_mb()}
    cost = {"proxy_share": 0.0, "sources": {"agent": paid}, "score_s": 0.0, "select_s": 0.0, **paid, **trajectory}
    finished = ids.tolist(), described | {"cost": cost}
    save_state(state, {"key": key, "finished": finished})
    return finished


def train_agent(spec: dict, method: RLSelector, pool: Pool, keep: str, store_of: Callable[[str], Store]) -> LiveEnvironment:
    """Return the environment after an agent's last epoch, fine-tuned from another keep fraction if the method says so."""
    recipe, stream = Recipe.from_config(spec["recipe"]), ("selector", spec["dataset"], spec["seed"])
    labels, seed = pool.labels.cpu().numpy(), spec["selection_seed"]
    model, _ = build_from_spec(spec, recipe.stem, stream, pool.device)
    warm_start_from_spec(model, spec)
    environment = LiveEnvironment(
        model,
        pool,
        recipe,
        lambda features: scale_redundancy(measure_redundancy(method.metric, features, labels), method.scale),
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
    """Return a store in one file, bound to a key, that is written at most every ``every_s`` seconds and when an agent has finished."""
    last = time.perf_counter()

    def load() -> dict | None:
        saved = load_state(path)
        return saved if saved and saved["key"] == key else None

    def save(content: dict) -> None:
        nonlocal last
        finished = content["environment"]["epoch"] == content["environment"]["epochs"]
        if finished or time.perf_counter() - last > every_s:
            save_state(path, {"key": key, **content})
            last = time.perf_counter()

    return Store(load, save)


def load_finished(state: Path, key: str) -> tuple[list[int], dict] | None:
    """Return what ``select_subset`` returned in an interrupted job of the same key."""
    saved = load_state(state)
    return tuple(saved["finished"]) if saved and saved["key"] == key else None


def load_state(state: Path) -> dict | None:
    """Return a saved state; a half-written or foreign file only costs the work it held."""
    if not state.exists():
        return None
    try:
        return torch.load(state, map_location="cpu", weights_only=True)
    except Exception:
        return None


def save_state(state: Path, content: dict) -> None:
    """Write a state atomically."""
    state.parent.mkdir(parents=True, exist_ok=True)
    temporary = state.with_suffix(".part")
    torch.save(content, temporary)
    temporary.replace(state)


if __name__ == "__main__":
    run_stage(main)
