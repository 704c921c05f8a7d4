"""Embed a pool with an encoder that never sees labels: SimCLR trained on the pool's images, or a pretrained timm model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from selectbench.costs.visits import FORWARD_SHARE, sum_seconds
from selectbench.planning.entries import AnyModel, EncoderEntry
from selectbench.planning.stage import CollectedWork, Inputs, Network, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import DataSpec, DeviceSpec, EncoderSpec, specify_data
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.stages._specs import ModelSpec
    from selectbench.training.pools import Pool

_VIEWS = 2  # views of each sample that SimCLR contrasts
_FLOAT = 4  # bytes


class Spec(DataSpec, DeviceSpec, EncoderSpec):
    """Which encoder embeds which pool.

    Parameters
    ----------
    model_name, model : id and entry of the network that SimCLR trains, or None
    seed : of the run
    state : file of the checkpoint from which an interrupted training continues
    code : fingerprint of the code
    """

    model_name: str | None
    model: AnyModel | None
    seed: int
    state: str
    code: str


@dataclass(frozen=True)
class EmbedSamples(Stage):
    """The embedding of a pool of images by the encoder that the scale declares for it."""

    dataset: str
    seed: str

    name = "embed_samples"
    reads = ("data",)
    writes = {
        "signals": "{results}/encoders/{dataset}/seed-{seed}.npz",
        "record": "{results}/encoders/{dataset}/seed-{seed}.json",
    }
    log = "{results}/logs/encoders/{dataset}/seed-{seed}.log"
    computes = threaded = True

    def _find_encoder(self, plan: "Plan") -> tuple[str, EncoderEntry]:
        name = plan.config.scale["encoders"][plan.config.base_of(self.dataset)]
        return name, plan.config.encoders[name]

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the encoder and the network that it trains."""
        name, entry = self._find_encoder(plan)
        model = entry.get("model")
        return {
            **specify_data(plan, self.dataset),
            "gpu": self.count_gpus(plan),
            "encoder_name": name,
            "encoder": entry,
            "model_name": model,
            "model": None if model is None else plan.config.models[model],
            "seed": int(self.seed),
            "state": f"{plan.folder}/state/encoders/{self.dataset}/seed-{self.seed}.pt",
            "code": fingerprint_stage(self.name),
        }

    def count_visits(self, plan: "Plan") -> Visits | None:
        """Count the views of every sample in every epoch, and the embedding pass; None for a pretrained encoder."""
        _, encoder = self._find_encoder(plan)
        if encoder["kind"] != "simclr":
            return None
        passes = _VIEWS * encoder["epochs"] + FORWARD_SHARE
        network = Network(encoder["model"], encoder["stem"], self.dataset)
        return Visits(network, passes * plan.config.datasets[self.dataset]["pool_size"])

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int | None:
        """Count the embedding of every sample."""
        visits = self.count_visits(plan)
        return visits and _FLOAT * size_network(visits.network).width * plan.config.datasets[self.dataset]["pool_size"]

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the training and of the embedding pass."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the embeddings."""
        return collected.find_recording("encoder", self.dataset, seed=self.seed)


def main() -> None:
    """Compute the embeddings and write them, then their record."""
    import torch

    from selectbench.stages._training import open_prepared
    from selectbench.training.devices import choose_device, describe_device

    arguments = parse_arguments(__doc__, EmbedSamples.reads, EmbedSamples.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device = choose_device(spec["gpu"])
    pool = open_prepared(data, "pool", device)
    key = digest_value({"spec": spec, "data": read_sealed(data)["splits"]["pool"]})
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
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
            **fields,
        },
    )
    Path(spec["state"]).unlink(missing_ok=True)


def train_and_embed(spec: Spec, pool: "Pool", stream: tuple[object, ...], key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Train SimCLR on the pool and return its embeddings (N, d), and seeds and costs for the record."""
    from selectbench.stages._training import build_from_spec
    from selectbench.training.encoders import SimCLR, SimCLRRecipe, contrastive_loss
    from selectbench.training.engine import Checkpoint, predict, train_model
    from selectbench.training.epochs import visit_subset

    recipe = SimCLRRecipe.from_config(spec["encoder"])
    encoder, seeds = build_from_spec(cast("ModelSpec", spec), recipe.stem, stream, pool.device)
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
        "sample_visits": _VIEWS * progress.sample_visits,
        "forward_visits": len(pool),
    }
    return embeddings, {"seeds": seeds, "costs": [cost], "final_loss": progress.final_loss}


def load_and_embed(spec: Spec, pool: "Pool", stream: tuple[object, ...], key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the embeddings (N, d) of a pretrained model, and seeds (none, as nothing is random) and costs for the record."""
    from selectbench.training.encoders import embed_pretrained

    clock = time.perf_counter()
    embeddings = embed_pretrained(pool, spec["encoder"]["name"], spec["encoder"]["weights"])
    cost = {"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": 0, "forward_visits": len(pool)}
    return embeddings, {"seeds": {}, "costs": [cost]}


if __name__ == "__main__":
    run_stage(main)
