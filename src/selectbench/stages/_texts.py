"""What the stages for texts share: opening splits, and building and training language models seeded by the axes of the run."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from selectbench.data.texts import open_texts
from selectbench.llm.encoder import name_matches
from selectbench.llm.files import digest_model
from selectbench.llm.models import build_language_model, load_trainable, trainable_state
from selectbench.llm.pools import TextPool, open_text_pool
from selectbench.records.files import digest_value, read_arrays
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.stages._specs import TrainingSpec
from selectbench.stages._targets import Family
from selectbench.stages._training import Seeds
from selectbench.training.devices import choose_device
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.evaluation import measure_test
from selectbench.training.pools import SamplePool
from selectbench.training.recipes import Recipe

if TYPE_CHECKING:
    from selectbench.records.rows import Outcome

LENGTHS = "lengths"  # in tokens, of the pool's texts; stored with the embeddings of all splits


def make_family(spec: TrainingSpec, data: Path, embeddings: Path | None) -> Family:
    """Return the family of the language models that a specification describes.

    Parameters
    ----------
    spec : specification with the data set, the model and the number of threads
    data : manifest of the prepared data set
    embeddings : file with the embeddings of all its splits, for a head on frozen embeddings, or None
    """
    torch.set_num_threads(spec["threads"])
    device, entry = choose_device(spec["gpu"]), spec["model"]
    arrays = {} if embeddings is None else read_arrays(embeddings)
    embedded = None if embeddings is None else read_record(find_maker(embeddings))
    width = arrays["pool"].shape[1] if arrays else None

    def open_split(name: str) -> TextPool:
        read = arrays.get(name_matches(name) if spec["task"] == "choice" else name)
        return open_text_pool(open_texts(data.parent, name), entry, read, spec["class_names"], device)

    def build(stream: tuple[object, ...]) -> tuple[nn.Module, Seeds]:
        init = derive_seed(*stream, "init", spec["model_name"])
        with isolated_torch_rng(init):
            model = build_language_model(entry, spec["num_classes"], width, spec["task"])
        return model.to(device), {"init": init, "streams": list(stream)}

    start = {"origin": embedded["context"]["encoder"], "sha256": embedded["key"]} if embedded else digest_model(entry)
    return Family(
        device=device,
        open_split=open_split,
        build=build,
        warm_start=lambda model: start,
        start=start,
        read_state=trainable_state,
        write_state=load_trainable,
        tokens=arrays[LENGTHS] if arrays else np.array(open_split("pool").count_tokens()),
        encode_s=embedded["wall_s"] / embedded["num"] if embedded else 0.0,
    )


class Trained(NamedTuple):
    """The result of training a model on samples of a pool.

    Parameters
    ----------
    cost : steps, sample visits, seconds, and tokens and examples of one epoch
    outcomes : split → what ``measure_test`` returns for it
    """

    cost: dict[str, float]
    outcomes: "dict[str, Outcome]"


def train_and_measure(
    family: Family, spec: TrainingSpec, ids: np.ndarray, stream: tuple[object, ...], pools: Mapping[str, SamplePool], state: Path
) -> Trained:
    """Train a model of the family on samples of a pool and measure it; without samples, measure it as initialised.

    Parameters
    ----------
    family, spec : what is trained, and with which recipe
    ids : (k,) ids of the samples
    stream : names of the random stream
    pools : ``pool`` and the splits to measure, by name
    state : file of the checkpoint from which an interrupted training continues
    """
    clock, recipe, pool = time.perf_counter(), Recipe.from_config(spec["recipe"]), pools["pool"]
    model, _ = family.build(stream)
    cost: dict[str, float] = {"steps": 0, "sample_visits": 0}
    if len(ids):
        checkpoint = Checkpoint(state, digest_value({"spec": spec, "ids": ids.tolist(), "stream": list(stream)}))
        progress = train_model(
            model,
            pool,
            visit_subset(ids, len(pool), recipe, "equal_epochs"),
            recipe,
            stream=stream,
            batch_loss=pool.batch_loss(recipe, stream),
            on_epoch_end=lambda epoch, model, progress: None,
            checkpoint=checkpoint,
        )
        checkpoint.remove()
        cost = {"steps": progress.step, "sample_visits": progress.sample_visits}
    measured = {name: measure_test(model, split) for name, split in pools.items() if name != "pool"}
    tokens = 0 if family.tokens is None else int(family.tokens[ids].sum())
    size = {"examples": len(ids), "tokens": tokens}
    return Trained({**cost, **size, "wall_s": time.perf_counter() - clock}, measured)
