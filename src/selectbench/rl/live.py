"""The environment in which the target model trains while the agent learns: its features are the states, actions weight its loss."""

import time

import numpy as np
import torch
from torch import nn

from selectbench.models.factory import features_and_logits
from selectbench.rl.environment import EnvironmentState, Redundancy, SelectionEnvironment
from selectbench.rl.reward import Reward
from selectbench.training.optimisers import make_optimiser, set_learning_rate
from selectbench.training.pools import Pool, count_features, load_training_batch
from selectbench.training.recipes import Recipe, count_batches, learning_rate_at, uses_bfloat16


class LiveEnvironment(SelectionEnvironment):
    """A selection environment around a training run: each batch updates the table with features of augmented images in training mode.

    The recipe's first epoch is a warm-up with plain cross-entropy that fills the table, in which the agent does not act.

    Parameters
    ----------
    model : freshly initialised, on the pool's device
    pool : the whole training pool
    recipe : how the model is trained; its epochs include the warm-up
    redundancy, reward, tolerance, stream : as in ``SelectionEnvironment``
    """

    def __init__(
        self,
        model: nn.Module,
        pool: Pool,
        recipe: Recipe,
        redundancy: Redundancy,
        reward: Reward,
        *,
        tolerance: float,
        stream: tuple[object, ...],
    ) -> None:
        width = count_features(model)
        super().__init__(
            torch.zeros(len(pool), width, device=pool.device),
            redundancy,
            reward,
            batch_size=recipe.batch_size,
            epochs=recipe.epochs - 1,
            tolerance=tolerance,
            stream=stream,
        )
        self.model = model
        self.pool = pool
        self.recipe = recipe
        self.optimiser = make_optimiser(model, recipe)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")
        self.steps = 0
        self.total_steps = recipe.epochs * self.num_batches
        self.sample_visits = 0
        self.wall_s = 0.0
        self._clock = time.perf_counter()

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch, as in ordinary training."""
        return count_batches(len(self), self.batch_size)

    def warm_up(self) -> None:
        """Train for one epoch with plain cross-entropy and fill the feature table."""
        for positions in np.array_split(self.order("warm-up"), self.num_batches):
            self.turn_to(positions)
            self.forward()
            self.learn(torch.ones(len(positions), device=self.pool.device))

    def end_epoch(self, updates: int) -> None:
        """Record how good the mask is, and the elapsed time."""
        super().end_epoch(updates)
        now = time.perf_counter()
        self.wall_s += now - self._clock
        self._clock = now

    def forward(self) -> torch.Tensor:
        """Run the model on the current batch, update the table and return the features (B, d)."""
        self.model.train()
        images = load_training_batch(self.pool, self.positions, self.recipe.augment, (*self.stream, "augment", self.steps))
        with torch.autocast(self.pool.device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(self.recipe, self.pool.device)):
            features, self._logits = features_and_logits(self.model, images)
        self.table[self._where] = features.detach().float()
        return self.table[self._where]

    def learn(self, actions: torch.Tensor) -> None:
        """Take one optimiser step on the batch's mean loss, weighted by the actions."""
        loss = (self.criterion(self._logits.float(), self.pool.labels[self._where]) * actions).mean()
        set_learning_rate(self.optimiser, learning_rate_at(self.steps, self.total_steps, self.recipe))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.steps += 1
        self.sample_visits += len(actions)

    def extend(self, epochs: int, reward: Reward) -> None:
        """Continue for more epochs towards another keep fraction; epochs, trajectory and schedule are reset, everything else is kept."""
        self.reward = reward
        self.stream = (*self.stream, "extended")
        self.epoch, self.epochs = 0, epochs
        self.total_steps, self.steps = epochs * self.num_batches, 0
        self.trajectory, self.best, self.chosen_epoch = [], None, None

    def state_dict(self) -> EnvironmentState:
        """Return everything needed to resume, between epochs."""
        return {
            **super().state_dict(),
            "steps": self.steps,
            "total_steps": self.total_steps,
            "sample_visits": self.sample_visits,
            "wall_s": self.wall_s,
            "epochs": self.epochs,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: EnvironmentState) -> None:
        """Resume from a ``state_dict``."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._restore({name: value for name, value in state.items() if name not in ("model", "optimiser")})
        self._clock = time.perf_counter()
