"""Run an agent over an environment, resumably, and turn the mask it chose into a subset."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from selectbench.errors import SelectionFailedError
from selectbench.policy import choose_positions, order_by_score
from selectbench.rl.a2c import A2C, AgentSettings
from selectbench.rl.environment import SelectionEnvironment
from selectbench.rl.redundancy import scale_redundancy
from selectbench.rl.reward import Reward
from selectbench.rl.settings import SelectorSettings
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.signals import Signals


@dataclass(frozen=True)
class Store:
    """Where a run's state is kept between epochs: ``load`` returns it or None, ``save`` takes it."""

    load: Callable[[], dict | None]
    save: Callable[[dict], None]


NO_STORE = Store(load=lambda: None, save=lambda state: None)


def make_reward(method: SelectorSettings, keep: float) -> Reward:
    """Return the reward that a method declares, at a keep fraction."""
    return Reward(keep=keep, form=method.reward, terms=method.terms, delta=method.delta)


def run_agent(
    method: SelectorSettings, environment: SelectionEnvironment, seed: int, *, start: A2C | None = None, store: Store = NO_STORE
) -> A2C | None:
    """Let a method's agent act and learn until the environment's epochs are over.

    Parameters
    ----------
    method : with its algorithm and how it learns
    environment : before its first epoch; an interrupted one is put where ``store`` left it (A2C only, others start anew)
    seed : of the agent's initialisation and of every epoch's actions
    start : an agent to go on with in place of a fresh one; its learning rate starts anew
    store : where to save after every epoch and to resume from

    Returns
    -------
    A2C or None
        The agent after the last epoch, if it can be gone on with.
    """
    if method.algorithm != "a2c":
        from selectbench.rl.external import learn_externally

        learn_externally(method.algorithm, environment, method.learning_rate, seed)
        return None
    settings = AgentSettings(learning_rate=method.learning_rate, noise=method.noise)
    steps = (environment.epochs - environment.epoch) * environment.num_batches
    with isolated_torch_rng(seed):
        agent = A2C(environment.table.shape[1], settings, steps, environment.table.device)
    if start is not None:
        agent.net.load_state_dict(start.net.state_dict())
    state = store.load()
    if state is not None:
        environment.load_state_dict(state["environment"])
        agent.load_state_dict(state["agent"])
    while environment.epoch < environment.epochs:
        with isolated_torch_rng(derive_seed("actions", seed, environment.epoch)):
            agent.run_epoch(environment)
        store.save({"environment": environment.state_dict(), "agent": agent.state_dict()})
    return agent


def take_mask(
    method: SelectorSettings, environment: SelectionEnvironment, num_kept: int, labels: np.ndarray, ids: np.ndarray, seed: int
) -> np.ndarray:
    """Return the positions that the chosen mask keeps, best first.

    Parameters
    ----------
    method : ``binarise: exact`` keeps ``num_kept`` by its quota, ``threshold`` all actions above ½
    environment : after its last epoch
    num_kept : k
    labels, ids : (N,) in the environment's order
    seed : breaks ties

    Raises
    ------
    SelectionFailedError
        No epoch's kept fraction came near enough to the wanted one.
    """
    if environment.best is None:
        fractions = [row["kept_fraction"] for row in environment.trajectory]
        nearest = min(range(len(fractions)), key=lambda index: abs(fractions[index] - environment.reward.keep))
        raise SelectionFailedError(
            f"the policy never came within {100 * environment.tolerance:g} points of keep {environment.reward.keep:g}; "
            f"nearest {fractions[nearest]:.3f} after epoch {nearest + 1} of {len(fractions)}"
        )
    scores = environment.best.double().cpu().numpy()
    if method.binarise == "threshold":
        return order_by_score(scores, ids, seed)[: int((scores > 0.5).sum())]
    return choose_positions(scores, num_kept, labels=labels, ids=ids, quota=method.quota, tail=method.tail, seed=seed)


def select_frozen(method: SelectorSettings, redundancies: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
    """Run a method's agent on frozen features and return the positions it keeps, best first.

    Parameters
    ----------
    redundancies : (N,) of the features
    signals : with features
    num_kept : k
    seed : of everything random
    """
    order = np.argsort(hash_ids(signals.ids, seed), kind="stable")
    frozen = scale_redundancy(np.asarray(redundancies, dtype=np.float64)[order], method.scale)
    environment = SelectionEnvironment(
        torch.from_numpy(np.asarray(signals.features, dtype=np.float32)[order]),
        lambda features: frozen,
        make_reward(method, num_kept / len(signals)),
        batch_size=method.batch_size,
        epochs=method.epochs,
        tolerance=max(method.tolerance, 0.5 / len(signals)),
        stream=("rl_selector", seed),
    )
    run_agent(method, environment, derive_seed("rl_selector", seed))
    return order[take_mask(method, environment, num_kept, signals.labels[order], signals.ids[order], seed)]
