"""Pools of texts on a device for training and evaluation, one class per kind of language model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from selectbench.data.texts import TextSplit
from selectbench.errors import DataError
from selectbench.llm.files import load_once
from selectbench.llm.models import AnswerBatch, Causal, OptionBatch, TokenBatch, pad_answers, pad_tokens
from selectbench.records.rows import Entry
from selectbench.training.pools import BatchLoss, SampleLosses, SampleOutput
from selectbench.training.recipes import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SEQUENCES = 32  # at a time in evaluation
_GROUP = 8  # of similar length at a time on a CPU, where small groups cost nothing and padding does


class TextPool(ABC):
    """A split of texts, as a ``SamplePool`` for training and evaluation.

    Parameters
    ----------
    split : texts, labels and options
    device : where batches are made
    """

    classes: torch.Tensor | None = None  # test sets of texts have all classes
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
        """Return the number of tokens of every text for the model, before truncation."""

    def batch_loss(self, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss:
        """Return the mean loss of a batch; texts are not augmented, so ``stream`` is not used."""
        losses = self.sample_losses(recipe, stream)
        return lambda model, positions, epoch: losses(model, positions, epoch).losses.mean()

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return a model's outputs per sample of a batch, with the cross-entropy of its logits as loss."""
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            features, logits = self.forward(model, positions)
            return SampleOutput(criterion(logits.float(), self.labels[self.locate(positions)]), features.float(), logits.float())

        return sample_losses

    def expect(self, batches: Sequence[np.ndarray]) -> None:  # noqa: B027  (texts are in memory)
        """Do nothing: texts are in memory."""

    def group(self, lengths: np.ndarray, most: int) -> list[np.ndarray]:
        """Return the places (B,) of sequences of some lengths in groups: of at most ``most`` on a GPU, of few on a CPU."""
        return group_lengths(lengths, _GROUP if self.device.type == "cpu" else most)

    def locate(self, positions: np.ndarray) -> torch.Tensor:
        """Return positions (B,) on the device."""
        return torch.from_numpy(positions).to(self.device, non_blocking=True)


class EmbeddedPool(TextPool):
    """Texts as frozen embeddings (N, d), or questions as matches (N, O, d) of their options, for heads."""

    def __init__(self, split: TextSplit, device: torch.device, embeddings: np.ndarray) -> None:
        super().__init__(split, device)
        if len(embeddings) != len(split):
            raise DataError(f"{len(embeddings):,} embeddings do not match {len(split):,} texts; delete them and run again")
        self.embeddings = torch.from_numpy(np.array(embeddings)).to(device)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head's features and logits."""
        outputs: tuple[torch.Tensor, torch.Tensor] = model(self.embeddings[self.locate(positions)])
        return outputs

    def count_tokens(self) -> list[int]:
        """Raise: a head has no tokens, only its encoder does.

        Raises
        ------
        DataError
            Always.
        """
        raise DataError("a head on frozen embeddings has no tokens; count those of its encoder")


class TokenPool(TextPool):
    """Texts as tokens, for fine-tuned encoders; questions include their options."""

    def __init__(self, split: TextSplit, device: torch.device, entry: Entry) -> None:
        from transformers import AutoTokenizer

        super().__init__(split, device)
        self.texts = split.prompts()
        self.max_length: int = entry["max_length"]
        self.tokeniser: PreTrainedTokenizerBase = load_once(AutoTokenizer, entry)

    @cached_property
    def tokens(self) -> list[list[int]]:
        """The tokens of every text, truncated at ``max_length``."""
        found: list[list[int]] = self.tokeniser(self.texts, truncation=True, max_length=self.max_length)["input_ids"]
        return found

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens (N,) of every text, after truncation."""
        return np.array(list(map(len, self.tokens)), dtype=np.int64)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean states and logits; sequences of similar length are processed together, so that little is padded."""
        places = self.group(self.lengths[positions], len(positions) if model.training else _SEQUENCES)
        features, logits = zip(*(model(self.make_batch(positions[part])) for part in places), strict=True)
        return restore_order(features, places), restore_order(logits, places)

    def make_batch(self, positions: np.ndarray) -> TokenBatch:
        """Return the tokens of some texts, truncated at ``max_length``."""
        found = self.tokeniser.pad({"input_ids": [self.tokens[position] for position in positions]}, return_tensors="pt").to(self.device)
        return TokenBatch(found["input_ids"], found["attention_mask"])

    def count_tokens(self) -> list[int]:
        """Return the number of tokens of every text, including special tokens."""
        return [len(ids) for ids in self.tokeniser(self.texts, truncation=False, verbose=False)["input_ids"]]


class Question(NamedTuple):
    """The tokens of a prompt, of its options, and of the correct one.

    Parameters
    ----------
    prompt : its tokens
    options : those of every option
    answer : those of the correct one
    """

    prompt: list[int]
    options: list[list[int]]
    answer: list[int]


class OptionPool(TextPool):
    """Prompts with options, for causal models: the options of a question, or the names of the classes.

    The model learns the correct option's tokens given the prompt, and predicts the option with the highest mean log-likelihood per token.
    """

    def __init__(self, split: TextSplit, device: torch.device, entry: Entry, class_names: Sequence[str] | None) -> None:
        from transformers import AutoTokenizer

        super().__init__(split, device)
        self.max_length: int = entry["max_length"]
        self.tokeniser: PreTrainedTokenizerBase = load_once(AutoTokenizer, entry)
        if split.options is None and class_names is None:
            raise DataError("a causal model needs the options of its questions, or the names of the classes")
        self.options = split.options or [list(class_names or ())] * len(split)
        self.num_options = max(map(len, self.options))

    @cached_property
    def prompts(self) -> list[list[int]]:
        """The tokens of every prompt, before truncation."""
        found: list[list[int]] = self.tokeniser([f"{text}\nAnswer:" for text in self.split.texts], verbose=False)["input_ids"]
        return found

    @cached_property
    def answers(self) -> dict[str, list[int]]:
        """The tokens of every option by its text."""
        options = sorted({option for found in self.options for option in found})
        tokens = self.tokeniser([f" {option}" for option in options], add_special_tokens=False)["input_ids"]
        return dict(zip(options, tokens, strict=True))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens (N,) of every prompt with its correct option, after truncation."""
        return np.array(self.count_tokens(), dtype=np.int64)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features averaged over options, and mean log-likelihoods (B, C), −∞ for options that a question lacks."""
        features, logits = [], []
        places = self.group(self.lengths[positions], -(-_SEQUENCES // self.num_options))
        for part in (positions[place] for place in places):
            batch = self.batch_options(part)
            found, scores = cast("Causal", model).compare(batch)
            table = torch.full((len(part), self.num_options), -torch.inf, device=self.device)
            table[batch.rows, batch.columns] = scores
            sums = torch.zeros(len(part), found.shape[1], device=self.device).index_add_(0, batch.rows, found)
            features.append(sums / torch.bincount(batch.rows, minlength=len(part))[:, None])
            logits.append(table)
        return restore_order(features, places), restore_order(logits, places)

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return the mean negative log-likelihood of each correct option's tokens, and the uncertainty of their predictions."""

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            places = self.group(self.lengths[positions], len(positions))
            said = zip(*(model(self.batch_answers(positions[place])) for place in places), strict=True)
            features, scores, uncertainty = (restore_order(values, places) for values in said)
            return SampleOutput(-scores, features.float(), None, uncertainty.clamp(0.0, 1.0))

        return sample_losses

    def batch_answers(self, positions: np.ndarray) -> AnswerBatch:
        """Return the prompts of some samples, each with its correct option."""
        found = [self.spell(position) for position in positions.tolist()]
        return AnswerBatch(*pad_answers([(question.prompt, question.answer) for question in found], self.device))

    def batch_options(self, positions: np.ndarray) -> OptionBatch:
        """Return the prompts of some samples, and all their options."""
        found = [self.spell(position) for position in positions.tolist()]
        places = [(row, column) for row, question in enumerate(found) for column in range(len(question.options))]
        rows, columns = (torch.tensor(values, device=self.device) for values in zip(*places, strict=True))
        prompts = pad_tokens([question.prompt for question in found], self.device)
        return OptionBatch(*prompts, *pad_tokens([found[row].options[column] for row, column in places], self.device), rows, columns)

    def spell(self, position: int) -> Question:
        """Return the tokens of a sample; a long prompt is truncated at its beginning, so that its longest option fits."""
        options = [self.answers[option][: self.max_length - 1] for option in self.options[position]]
        prompt = self.prompts[position][-(self.max_length - max(map(len, options))) :]
        return Question(prompt, options, options[int(self.split.labels[position])])

    def count_tokens(self) -> list[int]:
        """Return the number of tokens of every prompt with its correct option, after truncation."""
        return [len(found.prompt) + len(found.answer) for found in map(self.spell, range(len(self)))]


def group_lengths(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the places (B,) of sequences in groups of at most ``size``, from the shortest to the longest."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def restore_order(parts: Sequence[torch.Tensor], places: Sequence[np.ndarray]) -> torch.Tensor:
    """Return the rows of groups as one tensor, in the order that the sequences had before ``group_lengths``."""
    rows = torch.cat(tuple(parts))
    return rows[torch.from_numpy(np.argsort(np.concatenate(places))).to(rows.device)]


def open_text_pool(
    split: TextSplit, entry: Entry, embeddings: np.ndarray | None, class_names: Sequence[str] | None, device: torch.device
) -> TextPool:
    """Return a split in the form that a language model reads.

    Parameters
    ----------
    split : texts, labels and options
    entry : the model's entry in ``config/language_models.yaml``
    embeddings : (N, d), or matches (N, O, d), of the split, for a head
    class_names : the names of the classes, for a causal model that classifies
    device : where batches are made

    Raises
    ------
    DataError
        A head has no embeddings, or they do not match the texts.
    """
    if entry["kind"] == "head":
        if embeddings is None:
            raise DataError("a head on frozen embeddings needs embeddings")
        return EmbeddedPool(split, device, embeddings)
    if entry["kind"] == "classifier":
        return TokenPool(split, device, entry)
    return OptionPool(split, device, entry, class_names)
