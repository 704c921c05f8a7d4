"""Run an agent on an environment, resumably, and turn its final mask into a subset."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.policy import choose_positions, order_by_score
from selectbench.rl.a2c import A2C, AgentSettings, AgentState
from selectbench.rl.environment import EnvironmentState, SelectionEnvironment
from selectbench.rl.redundancy import scale_redundancy
from selectbench.rl.reward import Reward
from selectbench.rl.settings import SelectorSettings
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.signals import Signals


class RunState(TypedDict):
    """What an interrupted run resumes from.

    Parameters
    ----------
    environment, agent : the ``state_dict`` of each
    """

    environment: EnvironmentState
    agent: AgentState


@dataclass(frozen=True)
class Store:
    """Where the state of a run is kept between epochs.

    Parameters
    ----------
    load : returns the saved state, or None if there is none
    save : takes the state after an epoch
    """

    load: Callable[[], RunState | None]
    save: Callable[[RunState], None]


NO_STORE = Store(load=lambda: None, save=lambda state: None)


def make_reward(method: SelectorSettings, keep: float) -> Reward:
    """Return the reward that a method's settings define for a keep fraction."""
    return Reward(
        keep=keep, form=method.reward, terms=method.terms, alignment=method.alignment, delta=method.delta, price_rate=method.price_rate
    )


def run_agent(
    method: SelectorSettings, environment: SelectionEnvironment, seed: int, *, start: A2C | None = None, store: Store = NO_STORE
) -> A2C | None:
    """Let a method's agent act and learn for all epochs of the environment.

    Parameters
    ----------
    method : settings with the algorithm and its hyperparameters
    environment : before its first epoch; an interrupted run resumes from ``store`` (A2C only, the other agents start over)
    seed : for the agent's initialisation and the actions of every epoch
    start : an agent to continue from instead of a fresh one; its learning rate schedule restarts
    store : where to save after every epoch, and to resume from

    Returns
    -------
    A2C or None
        The agent after the last epoch; None for algorithms that cannot be continued.
    """
    if method.algorithm != "a2c":
        from selectbench.rl.external import learn_externally

        learn_externally(method.algorithm, environment, method.learning_rate, seed)
        return None
    settings = AgentSettings(
        learning_rate=method.learning_rate,
        noise=method.noise,
        baseline=method.baseline,
        normalise=method.normalise,
        entropy=method.entropy,
        draws=method.draws,
        updates=method.updates,
        learns=method.learns,
    )
    num_batches = (environment.epochs - environment.epoch) * environment.num_batches
    with isolated_torch_rng(seed):
        agent = A2C(environment.table.shape[1], settings, num_batches, environment.table.device)
    if start is not None:
        agent.net.load_state_dict(start.net.state_dict())
        agent.updates = start.updates
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
    """Return the positions kept by the chosen mask, best first.

    Parameters
    ----------
    method : ``binarise: exact`` keeps ``num_kept`` under its class quota, however far the mask's own kept fraction is from the target;
        ``threshold`` keeps all actions above ½
    environment : after its last epoch
    num_kept : k
    labels, ids : (N,) in the environment's order
    seed : breaks ties

    Raises
    ------
    SelectionFailedError
        The mask is thresholded, and no epoch's kept fraction came within tolerance of the target.
    """
    if environment.best is None or environment.chosen_epoch is None:
        raise SelectbenchError("no epoch has ended, so there is no mask")
    scores = environment.best.double().cpu().numpy()
    if method.binarise == "threshold":
        if environment.distance:
            points, nearest = f"{100 * environment.tolerance:g}", environment.trajectory[environment.chosen_epoch - 1]
            raise SelectionFailedError(
                f"the policy never came within {points} {'point' if points == '1' else 'points'} of keep {environment.reward.keep:g}; "
                f"nearest {nearest['kept_fraction']:.3f} after epoch {nearest['epoch']} of {len(environment.trajectory)}"
            )
        return order_by_score(scores, ids, seed)[: int((scores > 0.5).sum())]
    return choose_positions(scores, num_kept, labels=labels, ids=ids, quota=method.quota, tail=method.tail, seed=seed)


def select_frozen(method: SelectorSettings, redundancies: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
    """Train a method's agent on frozen features and return the positions it keeps, best first.

    Parameters
    ----------
    redundancies : (N,) redundancies of the features
    signals : must include features
    num_kept : k
    seed : for all randomness
    """
    order = np.argsort(hash_ids(signals.ids, seed), kind="stable")
    frozen = scale_redundancy(np.asarray(redundancies, dtype=np.float64)[order], method.scale, signals.labels[order])
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
    kept: np.ndarray = order[take_mask(method, environment, num_kept, signals.labels[order], signals.ids[order], seed)]
    return kept
