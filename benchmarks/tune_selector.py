"""How well RL-Selector's agent learns with which settings, by its own regret on the digits pool; accuracy is never looked at.

Regret is 1 for a random subset and 0 for the optimum of the redundancy reward. On frozen features (of a model after its last epoch) it
is that of the mask after the last epoch; beside a model in training, that of the epoch the method chooses. Both make as many passes as
the agents at scale tiny. As a bound for what the network can represent, it is also fitted to the redundancies by regression.
"""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic import make_command
from benchmarks.tables import format_markdown
from selectbench.methods.rl_selector import RLSelector
from selectbench.planning.plan import load_plan
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.rl.environment import SelectionEnvironment, TrajectoryRow
from selectbench.rl.networks import ActorCritic
from selectbench.rl.redundancy import measure_redundancy, scale_redundancy
from selectbench.rl.selector import NO_STORE, make_reward, run_agent
from selectbench.seeds import isolated_torch_rng
from selectbench.stages._selectors import train_agent
from selectbench.stages._specs import SelectorSpec
from selectbench.stages._training import open_prepared
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.train_selectors import TrainSelectors
from selectbench.training.pools import Pool

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
KEEPS, SEEDS = ("0.2", "0.6"), (0, 1, 2, 3)
REGRESSION = "the network fitted to E by regression"
COLUMNS = ("setting", "features", "keep", "seed", "regret", "kept_fraction", "updates", "cpu_s")

Line = dict[str, Any]  # one measurement: the columns of the CSV file


@dataclass(frozen=True)
class Setting:
    """Parameters of the method that are compared, and whether also beside a model in training."""

    name: str
    method: RLSelector
    live: bool = False


def list_settings(published: Mapping[str, Any]) -> list[Setting]:
    """Return the published settings, the steps from there to the tuned agent, and what lies around it."""
    tuned = RLSelector()
    earlier = RLSelector(**{**published, "reward": "per_sample", "scale": "standard", "delta": 0.8, "learning_rate": 0.003}, normalise=True)
    means = replace(earlier, noise=False)
    price = replace(means, alignment="price", normalise=False)
    return [
        Setting("as published", RLSelector(**published), live=True),
        Setting("as published, mean distances", RLSelector(**{**published, "scale": "none"}), live=True),
        Setting(
            "as published, per sample, mean distances", RLSelector(**{**published, "reward": "per_sample", "scale": "none"}), live=True
        ),
        Setting("per sample, standardised E and advantages, Δ 0.8, learning rate 0.003", earlier, live=True),
        Setting("… and means in the mask", means),
        Setting("… and a price instead of r1, no standardised advantages", price),
        Setting("… and entropy 0.1", replace(price, entropy=0.1)),
        Setting("… and 16 draws", replace(price, entropy=0.1, draws=16)),
        Setting("tuned: … and 2 updates per batch, learning rate 0.006", tuned, live=True),
        Setting("tuned, learning rate 0.003", replace(tuned, learning_rate=0.003)),
        Setting("tuned, learning rate 0.012", replace(tuned, learning_rate=0.012)),
        Setting("tuned, entropy 0", replace(tuned, entropy=0.0)),
        Setting("tuned, entropy 0.05", replace(tuned, entropy=0.05)),
        Setting("tuned, entropy 0.2", replace(tuned, entropy=0.2), live=True),
        Setting("tuned, 4 updates per batch", replace(tuned, updates=4), live=True),
        Setting("tuned, r1 instead of a price", replace(tuned, alignment="gap"), live=True),
        Setting("tuned, sampled actions in the mask", replace(tuned, noise=True), live=True),
        Setting("scalar reward, tuned otherwise", replace(tuned, reward="scalar", entropy=0.0)),
        Setting("scalar reward, 32 draws compared with each other, standardised", make_scalar(tuned), live=True),
        Setting("never learning", replace(tuned, learns=False), live=True),
    ]


def make_scalar(tuned: RLSelector) -> RLSelector:
    """Return the settings with which one reward for all samples teaches most."""
    return replace(tuned, reward="scalar", baseline="draws", normalise=True, draws=32)


def main() -> None:
    """Measure every setting, print the table and write it; ``--short`` measures one of them and writes nothing."""
    short, started = "--short" in sys.argv[1:], datetime.now(UTC)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lines = list(measure_all(Path(folder), short))
    provenance = describe_provenance("", CPU, started)
    page = write_markdown(lines, f"{provenance['processor']}, Python {provenance['python']}, torch {provenance['versions']['torch']}")
    print(page)
    if short:
        return
    (FOLDER / "tune_selector.md").write_text(page, encoding="utf-8")
    with open(FOLDER / "tune_selector.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def measure_all(folder: Path, short: bool) -> Iterator[Line]:
    """Yield a line for every setting, kind of features, keep fraction and seed."""
    plan = load_plan(ROOT, {"scale": "tiny", "results": f"{folder}/results", "resources": f"{folder}/resources"})
    name, arguments = make_command(plan, PrepareData("digits"))
    subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    pool = open_prepared(Path(PrepareData("digits").find_output(plan, "manifest")), "pool", torch.device("cpu"))
    settings = list_settings(plan.config.methods["rl_selector"].get("parameters", {}))[: 1 if short else None]
    for seed in SEEDS[: 1 if short else None]:
        spec = TrainSelectors("digits", "convnet", "rl_selector", str(seed)).specify(plan)
        features = train_features(spec, pool)
        for keep in KEEPS[: 1 if short else None]:
            found = [(REGRESSION, "frozen", fit_regression(spec, features, pool, keep))]
            for setting in settings:
                found.append((setting.name, "frozen", measure_frozen(setting.method, spec, features, pool, keep)))
                if setting.live:
                    found.append((setting.name, "live", measure_live(setting.method, spec, pool, keep)))
            yield from ({"setting": name, "features": kind, "keep": keep, "seed": seed} | line for name, kind, line in found)


def train_features(spec: SelectorSpec, pool: Pool) -> torch.Tensor:
    """Return the features (N, d) of a model trained with the agents' recipe, all samples weighing the same."""
    untouched = replace(RLSelector(), learns=False, terms="redundancy")
    environment = train_agent(spec, untouched, pool, "1", lambda phase: NO_STORE)
    return environment.table


def frozen_environment(method: RLSelector, spec: SelectorSpec, features: torch.Tensor, pool: Pool, keep: str) -> SelectionEnvironment:
    """Return an environment on frozen features with as many passes as an agent makes beside a model."""
    labels = pool.labels.cpu().numpy()
    cover = scale_redundancy(measure_redundancy(method.metric, features, labels), method.scale, labels)
    return SelectionEnvironment(
        features,
        lambda table: cover,
        make_reward(method, float(keep)),
        batch_size=spec["recipe"]["batch_size"],
        epochs=spec["recipe"]["epochs"] - 1,
        tolerance=method.tolerance,
        stream=("tune", spec["seed"]),
    )


def measure_frozen(method: RLSelector, spec: SelectorSpec, features: torch.Tensor, pool: Pool, keep: str) -> Line:
    """Return the regret of an agent's last mask on frozen features."""
    before = time.process_time()
    environment = frozen_environment(method, spec, features, pool, keep)
    run_agent(method, environment, spec["selection_seed"])
    return describe_row(environment.trajectory[-1], environment.trajectory[-1]["updates"], before)


def measure_live(method: RLSelector, spec: SelectorSpec, pool: Pool, keep: str) -> Line:
    """Return the regret of the mask that an agent chooses beside a model in training."""
    before = time.process_time()
    environment = train_agent(spec, method, pool, keep, lambda phase: NO_STORE)
    chosen = environment.trajectory[(environment.chosen_epoch or 1) - 1]
    return describe_row(chosen, environment.trajectory[-1]["updates"], before)


def fit_regression(spec: SelectorSpec, features: torch.Tensor, pool: Pool, keep: str) -> Line:
    """Return the regret of the actor's network after it was fitted to the redundancies, in as many updates as the tuned agent makes."""
    before, method = time.process_time(), RLSelector()
    environment = frozen_environment(method, spec, features, pool, keep)
    with isolated_torch_rng(spec["selection_seed"]):
        net = ActorCritic(features.shape[1], actor_width=64)
    optimiser, updates = torch.optim.Adam(net.parameters(), lr=0.003), 0
    for _ in range(environment.epochs):
        environment.begin_epoch()
        for _ in range(environment.num_batches):
            states = environment.observe()
            for _ in range(method.updates):
                loss = (torch.logit(net.policy(states).mean) - environment.cover[environment.positions]).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                updates += 1
            environment.step(net.policy(states).mean.detach())
        environment.end_epoch(updates)
    return describe_row(environment.trajectory[-1], updates, before)


def describe_row(row: TrajectoryRow, updates: int, before: float) -> Line:
    """Return what a line says of an epoch, the updates of the whole run and its CPU seconds."""
    seconds = round(time.process_time() - before, 2)
    regret = round(row["regret"] or 0.0, 4)
    return {"regret": regret, "kept_fraction": round(row["kept_fraction"], 4), "updates": updates, "cpu_s": seconds}


def write_markdown(lines: Sequence[Line], machine: str) -> str:
    """Return a page with the regrets of every setting by kind of features and keep fraction."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["setting"], line["features"], line["keep"]), []).append(line)
    columns = [(kind, keep) for kind in ("frozen", "live") for keep in KEEPS]
    header = ["setting", *(f"{kind}, keep {keep}" for kind, keep in columns), "updates"]
    rows = [header, ["---", *("---:" for _ in header[1:])]]
    for setting in dict.fromkeys(line["setting"] for line in lines):
        cells = [
            " ".join(f"{line['regret']:.2f}" for line in groups.get((setting, kind, keep), []))
            for kind, keep in columns
        ]  # fmt: skip
        updates = next(line["updates"] for line in lines if line["setting"] == setting)
        rows.append([setting, *cells, str(updates)])
    return f"""# Tuning RL-Selector's agent by its own regret

Written by `python -m benchmarks.tune_selector` on {machine}.
One number per seed ({", ".join(map(str, SEEDS))}): 1 = a random subset, 0 = the optimum.
Accuracy was never looked at. Frozen features: after the last pass; live features: at the epoch that the method chooses.

{format_markdown(rows)}
"""


if __name__ == "__main__":
    main()
