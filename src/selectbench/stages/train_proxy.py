"""Train a proxy and record what scoring methods read: correctness, early outputs, features, and the weights along the way."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.engine import Checkpoint, join_predictions, predict, train_model
from selectbench.epochs import Progress, visit_subset
from selectbench.files import digest_value, read_json, write_atomically
from selectbench.pools import Pool, choose_device, name_device, supervised_loss
from selectbench.provenance import describe_provenance, read_peak_memory_mb
from selectbench.recipes import Recipe, count_steps, learning_rate_at
from selectbench.signals import Signals, error_norms
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._training import build_from_spec, open_prepared, warm_start_from_spec

_MAX_LOGIT_BYTES = 1 << 30  # beyond this, the norms of prediction errors are recorded in place of logits


class Recorder:
    """Fill the signals of a pool, one clean evaluation-mode pass after each epoch, and keep the weights of declared epochs.

    Parameters
    ----------
    pool : the training pool
    num_classes : C
    recipe : with its epochs and ``record_at`` (outputs and weights) and ``align_at`` (weights): shares of training, ascending
    """

    def __init__(self, pool: Pool, num_classes: int, recipe: Recipe) -> None:
        self.pool = pool
        self.recipe = recipe
        self.recorded_epochs = list_epochs(recipe.record_at, recipe.epochs)
        self.kept_epochs = {*self.recorded_epochs, *list_epochs(recipe.align_at, recipe.epochs)}
        self.keeps_logits = len(recipe.record_at) * len(pool) * num_classes * 4 <= _MAX_LOGIT_BYTES
        self.labels = pool.labels.cpu().numpy()
        self._num_classes = num_classes
        self._rows = (num_classes,) if self.keeps_logits else ()

    def observe(self, epoch: int, model: nn.Module, progress: Progress) -> None:
        """Record one epoch into ``progress.extra``, which checkpoints carry."""
        extra, num, epochs = progress.extra, len(self.pool), self.recipe.epochs
        if not extra:
            extra["correct"] = torch.zeros(epochs, num, dtype=torch.bool)
            extra["margins"] = torch.zeros(num, dtype=torch.float64)
            extra["outputs"] = torch.zeros(len(self.recorded_epochs), num, *self._rows, dtype=torch.float32)
            extra["before"] = torch.zeros(num, self._num_classes, dtype=torch.float32)
            extra["divergences"] = torch.zeros(epochs - 1, num, dtype=torch.float32)
            extra["weights"] = {}
        slots = [slot for slot, recorded in enumerate(self.recorded_epochs) if recorded == epoch]
        for where, features, logits in join_predictions(predict(model, self.pool)):
            labels, logarithms = self.pool.labels[where], logits.log_softmax(dim=1).cpu()
            extra["margins"][where] += measure_margins(logits, labels).cpu()
            extra["correct"][epoch - 1, where] = (logits.argmax(dim=1) == labels).cpu()
            for slot in slots:
                extra["outputs"][slot, where] = self._reduce(logits, where)
            if epoch > 1:
                extra["divergences"][epoch - 2, where] = measure_divergences(extra["before"][where], logarithms)
            extra["before"][where] = logarithms
            for name, recorded in (("first_features", 1), ("features", epochs)):
                if epoch == recorded:
                    extra.setdefault(name, torch.zeros(num, features.shape[1], dtype=torch.float32))[where] = features.cpu()
        if epoch in self.kept_epochs:
            extra["weights"][str(epoch)] = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        progress.forward_visits += num

    def _reduce(self, logits: torch.Tensor, where: slice) -> torch.Tensor:
        if self.keeps_logits:
            return logits.cpu()
        return torch.from_numpy(error_norms(logits.cpu().numpy(), self.labels[where]).astype(np.float32))

    def signals(self, progress: Progress) -> Signals:
        """Return what was recorded."""
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

    def weights(self, progress: Progress) -> list[dict]:
        """Return the weights that were kept, by epoch, each with the learning rate of the step that led to them."""
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


def list_epochs(shares: tuple[float, ...], epochs: int) -> list[int]:
    """Return the epochs after which these shares of training are done, the first at the earliest."""
    return [max(1, round(share * epochs)) for share in shares]


def measure_divergences(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return Σ_c |p' log(p'/p)| (B,) of two rows of log-probabilities, one epoch apart."""
    return (after.exp() * (after - before)).abs().sum(dim=1)


def measure_margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each label's probability minus the largest other one (B,), in float64."""
    probabilities = logits.double().softmax(dim=1)
    own = probabilities.gather(1, labels[:, None])
    others = probabilities.scatter(1, labels[:, None], -1.0).amax(dim=1)
    return own[:, 0] - others


def main() -> None:
    """Train, record, write signals and weights and then their record."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("signals", "weights", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    recipe, device = Recipe.from_config(spec["recipe"]), choose_device()
    stream = (spec["role"], spec["dataset"], spec["seed"])
    model, seeds = build_from_spec(spec, recipe.stem, stream, device)
    start = warm_start_from_spec(model, spec)
    pool = open_prepared(data, "pool", device)
    recorder = Recorder(pool, spec["num_classes"], recipe)
    key = digest_value({"spec": spec, "data": read_json(data)["splits"]["pool"], "start": start and start["sha256"]})
    checkpoint = Checkpoint(Path(spec["state"]), key)
    progress = train_model(
        model,
        pool,
        visit_subset(np.arange(len(pool)), len(pool), recipe, "equal_epochs"),
        recipe,
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream),
        on_epoch_end=recorder.observe,
        checkpoint=checkpoint,
    )
    recorder.signals(progress).save(arguments.signals)
    write_atomically(arguments.weights, lambda stream: torch.save(recorder.weights(progress), stream))
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "proxy",
            "key": key,
            "seeds": seeds,
            "recipe": spec["recipe"],
            "warm_start": start,
            "context": {"mode": "eval", "images": "clean", "checkpoint": "last", "outputs_at_epochs": recorder.recorded_epochs},
            "training": {
                "epochs": progress.epoch,
                "steps": progress.step,
                "sample_visits": progress.sample_visits,
                "forward_visits": progress.forward_visits,
                "wall_s": progress.wall_s,
                "final_loss": progress.final_loss,
                "unreadable": len(pool.split.unreadable),
            },
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], name_device(device), started),
        },
    )
    checkpoint.remove()


if __name__ == "__main__":
    run_stage(main)
