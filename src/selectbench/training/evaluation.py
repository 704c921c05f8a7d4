"""Evaluation on test sets: accuracy and loss, also restricted to some classes and compared with matching clean images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import SEVERITIES
from selectbench.records.rows import Outcome
from selectbench.training.engine import predict
from selectbench.training.pools import SamplePool


@dataclass(frozen=True)
class Scores:
    """A model's result on each sample of a test set.

    Parameters
    ----------
    right : (N,) bool
    losses : (N,) float64
    counted : (N,) bool; the other samples are unreadable or belong to excluded classes
    unreadable : number of unreadable samples
    """

    right: np.ndarray
    losses: np.ndarray
    counted: np.ndarray
    unreadable: int

    def accuracy(self, where: slice | np.ndarray = slice(None)) -> float | None:
        """Return the accuracy in percent of the counted samples in ``where``; None if there are none."""
        counted = self.counted[where]
        return 100.0 * int(self.right[where][counted].sum()) / int(counted.sum()) if counted.any() else None

    @property
    def num(self) -> int:
        """Number of counted samples."""
        return int(self.counted.sum())


def measure_test(model: nn.Module, pool: SamplePool) -> Outcome:
    """Return accuracy in percent, mean cross-entropy, number of samples, and number of unreadable images left out.

    If the pool has ``classes``, logits are restricted to these; if it has ``corruptions``, ``by_corruption`` lists the accuracies of each
    at severities 1 to 5.
    """
    (scores,) = score_pool(model, pool, [pool.classes])
    return summarise(scores, pool)


def measure_tests(model: nn.Module, pools: Mapping[str, SamplePool], id_test_set: str, test_sets: Collection[str]) -> dict[str, Outcome]:
    """Return the result of ``measure_test`` for several test sets, in one pass over each.

    Shifted test sets also get ``clean_top1`` and ``clean_num``: the accuracy on those in-distribution test samples that belong to its
    classes, with logits restricted to these, and their number. ``clean_top1`` is None if there are no such samples.

    Parameters
    ----------
    pools : at least the requested test sets and the in-distribution one
    id_test_set : name of the in-distribution test set
    test_sets : names of the requested test sets
    """
    shifted = [name for name in test_sets if name != id_test_set]
    plain, *clean = score_pool(model, pools[id_test_set], [None, *(pools[name].classes for name in shifted)])
    results = {id_test_set: summarise(plain, pools[id_test_set])} if id_test_set in test_sets else {}
    for name, matching in zip(shifted, clean, strict=True):
        results[name] = {**measure_test(model, pools[name]), "clean_top1": matching.accuracy(), "clean_num": matching.num}
    return results


def score_pool(model: nn.Module, pool: SamplePool, restrictions: Sequence[torch.Tensor | None]) -> list[Scores]:
    """Return the scores on a test set in one pass over it, once per restriction to classes (None: no restriction)."""
    parts: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in restrictions]
    for where, _, logits in predict(model, pool):
        for classes, part in zip(restrictions, parts, strict=True):
            right, losses = score_logits(logits, pool.labels[where], classes)
            part.append((right, losses.double()))
    unreadable = pool.split.find_unreadable(np.arange(len(pool)))
    readable = np.ones(len(pool), dtype=bool)
    readable[unreadable] = False
    scores = []
    for classes, part in zip(restrictions, parts, strict=True):
        all_right, all_losses = (torch.cat(column).cpu().numpy() for column in zip(*part, strict=True))
        scores.append(Scores(all_right, all_losses, readable & find_members(pool.labels, classes).cpu().numpy(), len(unreadable)))
    return scores


def score_logits(logits: torch.Tensor, labels: torch.Tensor, classes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which predictions are correct, and the losses: −log of the total probability of all classes that count as correct.

    Parameters
    ----------
    logits : (B, C)
    labels : (B,), or (B, K) padded with −1 if several classes count as correct
    classes : (M,) classes to which logits are first restricted; labels outside have infinite loss

    Returns
    -------
    right : (B,) bool
    losses : (B,)
    """
    if classes is not None:
        outside = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        outside[classes] = False
        logits = logits.masked_fill(outside, -torch.inf)
    labels = labels.view(len(labels), -1)
    right = (logits.argmax(dim=1, keepdim=True) == labels).any(dim=1)
    logarithms = logits.log_softmax(dim=1).gather(1, labels.clamp(min=0))
    return right, -logarithms.masked_fill(labels < 0, -torch.inf).logsumexp(dim=1)


def find_members(labels: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """Return which samples (N,) have a label among the classes; all of them if there is no restriction."""
    if classes is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return torch.isin(labels.view(len(labels), -1), classes).any(dim=1)


def summarise(scores: Scores, pool: SamplePool) -> Outcome:
    """Return the record of a test set."""
    loss = float(scores.losses[scores.counted].mean())
    summary: Outcome = {"top1": scores.accuracy(), "loss": loss, "num": scores.num, "unreadable": scores.unreadable}
    if not pool.corruptions:
        return summary
    blocks = np.arange(len(pool)).reshape(len(pool.corruptions), SEVERITIES, -1)
    by_corruption = {name: [scores.accuracy(images) for images in block] for name, block in zip(pool.corruptions, blocks, strict=True)}
    return {**summary, "by_corruption": by_corruption}
