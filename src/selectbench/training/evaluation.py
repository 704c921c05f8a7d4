"""What a trained model is worth on test sets: accuracies, also among some of the classes and beside the matching clean ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import SEVERITIES
from selectbench.training.engine import predict
from selectbench.training.pools import Pool


@dataclass(frozen=True)
class Scores:
    """How a model did on each sample of a test set.

    Parameters
    ----------
    right : (N,) bool
    losses : (N,) float64
    counted : (N,) bool; the others could not be read or are of classes that are left out
    unreadable : how many could not be read
    """

    right: np.ndarray
    losses: np.ndarray
    counted: np.ndarray
    unreadable: int

    def accuracy(self, where: slice | np.ndarray = slice(None)) -> float | None:
        """Return the accuracy in percent of the counted samples there; None if there are none."""
        counted = self.counted[where]
        return 100.0 * int(self.right[where][counted].sum()) / int(counted.sum()) if counted.any() else None

    @property
    def num(self) -> int:
        """How many samples count."""
        return int(self.counted.sum())


def measure_test(model: nn.Module, pool: Pool) -> dict:
    """Return accuracy in percent, mean cross-entropy, size, and the number of images that were left out as unreadable.

    With a pool's ``classes``, logits are restricted to these; a pool's ``corruptions`` add ``by_corruption``, for each of them the
    accuracies at severities 1 to 5.
    """
    (scores,) = score_pool(model, pool, [pool.classes])
    return summarise(scores, pool)


def measure_tests(model: nn.Module, pools: Mapping[str, Pool], id_test_set: str, test_sets: Collection[str]) -> dict[str, dict]:
    """Return what ``measure_test`` says of several test sets, in one pass over each.

    To each shifted test set belong ``clean_top1`` and ``clean_num``: the accuracy on those samples of the test set without a shift
    that are of its classes, with logits restricted to these, and their number. ``clean_top1`` is None if there is no such sample.

    Parameters
    ----------
    pools : at least the test sets asked for and the one without a shift
    id_test_set : name of the test set without a shift
    test_sets : names of those asked for
    """
    shifted = [name for name in test_sets if name != id_test_set]
    plain, *clean = score_pool(model, pools[id_test_set], [None, *(pools[name].classes for name in shifted)])
    results = {id_test_set: summarise(plain, pools[id_test_set])} if id_test_set in test_sets else {}
    for name, matching in zip(shifted, clean, strict=True):
        results[name] = measure_test(model, pools[name]) | {"clean_top1": matching.accuracy(), "clean_num": matching.num}
    return results


def score_pool(model: nn.Module, pool: Pool, restrictions: Sequence[torch.Tensor | None]) -> list[Scores]:
    """Return the scores of a test set in one pass over it, once for each restriction to classes; None is no restriction."""
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
        right, losses = (torch.cat(column).cpu().numpy() for column in zip(*part, strict=True))
        scores.append(Scores(right, losses, readable & find_members(pool.labels, classes).cpu().numpy(), len(unreadable)))
    return scores


def score_logits(logits: torch.Tensor, labels: torch.Tensor, classes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which predictions are right and the loss of each: −log of the summed probability of the classes that count as right.

    Parameters
    ----------
    logits : (B, C)
    labels : (B,) or, if any of several classes is right, (B, K) filled up with −1
    classes : (M,) the classes that logits are restricted to before anything else; the loss of a label outside is infinite

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
    """Return which samples (N,) have a label among the classes; all have one if there is no restriction."""
    if classes is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return torch.isin(labels.view(len(labels), -1), classes).any(dim=1)


def summarise(scores: Scores, pool: Pool) -> dict:
    """Return the record of a test set."""
    loss = float(scores.losses[scores.counted].mean())
    summary = {"top1": scores.accuracy(), "loss": loss, "num": scores.num, "unreadable": scores.unreadable}
    if not pool.corruptions:
        return summary
    blocks = np.arange(len(pool)).reshape(len(pool.corruptions), SEVERITIES, -1)
    by_corruption = {name: [scores.accuracy(images) for images in block] for name, block in zip(pool.corruptions, blocks, strict=True)}
    return {**summary, "by_corruption": by_corruption}
