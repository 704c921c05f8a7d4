"""Sentence encoders: one vector per text, the masked mean of a transformer's last hidden states."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from selectbench.llm.files import load_once, load_part
from selectbench.records.rows import Entry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64


class SentenceEncoder:
    """A frozen encoder with its tokeniser.

    Parameters
    ----------
    entry : an entry of ``config/encoders.yaml`` of the kind ``sentence``
    device : where it runs
    """

    def __init__(self, entry: Entry, device: torch.device) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokeniser: PreTrainedTokenizerBase = load_once(AutoTokenizer, entry)
        self.model: PreTrainedModel = load_part(AutoModel, entry).to(device).eval()
        self.max_length: int = entry["max_length"]
        self.device = device

    def embed(self, texts: Sequence[str], batch_size: int = BATCH) -> np.ndarray:
        """Return unit-norm vectors (N, d) float32 in the order of the texts; texts are truncated at ``max_length`` tokens.

        Batches group texts of similar length to reduce padding; up to rounding, the batch size does not change the vectors.
        """
        order = np.argsort(self.count_tokens(texts), kind="stable")
        vectors = np.empty((len(texts), self.model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._embed_batch([texts[row] for row in rows])
        return vectors

    def embed_matches(self, questions: Sequence[str], options: Sequence[Sequence[str]]) -> np.ndarray:
        """Return how each option matches its question (N, O, d) float32: √d times the element-wise product of both vectors.

        A match has about the norm of the vectors, and its sum over d is √d times their cosine similarity. O is the largest number
        of options of a question; for questions with fewer options, the remaining matches are 0.
        """
        counts = np.array([len(row) for row in options], dtype=np.int64)
        rows = np.repeat(np.arange(len(questions)), counts)
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        products = self.embed(questions)[rows] * self.embed([option for row in options for option in row])
        matches = np.zeros((len(questions), counts.max(initial=0), products.shape[1]), dtype=np.float32)
        matches[rows, columns] = np.sqrt(products.shape[1]) * products
        return matches

    @torch.no_grad()
    def _embed_batch(self, texts: list[str]) -> np.ndarray:
        batch = self.tokeniser(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt").to(self.device)
        states = self.model(**batch).last_hidden_state
        return torch.nn.functional.normalize(mean_states(states, batch["attention_mask"]), dim=1).cpu().numpy()

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Return the number of tokens (N,) int64 of every text, including special tokens, before truncation."""
        return np.array([len(ids) for ids in self.tokeniser(list(texts), truncation=False, verbose=False)["input_ids"]], dtype=np.int64)


def mean_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean (B, d) of states (B, L, d) over the tokens that are not padding, given the mask (B, L)."""
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def name_matches(split: str) -> str:
    """Return the name under which the matches of a split's options are stored."""
    return f"{split}-matches"


def load_encoder(entry: Entry, device: torch.device) -> SentenceEncoder:
    """Return the encoder for an entry of ``config/encoders.yaml``.

    Raises
    ------
    DataError
        Its package is not installed, or the hub cannot be reached.
    """
    return SentenceEncoder(entry, device)
