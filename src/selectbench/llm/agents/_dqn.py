"""Deep Q-learning on sets of clusters with action masks, shared by DQN, DynaDQN and WarmStart."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.llm.agents._base import Effort
from selectbench.llm.environment import ClusterEnv
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.training.optimisers import Adam

_WIDTH, _RATE, _BATCH, _UPDATES, _TARGET_RATE, _GRADIENT = 64, 3e-3, 64, 20, 0.1, 10.0
_LARGE = 1e9  # subtracted from the values of masked actions


@dataclass(frozen=True)
class Steps:
    """The transitions of a replay buffer.

    Parameters
    ----------
    before, after : (M, C) masks before and after the action
    actions, rewards : (M,)
    done : (M,) whether the set is complete
    """

    before: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    after: np.ndarray
    done: np.ndarray


class Replay:
    """A replay buffer that grows: arrays of twice the size replace full ones, so that reading it copies nothing.

    Parameters
    ----------
    clusters : number of actions
    """

    def __init__(self, clusters: int) -> None:
        self.size = 0
        self.room = make_room(64, clusters)

    def add(self, before: np.ndarray, action: int, reward: float, after: np.ndarray, done: bool) -> None:
        """Store a transition."""
        if self.size == len(self.room.actions):
            held, self.room = self.room, make_room(2 * self.size, before.shape[0])
            for name, values in vars(held).items():
                getattr(self.room, name)[: self.size] = values
        room, place = self.room, self.size
        room.before[place], room.actions[place], room.rewards[place] = before, action, reward
        room.after[place], room.done[place] = after, done
        self.size += 1

    def read(self) -> Steps:
        """Return all transitions, oldest first."""
        return Steps(**{name: values[: self.size] for name, values in vars(self.room).items()})


def make_room(size: int, clusters: int) -> Steps:
    """Return arrays for a number of transitions."""
    return Steps(
        before=np.zeros((size, clusters), np.float32),
        actions=np.zeros(size, np.int64),
        rewards=np.zeros(size),
        after=np.zeros((size, clusters), np.float32),
        done=np.zeros(size, bool),
    )


class QLearner:
    """A masked Q-network with target network and replay buffer (Mnih et al. 2015): discount 1, Huber loss, soft target updates.

    Greedy actions and targets maximise over the clusters that may still be chosen. Rewards are divided by their standard deviation in
    the buffer, so that learning does not depend on their scale.

    Parameters
    ----------
    clusters : number of actions
    seed : for weights, exploration and replay
    effort : where updates are counted
    learns : whether updates are made
    """

    def __init__(self, clusters: int, seed: int, effort: Effort, *, learns: bool = True) -> None:
        with isolated_torch_rng(derive_seed(seed, "network")):
            self.network = nn.Sequential(nn.Linear(clusters, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, clusters))
        self.target = deepcopy(self.network)
        self.optimiser = Adam(self.network.parameters(), lr=_RATE, fused=True)
        self.draws = np.random.default_rng(derive_seed(seed, "draws"))
        self.effort = effort
        self.learns = learns
        self.replay = Replay(clusters)

    def play(self, env: ClusterEnv, epsilon: float) -> None:
        """Play an ε-greedy episode and store its steps in the replay buffer."""
        before, _ = env.reset()
        done = False
        while not done:
            allowed = np.flatnonzero(env.action_masks())
            action = int(self.draws.choice(allowed)) if self.draws.random() < epsilon else self.choose(before)
            after, reward, done, _, _ = env.step(action)
            self.replay.add(before, action, float(reward), after, done)
            before = after

    @torch.no_grad()
    def choose(self, mask: np.ndarray) -> int:
        """Return the allowed action with the largest value."""
        state = torch.from_numpy(mask)
        return int((self.network(state) - _LARGE * state).argmax())

    def learn(self, updates: int = _UPDATES) -> None:
        """Take gradient steps on random batches from the replay buffer."""
        if not self.learns:
            return
        steps = self.replay.read()
        scale = float(steps.rewards.std()) or 1.0
        for _ in range(updates):
            rows = self.draws.integers(len(steps.actions), size=min(_BATCH, len(steps.actions)))
            self._update(steps, rows, scale)
            self.effort.updates += 1

    def _update(self, steps: Steps, rows: np.ndarray, scale: float) -> None:
        before, after, done, rewards = (
            torch.from_numpy(values[rows]) for values in (steps.before, steps.after, steps.done, steps.rewards / scale)
        )
        with torch.no_grad():
            following = (self.target(after) - _LARGE * after).max(dim=1).values
            wanted = rewards.float() + torch.where(done, 0.0, following)
        values = self.network(before).gather(1, torch.from_numpy(steps.actions[rows])[:, None])[:, 0]
        loss = nn.functional.smooth_l1_loss(values, wanted)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT)
        self.optimiser.step()
        with torch.no_grad():
            for kept, new in zip(self.target.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, _TARGET_RATE)


@dataclass(frozen=True)
class Exploration:
    """The schedule of random actions.

    Parameters
    ----------
    episodes : total number of episodes
    first, floor : initial and final probability of a random action
    falling : episodes over which the probability decays linearly
    """

    episodes: int
    first: float
    floor: float
    falling: int = 15

    def probability(self, episode: int) -> float:
        """Return the probability of a random action in an episode (from 0)."""
        return max(self.floor, self.first + (self.floor - self.first) * episode / self.falling)


def explore_by_learning(env: ClusterEnv, learner: QLearner, exploration: Exploration, dream: Callable[[], None]) -> None:
    """Play episodes and learn after each; episodes without a new set use no proxy training.

    Parameters
    ----------
    env : the environment
    learner : plays and learns
    exploration : the schedule of random actions
    dream : called after each episode, before learning
    """
    for episode in range(exploration.episodes):
        learner.play(env, exploration.probability(episode))
        dream()
        learner.learn()
