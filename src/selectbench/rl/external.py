"""PPO and DQN from stable-baselines3 on the same environment: every sample is an episode of one step."""

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from selectbench.rl.environment import SelectionEnvironment
from selectbench.seeds import isolated_generators
from selectbench.training.optimisers import fuse_adam

_HIDDEN = [128, 64]


class BatchOfSamples(VecEnv):
    """Presents a selection environment to stable-baselines3 as one parallel environment per sample of the batch.

    Smaller batches are padded with copies of their first sample; the copies' actions do not enter the mask.

    Parameters
    ----------
    environment : run epoch by epoch
    discrete : whether actions are drop or keep (DQN); otherwise they are numbers in [−1, 1], mapped to [0, 1]
    """

    def __init__(self, environment: SelectionEnvironment, discrete: bool) -> None:
        self.environment = environment
        self.discrete = discrete
        width = environment.table.shape[1]
        actions = gymnasium.spaces.Discrete(2) if discrete else gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(
            -(-len(environment) // environment.num_batches), gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32), actions
        )
        self.optimiser: torch.optim.Optimizer | None = None  # of the algorithm, which is made after this
        self._taken = 0

    def reset(self) -> np.ndarray:
        """Start the first epoch and return its first states."""
        self.environment.begin_epoch()
        return self._observe()

    def _observe(self) -> np.ndarray:
        states = self.environment.observe().cpu().numpy()
        self._size = len(states)
        return np.concatenate([states, np.repeat(states[:1], self.num_envs - len(states), axis=0)])

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions (num_envs,) or (num_envs, 1)."""
        values = np.asarray(actions, dtype=np.float32).reshape(self.num_envs)
        self._actions = torch.from_numpy(values if self.discrete else (values + 1.0) / 2.0).to(self.environment.mask.device)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Return the next states and the rewards; every episode has ended. After the last epoch this does nothing."""
        environment, size = self.environment, self._size
        rewards, states = np.zeros(self.num_envs, np.float32), np.zeros((self.num_envs, environment.table.shape[1]), np.float32)
        if environment.epoch < environment.epochs:
            paid = environment.pay(self._actions[:size]).cpu().numpy()
            environment.step(self._actions[:size])
            rewards = np.concatenate([paid, np.repeat(paid[:1], self.num_envs - size)])
            self._taken += 1
            if self._taken % environment.num_batches == 0:
                environment.end_epoch(count_updates(self.optimiser))
                if environment.epoch < environment.epochs:
                    environment.begin_epoch()
        if environment.epoch < environment.epochs:
            states = self._observe()
        return states, rewards, np.ones(self.num_envs, dtype=bool), [{"terminal_observation": state} for state in states]

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute, repeated for each parallel environment."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Raise: samples have no attributes of their own."""
        raise NotImplementedError(attr_name)

    def env_method(self, method_name: str, *method_args: object, indices: VecEnvIndices = None, **method_kwargs: object) -> list[Any]:
        """Raise: samples have no methods of their own."""
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None) -> list[bool]:
        """Report that no environment is wrapped."""
        return [False] * self.num_envs


def count_updates(optimiser: torch.optim.Optimizer | None) -> int:
    """Return how many steps an optimiser has taken."""
    states = optimiser.state.values() if optimiser else ()
    return max((int(state["step"]) for state in states), default=0)


def learn_externally(algorithm: str, environment: SelectionEnvironment, learning_rate: float, seed: int) -> None:
    """Train PPO or DQN over all epochs of an environment.

    Parameters
    ----------
    algorithm : ``"ppo"`` or ``"dqn"``
    environment : before its first epoch
    learning_rate : of Adam
    seed : for all randomness of the algorithm
    """
    with isolated_generators(seed):
        batch = BatchOfSamples(environment, discrete=algorithm == "dqn")
        agent: BaseAlgorithm
        device, seed = "cpu", seed % 2**32  # networks this small would only wait for a GPU, and seeding for one changes flags of cuDNN
        if algorithm == "ppo":
            steps = min(4, environment.num_batches)
            network = {"net_arch": {"pi": _HIDDEN, "vf": _HIDDEN}, **fuse_adam(eps=1e-5)}
            agent = PPO(
                "MlpPolicy",
                batch,
                learning_rate=learning_rate,
                n_steps=steps,
                batch_size=batch.num_envs,
                n_epochs=4,
                policy_kwargs=network,
                seed=seed,
                device=device,
            )
        else:
            network = {"net_arch": _HIDDEN, **fuse_adam(eps=1e-8)}
            agent = DQN(
                "MlpPolicy",
                batch,
                learning_rate=learning_rate,
                buffer_size=50 * batch.num_envs,
                learning_starts=2 * batch.num_envs,
                batch_size=4 * batch.num_envs,
                train_freq=1,
                gradient_steps=2,
                target_update_interval=100,
                exploration_fraction=0.5,
                exploration_final_eps=0.02,
                policy_kwargs=network,
                seed=seed,
                device=device,
            )
        batch.optimiser = agent.policy.optimizer
        agent.learn(total_timesteps=environment.epochs * environment.num_batches * batch.num_envs)
