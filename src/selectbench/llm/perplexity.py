"""Perplexities of texts, under a causal model or a word trigram model fitted to the other texts, and rarities of words."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from selectbench.errors import DataError
from selectbench.llm.files import load_once, load_part
from selectbench.llm.models import fit_answer, pad_answers
from selectbench.records.rows import Entry
from selectbench.seeds import hash_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDS, DISCOUNT = 5, 0.75
_START, _END, _UNKNOWN = "<s>", "</s>", "<unk>"
_WORD = re.compile(r"\w+|[^\w\s]")


def measure_perplexities(
    entry: Entry, texts: Sequence[str], device: torch.device, batch_size: int = 8, prompts: Sequence[str] | None = None
) -> np.ndarray:
    """Return the perplexity (N,) of every text under a model of ``config/language_models.yaml``: exp of the mean negative log-likelihood.

    Texts start after the tokeniser's begin token, so that a single token has a perplexity too, and are truncated at ``max_length``
    tokens. Up to rounding, neither padding nor batch size changes a value. If there are prompts, texts continue them, and the tokens
    of prompts are not counted.

    Raises
    ------
    DataError
        A text has no tokens, or the model is not available.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokeniser: PreTrainedTokenizerBase = load_once(AutoTokenizer, entry)
    model: PreTrainedModel = load_part(AutoModelForCausalLM, entry, dtype=torch.float32).to(device).eval()
    return causal_perplexities(model, tokeniser, texts, entry["max_length"], device, batch_size, prompts)


def causal_perplexities(
    model: nn.Module,
    tokeniser: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    max_length: int,
    device: torch.device,
    batch_size: int,
    prompts: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the perplexities (N,) of texts under a loaded model; see ``measure_perplexities``."""
    first: int = tokeniser.bos_token_id if tokeniser.bos_token_id is not None else tokeniser.eos_token_id

    def spell(text: str) -> list[int]:
        ids: list[int] = tokeniser(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    prefixes = [[first]] * len(texts) if prompts is None else [[first, *spell(prompt)] for prompt in prompts]
    spelled = [fit_answer(prefix, spell(text), max_length) for prefix, text in zip(prefixes, texts, strict=True)]
    for number, (_, ids) in enumerate(spelled):
        if not ids:
            raise DataError(f"text {number} is empty; it has no perplexity")
    order = sorted(range(len(texts)), key=lambda number: sum(map(len, spelled[number])))
    perplexities = np.empty(len(texts))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        perplexities[rows] = _measure_batch(model, *pad_answers([spelled[row] for row in rows], device))
    return perplexities


@torch.no_grad()
def _measure_batch(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, asked: torch.Tensor) -> np.ndarray:
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
    counted = asked[:, 1:].double()
    return torch.exp((losses * counted).sum(dim=1) / counted.sum(dim=1)).cpu().numpy()


def split_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text in lower case."""
    return _WORD.findall(text.lower())


def measure_rarities(texts: Sequence[str]) -> np.ndarray:
    """Return the mean −log relative frequency (N,) over the words of every text; 0 for a text without words."""
    words = [split_words(text) for text in texts]
    counts = Counter(word for text in words for word in text)
    total = counts.total()
    rarity = {word: -math.log(count / total) for word, count in counts.items()}
    return np.array([sum(rarity[word] for word in text) / len(text) if text else 0.0 for text in words])


class KneserNey:
    """An interpolated Kneser–Ney trigram model of words (Chen and Goodman 1999, Section 2.7) with a single discount of ¾.

    Unigrams are interpolated with the uniform distribution over the vocabulary and one unknown word.

    Parameters
    ----------
    texts : the words of every text
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self.vocabulary = {word for text in texts for word in text} | {_END}
        trigrams = Counter(gram for text in texts for gram in list_trigrams(text))
        self.levels: list[defaultdict[tuple[str, ...], Counter[str]]] = [defaultdict(Counter) for _ in range(3)]  # by context length
        for (first, second, word), count in trigrams.items():
            self.levels[2][first, second][word] = count
        for _, second, word in trigrams:
            self.levels[1][(second,)][word] += 1
        for words in self.levels[1].values():
            for word in words:
                self.levels[0][()][word] += 1
        self.totals = [{context: words.total() for context, words in level.items()} for level in self.levels]

    def probability(self, word: str, context: tuple[str, ...]) -> float:
        """Return P(word | context); all words outside the vocabulary are the same unknown word.

        Parameters
        ----------
        word : in lower case, or the end-of-text mark
        context : up to two preceding words
        """
        value = 1.0 / (len(self.vocabulary) + 1)
        for length in range(len(context) + 1):
            before = context[len(context) - length :]
            total = self.totals[length].get(before)
            if total is None:
                continue
            words = self.levels[length][before]
            value = max(words.get(word, 0) - DISCOUNT, 0.0) / total + DISCOUNT * len(words) / total * value
        return value

    def perplexity(self, words: Sequence[str]) -> float:
        """Return the perplexity of a text, including its end."""
        grams = list_trigrams([word if word in self.vocabulary else _UNKNOWN for word in words])
        return math.exp(-sum(math.log(self.probability(word, (first, second))) for first, second, word in grams) / len(grams))


def list_trigrams(words: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the trigrams that end in each word of a text and in its end."""
    padded = [_START, _START, *words, _END]
    return list(zip(padded, padded[1:], padded[2:], strict=False))


def ngram_perplexities(texts: Sequence[str], seed: int, folds: int = FOLDS) -> np.ndarray:
    """Return the perplexity (N,) of every text under a trigram model fitted to the other folds; equal texts share a fold.

    Parameters
    ----------
    texts : N texts
    seed : for the assignment to folds
    folds : at least 2
    """
    words = [split_words(text) for text in texts]
    first = {text: index for index, text in reversed(list(enumerate(texts)))}
    groups = np.array([first[text] for text in texts])
    fold_of = (hash_ids(groups, seed) % np.uint64(folds)).astype(np.int64)
    perplexities = np.empty(len(texts))
    for fold in range(folds):
        model = KneserNey([text for text, place in zip(words, fold_of, strict=True) if place != fold])
        for index in np.flatnonzero(fold_of == fold):
            perplexities[index] = model.perplexity(words[index])
    return perplexities
