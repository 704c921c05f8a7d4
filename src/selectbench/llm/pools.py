"""Pools of texts on a device, as the training engine and evaluation see them: one class for each kind of language model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from selectbench.data.texts import TextSplit
from selectbench.errors import DataError
from selectbench.llm.files import load_once
from selectbench.llm.models import TokenBatch, fit_answer, pad_answers
from selectbench.training.pools import BatchLoss, SampleLosses, SampleOutput
from selectbench.training.recipes import Recipe

_SEQUENCES = 32  # at a time where nothing is learned


class TextPool(ABC):
    """A split of texts; stands where the engine takes a ``Pool``.

    Parameters
    ----------
    split : texts, labels and options
    device : where batches are made
    """

    classes = None  # test sets of texts have all classes
    corruptions: tuple[str, ...] = ()

    def __init__(self, split: TextSplit, device: torch.device) -> None:
        self.split = split
        self.device = device
        self.labels = torch.from_numpy(np.array(split.labels)).to(device)

    def __len__(self) -> int:
        return len(self.split)

    @abstractmethod
    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's features (B, d) and logits (B, C)."""

    @abstractmethod
    def count_tokens(self) -> list[int]:
        """Return the model's tokens of every text, before any cut."""

    def batch_loss(self, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss:
        """Return the mean loss of a batch; nothing about texts is drawn, so ``stream`` names no draw."""
        losses = self.sample_losses(recipe, stream)
        return lambda model, positions, epoch: losses(model, positions, epoch).losses.mean()

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return what a model says of every sample of a batch, with the cross-entropy of its logits as loss."""
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            features, logits = self.forward(model, positions)
            return SampleOutput(criterion(logits.float(), self.labels[self.locate(positions)]), features.float(), logits.float())

        return sample_losses

    def expect(self, batches: Sequence[np.ndarray]) -> None:  # noqa: B027  (texts are in memory)
        """Do nothing ahead: texts are in memory."""

    def locate(self, positions: np.ndarray) -> torch.Tensor:
        """Return positions (B,) on the device."""
        return torch.from_numpy(positions).to(self.device, non_blocking=True)


class EmbeddedPool(TextPool):
    """Texts by their frozen embeddings (N, d), or questions by the matches (N, O, d) of their options, for heads."""

    def __init__(self, split: TextSplit, device: torch.device, embeddings: np.ndarray) -> None:
        super().__init__(split, device)
        if len(embeddings) != len(split):
            raise DataError(f"{len(embeddings):,} embeddings do not fit {len(split):,} texts; delete them and run again")
        self.embeddings = torch.from_numpy(np.array(embeddings)).to(device)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head's features and logits."""
        return model(self.embeddings[self.locate(positions)])

    def count_tokens(self) -> list[int]:
        """Return nothing: a head has no tokens, its encoder has.

        Raises
        ------
        DataError
            Always.
        """
        raise DataError("a head on frozen embeddings counts no tokens; its encoder does")


class TokenPool(TextPool):
    """Texts as tokens, for fine-tuned encoders; questions are read with their options."""

    def __init__(self, split: TextSplit, device: torch.device, entry: Mapping) -> None:
        from transformers import AutoTokenizer

        super().__init__(split, device)
        self.texts = split.prompts()
        self.max_length = entry["max_length"]
        self.tokeniser = load_once(AutoTokenizer, entry)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean states and logits, in few sequences at a time where nothing is learned."""
        parts = [model(self.make_batch(part)) for part in cut_positions(positions, model.training)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)

    def make_batch(self, positions: np.ndarray) -> TokenBatch:
        """Return the tokens of some texts, cut at ``max_length``."""
        texts = [self.texts[position] for position in positions]
        found = self.tokeniser(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt").to(self.device)
        return TokenBatch(found["input_ids"], found["attention_mask"])

    def count_tokens(self) -> list[int]:
        """Return the tokens of every text, special ones included."""
        return [len(ids) for ids in self.tokeniser(self.texts, truncation=False, verbose=False)["input_ids"]]


class OptionPool(TextPool):
    """Prompts with options, for causal models: the options of a question, or the names of the classes.

    A model learns the right option's tokens after the prompt, and predicts the option whose tokens are likeliest, as a mean a token.
    """

    def __init__(self, split: TextSplit, device: torch.device, entry: Mapping, class_names: Sequence[str] | None) -> None:
        from transformers import AutoTokenizer

        super().__init__(split, device)
        self.max_length = entry["max_length"]
        self.tokeniser = load_once(AutoTokenizer, entry)
        self.options = split.options or [list(class_names)] * len(split)
        self.num_options = max(map(len, self.options))

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features of the options' mean and their mean log-likelihoods (B, C), −∞ where a question has fewer."""
        features, logits = [], []
        for part in cut_positions(positions, False, -(-_SEQUENCES // self.num_options)):
            batch = self.make_batch(
                [(row, option) for row, position in enumerate(part) for option in range(len(self.options[position]))], part
            )
            found, scores, _ = model(batch)
            table = torch.full((len(part), self.num_options), -torch.inf, device=self.device)
            table[batch.rows, batch.columns] = scores
            sums = torch.zeros(len(part), found.shape[1], device=self.device).index_add_(0, batch.rows, found.float())
            features.append(sums / torch.bincount(batch.rows, minlength=len(part))[:, None])
            logits.append(table)
        return torch.cat(features), torch.cat(logits)

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return the mean negative log-likelihood of each right option's tokens, with the uncertainty of their predictions."""

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            right = [(row, int(self.split.labels[position])) for row, position in enumerate(positions)]
            features, scores, uncertainty = model(self.make_batch(right, positions))
            return SampleOutput(-scores, features.float(), None, uncertainty.clamp(0.0, 1.0))

        return sample_losses

    def make_batch(self, wanted: Sequence[tuple[int, int]], positions: np.ndarray) -> TokenBatch:
        """Return sequences of prompt and option.

        Parameters
        ----------
        wanted : (row of ``positions``, option) of each sequence
        positions : of the samples
        """
        sequences = [self.spell(int(positions[row]), option) for row, option in wanted]
        rows, columns = (torch.tensor(values, device=self.device) for values in zip(*wanted, strict=True))
        return TokenBatch(*pad_answers(sequences, self.device), rows, columns)

    def spell(self, position: int, option: int) -> tuple[list[int], list[int]]:
        """Return the tokens of the prompt and of an option; a long prompt loses its beginning."""
        answer = self.tokeniser(f" {self.options[position][option]}", add_special_tokens=False)["input_ids"]
        prompt = self.tokeniser(f"{self.split.texts[position]}\nAnswer:", verbose=False)["input_ids"]
        return fit_answer(prompt, answer, self.max_length)

    def count_tokens(self) -> list[int]:
        """Return the tokens of every prompt with its right option."""
        return [sum(map(len, self.spell(position, int(self.split.labels[position])))) for position in range(len(self))]


def cut_positions(positions: np.ndarray, whole: bool, size: int = _SEQUENCES) -> Iterator[np.ndarray]:
    """Yield all positions at once, or few at a time."""
    step = len(positions) if whole else size
    for start in range(0, len(positions), step):
        yield positions[start : start + step]


def open_text_pool(
    split: TextSplit, entry: Mapping, embeddings: np.ndarray | None, class_names: Sequence[str] | None, device: torch.device
) -> TextPool:
    """Return a split as a language model reads it.

    Parameters
    ----------
    split : texts, labels and options
    entry : of the model, in ``config/language_models.yaml``
    embeddings : (N, d) of the split, or matches (N, O, d), for a head
    class_names : of a classification, for a causal model
    device : where batches are made

    Raises
    ------
    DataError
        A head has no embeddings, or they do not fit the texts.
    """
    if entry["kind"] == "head":
        if embeddings is None:
            raise DataError("a head on frozen embeddings needs embeddings")
        return EmbeddedPool(split, device, embeddings)
    if entry["kind"] == "classifier":
        return TokenPool(split, device, entry)
    return OptionPool(split, device, entry, class_names)
