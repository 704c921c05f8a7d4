"""Train a proxy and record everything scoring methods read: correctness, early outputs, features."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import open_split
from selectbench.engine import Checkpoint, Pool, Progress, Recipe, choose_device, name_device, open_pool, predict, train_model
from selectbench.files import digest_value, read_json
from selectbench.models import build_model
from selectbench.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records import write_record
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.signals import Signals, error_norms
from selectbench.stages._command import parse_arguments, run_stage

_MAX_LOGIT_BYTES = 1 << 30  # beyond this, the norms of prediction errors are recorded in place of logits


class Recorder:
    """Fill the signals of a pool, one clean evaluation-mode pass after each epoch.

    Parameters
    ----------
    pool : the training pool
    num_classes : C
    epochs : T
    record_at : shares of training after which outputs are kept, ascending, the last 1
    """

    def __init__(self, pool: Pool, num_classes: int, epochs: int, record_at: tuple[float, ...]) -> None:
        self.pool = pool
        self.epochs = epochs
        self.record_at = record_at
        self.recorded_epochs = [max(1, round(share * epochs)) for share in record_at]
        self.keeps_logits = len(record_at) * len(pool) * num_classes * 4 <= _MAX_LOGIT_BYTES
        self.labels = pool.labels.cpu().numpy()
        self._rows = (num_classes,) if self.keeps_logits else ()

    def observe(self, epoch: int, model: nn.Module, progress: Progress) -> None:
        """Record one epoch into ``progress.extra``, which checkpoints carry."""
        extra = progress.extra
        if not extra:
            extra["correct"] = torch.zeros(self.epochs, len(self.pool), dtype=torch.bool)
            extra["margins"] = torch.zeros(len(self.pool), dtype=torch.float64)
            extra["outputs"] = torch.zeros(len(self.record_at), len(self.pool), *self._rows, dtype=torch.float32)
        slots = [slot for slot, recorded in enumerate(self.recorded_epochs) if recorded == epoch]
        for where, features, logits in predict(model, self.pool):
            extra["margins"][where] += measure_margins(logits, self.pool.labels[where]).cpu()
            extra["correct"][epoch - 1, where] = (logits.argmax(dim=1) == self.pool.labels[where]).cpu()
            for slot in slots:
                extra["outputs"][slot, where] = self._reduce(logits, where)
            if epoch == self.epochs:
                if "features" not in extra:
                    extra["features"] = torch.zeros(len(self.pool), features.shape[1], dtype=torch.float32)
                extra["features"][where] = features.cpu()
        progress.forward_visits += len(self.pool)

    def _reduce(self, logits: torch.Tensor, where: slice) -> torch.Tensor:
        if self.keeps_logits:
            return logits.cpu()
        return torch.from_numpy(error_norms(logits.cpu().numpy(), self.labels[where]).astype(np.float32))

    def signals(self, progress: Progress) -> Signals:
        """Return what was recorded."""
        extra = {name: tensor.numpy() for name, tensor in progress.extra.items()}
        return Signals(
            labels=self.labels,
            features=extra["features"],
            correct=extra["correct"],
            aum=extra["margins"] / self.epochs,
            recorded_at=np.array(self.recorded_epochs) / self.epochs,
            **{"logits" if self.keeps_logits else "errors": extra["outputs"]},
        )


def measure_margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each label's probability minus the largest other one (B,), in float64."""
    probabilities = logits.double().softmax(dim=1)
    own = probabilities.gather(1, labels[:, None])
    others = probabilities.scatter(1, labels[:, None], -1.0).amax(dim=1)
    return own[:, 0] - others


def main() -> None:
    """Train, record, write the signals and then their record."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("signals", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    recipe, manifest, device = Recipe.from_config(spec["recipe"]), read_json(data), choose_device()
    stream = (spec["role"], spec["dataset"], spec["seed"])
    seeds = {"init": derive_seed(*stream, "init", spec["model_name"]), "streams": list(stream)}
    with isolated_torch_rng(seeds["init"]):
        model = build_model(spec["model"], recipe.stem, tuple(spec["input_shape"]), spec["num_classes"])
    pool = open_pool(open_split(data.parent, "pool"), manifest["mean"], manifest["std"], device)
    recorder = Recorder(pool, spec["num_classes"], recipe.epochs, recipe.record_at)
    key = digest_value({"spec": spec, "data": manifest["splits"]["pool"]})
    checkpoint = Checkpoint(Path(spec["state"]), key)
    progress = train_model(
        model.to(device, memory_format=torch.channels_last),
        pool,
        np.arange(len(pool)),
        recipe,
        regime="equal_epochs",
        stream=stream,
        on_epoch_end=recorder.observe,
        checkpoint=checkpoint,
    )
    recorder.signals(progress).save(arguments.signals)
    write_record(
        arguments.record,
        {
            "status": "ok",
            "key": key,
            "seeds": seeds,
            "recipe": spec["recipe"],
            "context": {"mode": "eval", "images": "clean", "checkpoint": "last", "outputs_at_epochs": recorder.recorded_epochs},
            "training": {
                "epochs": progress.epoch,
                "steps": progress.step,
                "sample_visits": progress.sample_visits,
                "forward_visits": progress.forward_visits,
                "wall_s": progress.wall_s,
                "final_loss": progress.final_loss,
                "peak_memory_mb": read_peak_memory_mb(),
            },
            "provenance": describe_provenance(spec["code"], name_device(device), started),
        },
    )
    checkpoint.remove()


if __name__ == "__main__":
    run_stage(main)
