"""Embed a pool by an encoder that never sees a label: SimCLR trained on the pool's images, or a pretrained model of timm."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from selectbench.records.files import digest_value, read_json
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._training import build_from_spec, open_prepared
from selectbench.training.encoders import SimCLR, SimCLRRecipe, contrastive_loss, embed_pretrained
from selectbench.training.engine import Checkpoint, predict, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.pools import Pool, choose_device, name_device


def main() -> None:
    """Make the embeddings, write them and then their record."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("signals", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device = choose_device()
    pool = open_prepared(data, "pool", device)
    key = digest_value({"spec": spec, "data": read_json(data)["splits"]["pool"]})
    stream = ("encoder", spec["dataset"], spec["seed"])
    embed = {"simclr": train_and_embed, "pretrained": load_and_embed}[spec["encoder"]["kind"]]
    embeddings, fields = embed(spec, pool, stream, key)
    Signals(labels=pool.labels.cpu().numpy(), embeddings=embeddings).save(arguments.signals)
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "encoder",
            "key": key,
            "context": {"mode": "eval", "images": "clean", "encoder": spec["encoder_name"], **spec["encoder"]},
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], name_device(device), started),
            **fields,
        },
    )
    Path(spec["state"]).unlink(missing_ok=True)


def train_and_embed(spec: dict, pool: Pool, stream: tuple[object, ...], key: str) -> tuple[np.ndarray, dict]:
    """Train SimCLR on the pool and return its embeddings (N, d) and the record's seeds and costs."""
    recipe = SimCLRRecipe.from_config(spec["encoder"])
    encoder, seeds = build_from_spec(spec, recipe.stem, stream, pool.device)
    with isolated_torch_rng(derive_seed(*stream, "init", "projection")):
        model = SimCLR(encoder, recipe.projection).to(pool.device)
    progress = train_model(
        model,
        pool,
        visit_subset(np.arange(len(pool)), len(pool), recipe, "equal_epochs"),
        recipe,
        stream=stream,
        batch_loss=contrastive_loss(pool, recipe, stream),
        on_epoch_end=lambda epoch, model, progress: None,
        checkpoint=Checkpoint(Path(spec["state"]), key),
    )
    clock = time.perf_counter()
    embeddings = np.concatenate([features.cpu().numpy() for _, features, _ in predict(model.encoder, pool)])
    cost = {
        "share": 0.0,
        "wall_s": progress.wall_s + time.perf_counter() - clock,
        "sample_visits": 2 * progress.sample_visits,  # two views of every sample
        "forward_visits": len(pool),
    }
    return embeddings, {"seeds": seeds, "costs": [cost], "final_loss": progress.final_loss}


def load_and_embed(spec: dict, pool: Pool, stream: tuple[object, ...], key: str) -> tuple[np.ndarray, dict]:
    """Return the embeddings (N, d) of a pretrained model and the record's seeds and costs; nothing is random."""
    clock = time.perf_counter()
    embeddings = embed_pretrained(pool, spec["encoder"]["name"], spec["encoder"]["weights"])
    cost = {"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": 0, "forward_visits": len(pool)}
    return embeddings, {"seeds": {}, "costs": [cost]}


if __name__ == "__main__":
    run_stage(main)
