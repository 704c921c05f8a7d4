"""The recorder of a proxy collects the signals of a pool while the proxy trains, and keeps weights of declared epochs."""

from typing import Any, TypedDict

import numpy as np
import torch
from torch import nn

from selectbench.signals import Signals, error_norms
from selectbench.training.engine import join_predictions, predict
from selectbench.training.epochs import Progress
from selectbench.training.pools import Pool
from selectbench.training.recipes import Recipe, count_steps, learning_rate_at
from selectbench.training.recording import list_epochs, list_passes

_MAX_LOGIT_BYTES = 1 << 30  # beyond this, norms of prediction errors are recorded instead of logits
_RESIDENT_BYTES = 1 << 30  # of an epoch's logits that may stay on the device until the epoch ends
_BLOCK_BYTES = 1 << 26  # of logits reduced at a time


class KeptWeights(TypedDict):
    """The proxy's weights after an epoch.

    Parameters
    ----------
    epoch : counted from 1
    step_size : learning rate of the epoch's last step
    model : state dict of the proxy
    """

    epoch: int
    step_size: float
    model: dict[str, torch.Tensor]


class Recorder:
    """Collects the signals of a pool and keeps the weights of declared epochs.

    Signals per epoch (correctness, margins, divergences) come from the training pass itself, that is, from augmented images in training
    mode before the update, as forgetting events, the area under the margin and TDDS are defined. Outputs and features come from a
    clean evaluation-mode pass after the first, the last and the declared epochs.

    Parameters
    ----------
    pool : the training pool
    num_classes : C
    recipe : its ``record_at`` (outputs and weights) and ``align_at`` (weights) are ascending shares of training
    """

    def __init__(self, pool: Pool, num_classes: int, recipe: Recipe) -> None:
        self.pool = pool
        self.recipe = recipe
        self.recorded_epochs = list_epochs(recipe.record_at, recipe.epochs)
        self.passed_epochs = list_passes(recipe.record_at, recipe.epochs)
        self.kept_epochs = {*self.recorded_epochs, *list_epochs(recipe.align_at, recipe.epochs)}
        self.keeps_logits = len(recipe.record_at) * len(pool) * num_classes * 4 <= _MAX_LOGIT_BYTES
        self.labels = pool.labels.cpu().numpy()
        self._num_classes = num_classes
        self._rows = (num_classes,) if self.keeps_logits else ()
        resident = len(pool) * num_classes * 4 <= _RESIDENT_BYTES
        self._logits = torch.zeros(len(pool), num_classes, device=pool.device if resident else "cpu")

    def watch(self, positions: np.ndarray, logits: torch.Tensor) -> None:
        """Store the logits (B, C) of a training batch."""
        self._logits.index_copy_(0, torch.from_numpy(positions).to(self._logits.device, non_blocking=True), logits.to(self._logits.device))

    def observe(self, epoch: int, model: nn.Module, progress: Progress) -> None:
        """Record one epoch in ``progress.extra``, which checkpoints include."""
        extra, num, epochs = progress.extra, len(self.pool), self.recipe.epochs
        if not extra:
            extra["correct"] = torch.zeros(epochs, num, dtype=torch.bool)
            extra["margins"] = torch.zeros(num, dtype=torch.float64)
            extra["outputs"] = torch.zeros(len(self.recorded_epochs), num, *self._rows, dtype=torch.float32)
            extra["before"] = torch.zeros(num, self._num_classes, dtype=torch.float32)
            extra["divergences"] = torch.zeros(epochs - 1, num, dtype=torch.float32)
            extra["weights"] = {}
        self._record_training(epoch, extra)
        if epoch in self.passed_epochs:
            self._record_clean(epoch, model, extra)
            progress.forward_visits += num
        if epoch in self.kept_epochs:
            extra["weights"][str(epoch)] = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def _record_training(self, epoch: int, extra: dict[str, Any]) -> None:
        """Record the signals of an epoch's training pass."""
        rows = max(1, _BLOCK_BYTES // (4 * self._num_classes))
        for start in range(0, len(self.pool), rows):
            where = slice(start, start + rows)
            logits = self._logits[where]
            labels, logarithms = self.pool.labels[where].to(logits.device), logits.log_softmax(dim=1).cpu()
            extra["margins"][where] += measure_margins(logits, labels).cpu()
            extra["correct"][epoch - 1, where] = (logits.argmax(dim=1) == labels).cpu()
            if epoch > 1:
                extra["divergences"][epoch - 2, where] = measure_divergences(extra["before"][where], logarithms)
            extra["before"][where] = logarithms

    def _record_clean(self, epoch: int, model: nn.Module, extra: dict[str, Any]) -> None:
        """Record outputs and features of clean images in evaluation mode."""
        slots = [slot for slot, recorded in enumerate(self.recorded_epochs) if recorded == epoch]
        for where, features, logits in join_predictions(predict(model, self.pool)):
            for slot in slots:
                extra["outputs"][slot, where] = self._reduce(logits, where)
            for name, recorded in (("first_features", 1), ("features", self.recipe.epochs)):
                if epoch == recorded:
                    extra.setdefault(name, torch.zeros(len(self.pool), features.shape[1], dtype=torch.float32))[where] = features.cpu()

    def _reduce(self, logits: torch.Tensor, where: slice) -> torch.Tensor:
        if self.keeps_logits:
            return logits.cpu()
        return torch.from_numpy(error_norms(logits.cpu().numpy(), self.labels[where]).astype(np.float32))

    def signals(self, progress: Progress) -> Signals:
        """Return the recorded signals."""
        extra = {name: tensor.numpy() for name, tensor in progress.extra.items() if name != "weights"}
        return Signals(
            labels=self.labels,
            features=extra["features"],
            first_features=extra["first_features"],
            correct=extra["correct"],
            aum=extra["margins"] / self.recipe.epochs,
            divergences=extra["divergences"] if self.recipe.epochs > 1 else None,
            recorded_at=np.array(self.recorded_epochs) / self.recipe.epochs,
            **{"logits" if self.keeps_logits else "errors": extra["outputs"]},
        )

    def weights(self, progress: Progress) -> list[KeptWeights]:
        """Return the weights that were kept, in the order of epochs."""
        total = count_steps(len(self.pool), len(self.pool), self.recipe, "equal_epochs")
        steps = total // self.recipe.epochs
        return [
            {
                "epoch": int(epoch),
                "step_size": learning_rate_at(int(epoch) * steps - 1, total, self.recipe),
                "model": model,
            }
            for epoch, model in progress.extra["weights"].items()
        ]


def measure_divergences(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return Σ_c |p' log(p'/p)| (B,) for log-probabilities (B, C) of p and of p', one epoch later."""
    return (after.exp() * (after - before)).abs().sum(dim=1)


def measure_margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each label's probability minus the largest other probability (B,), in float64."""
    probabilities = logits.double().softmax(dim=1)
    own = probabilities.gather(1, labels[:, None])
    others = probabilities.scatter(1, labels[:, None], -1.0).amax(dim=1)
    return own[:, 0] - others
