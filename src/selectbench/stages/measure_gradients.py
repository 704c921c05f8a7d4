"""Measure per-sample gradients at the weights a proxy run kept: norms over all parameters, or alignments with the mean gradient."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import torch

from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._training import build_from_spec, open_prepared, read_weights
from selectbench.training.gradients import Batches, measure_alignments, measure_norms
from selectbench.training.pools import Pool, choose_device, name_device
from selectbench.training.recipes import Recipe
from selectbench.training.recording import list_epochs

_BATCH = 256

# signal → (measure, recipe key of its checkpoints, visits with a backward pass and forward-only visits a sample)
_MEASURES: dict[str, tuple[Callable[[torch.nn.Module, Batches], torch.Tensor], str, int, int]] = {
    "gradient_norms": (measure_norms, "record_at", 1, 0),
    "alignments": (measure_alignments, "align_at", 1, 2),
}


def main() -> None:
    """Measure one signal at every checkpoint it is declared for, write it and then its record."""
    arguments = parse_arguments(__doc__, inputs=("data", "weights"), outputs=("signals", "record"))
    spec, (data,), (weights,) = arguments.spec, arguments.data, arguments.weights
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    recipe, device, proxy = Recipe.from_config(spec["recipe"]), choose_device(), read_record(find_maker(weights))
    measure, shares, backward_visits, forward_visits = _MEASURES[spec["signal"]]
    epochs = list_epochs(getattr(recipe, shares), recipe.epochs)
    kept = {entry["epoch"]: entry for entry in read_weights(weights, device)}
    pool = open_prepared(data, "pool", device)
    model, _ = build_from_spec(spec, recipe.stem, (spec["role"],), device)
    rows, costs = [], []
    for epoch in epochs:
        clock = time.perf_counter()
        model.load_state_dict(kept[epoch]["model"])
        rows.append(measure(model.eval(), lambda: read_clean(pool)).numpy())
        costs.append(
            {
                "share": epoch / recipe.epochs,
                "wall_s": time.perf_counter() - clock,
                "sample_visits": backward_visits * len(pool),
                "forward_visits": forward_visits * len(pool),
            }
        )
    axis = {
        "gradient_norms": {"recorded_at": np.array(epochs) / recipe.epochs},
        "alignments": {"step_sizes": np.array([kept[epoch]["step_size"] for epoch in epochs])},
    }
    Signals(labels=pool.labels.cpu().numpy(), **{spec["signal"]: np.stack(rows)}, **axis[spec["signal"]]).save(arguments.signals)
    write_made(
        arguments,
        {
            "status": "ok",
            "source": spec["signal"],
            "key": proxy["key"],
            "seeds": proxy["seeds"],
            "context": {"mode": "eval", "images": "clean", "at_epochs": epochs},
            "costs": costs,
            "proxy": {name: proxy[name] for name in ("source", "key", "seeds", "context", "training", "peak_memory_mb")},
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], name_device(device), started),
        },
    )


def read_clean(pool: Pool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield a pool's clean, normalised images and their labels in canonical order."""
    for start in range(0, len(pool), _BATCH):
        positions = np.arange(start, min(start + _BATCH, len(pool)))
        yield pool.normalise(pool.load(positions)), pool.labels[start : start + _BATCH]


if __name__ == "__main__":
    run_stage(main)
