"""Language models for classification: a head on frozen embeddings, a fine-tuned encoder, or a causal model that scores options."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from selectbench.errors import DataError
from selectbench.llm.encoder import mean_states
from selectbench.llm.files import load_once
from selectbench.records.rows import Entry

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_COSINE_SCALE = 5.0  # of a cosine as a logit: the best of 1, 5, 10, 20 and 40 by the loss on CommonsenseQA's validation questions


@dataclass(frozen=True)
class TokenBatch:
    """Token sequences of texts, padded on the right.

    Parameters
    ----------
    ids, mask : (M, L) int64; the mask is 0 on padding
    """

    ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class AnswerBatch(TokenBatch):
    """Token sequences of prompts, each followed by one option, padded on the right.

    Parameters
    ----------
    ids, mask : (M, L) int64; the mask is 0 on padding
    answer : (M, L) bool, true on the tokens of the option
    """

    answer: torch.Tensor


@dataclass(frozen=True)
class OptionBatch(TokenBatch):
    """Token sequences of prompts, padded on the right, each of which is followed by several options.

    Parameters
    ----------
    ids, mask : (B, L) int64 of the prompts; the mask is 0 on padding
    options, held : (M, K) int64 tokens of the options, and 0 on their padding
    rows, columns : (M,) the prompt and the place of each option
    """

    options: torch.Tensor
    held: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor


def fit_answer(prompt: list[int], answer: list[int], length: int) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt and an answer truncated to a length: answers at the end, prompts at the beginning but not wholly."""
    answer = answer[: length - 1]
    return prompt[-(length - len(answer)) :], answer


def pad_tokens(sequences: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens (M, L) of sequences, padded on the right with 0, and their mask (M, L), which is 0 on padding."""
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for index, sequence in enumerate(sequences):
        ids[index, : len(sequence)] = torch.tensor(sequence)
        mask[index, : len(sequence)] = 1
    return ids.to(device), mask.to(device)


def pad_answers(sequences: Sequence[tuple[list[int], list[int]]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, mask and answer of an ``AnswerBatch``, given the tokens of prompts and their answers."""
    ids, mask = pad_tokens([prompt + answer for prompt, answer in sequences], device)
    starts = torch.tensor([len(prompt) for prompt, _ in sequences], device=device)
    return ids, mask, mask.bool() & (torch.arange(ids.shape[1], device=device) >= starts[:, None])


class Head(nn.Module):
    """A linear classifier on embeddings."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes)

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings (B, d) and logits (B, C)."""
        return embeddings, self.linear(embeddings)


class OptionHead(nn.Module):
    """A linear score of how well an option matches its question, shared by all options; it starts as their cosine, times a constant."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1, bias=False)
        nn.init.constant_(self.linear.weight, _COSINE_SCALE / math.sqrt(width))

    def forward(self, matches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum (B, d) of matches (B, O, d) and the options' scores (B, O), −∞ for options that a question lacks."""
        scores = self.linear(matches)[:, :, 0]
        return matches.sum(dim=1), scores.masked_fill(~matches.any(dim=2), -torch.inf)


class Classifier(nn.Module):
    """An encoder, the mean of its last hidden states, and a linear layer; all weights are trained."""

    def __init__(self, encoder: "PreTrainedModel", num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = nn.Linear(encoder.config.hidden_size, num_classes)

    def forward(self, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean states (B, d) and logits (B, C)."""
        states = self.encoder(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        features = mean_states(states, batch.mask)
        return features, self.linear(features)


class Causal(nn.Module):
    """A causal model; the score of an option is the mean log-likelihood of its tokens given the prompt."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: AnswerBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return features (M, d), mean log-likelihoods (M,) and uncertainties (M,) of the options' tokens.

        Features are the mean of the last hidden states from which an option's tokens are predicted; uncertainty is the mean entropy
        of these predictions divided by log V, in [0, 1].
        """
        places = batch.answer.any(dim=0).nonzero()[:, 0]  # logits are large, so those of prompts and padding are left out
        outputs = self.model(
            input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True, logits_to_keep=places - 1, use_cache=False
        )
        asked, logarithms = batch.answer[:, places].float(), outputs.logits.float().log_softmax(dim=2)
        with torch.no_grad():
            entropies = torch.special.entr(logarithms.exp()).sum(dim=2) / math.log(logarithms.shape[2])
        features, scores = average_answers(outputs.hidden_states[-1][:, places - 1], logarithms, batch.ids[:, places], asked)
        return features, scores, (entropies * asked).sum(dim=1) / asked.sum(dim=1)

    @torch.no_grad()
    def compare(self, batch: OptionBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (M, d) and mean log-likelihoods (M,) of options as ``forward`` does, but read each prompt once."""
        from transformers import DynamicCache

        cache, settings = DynamicCache(), {"output_hidden_states": True, "logits_to_keep": 1, "use_cache": True}
        read = self.model(input_ids=batch.ids, attention_mask=batch.mask, cache=cache, **settings)
        lengths = batch.mask.sum(dim=1)
        states = read.hidden_states[-1][torch.arange(len(lengths), device=lengths.device), lengths - 1][batch.rows][:, None]
        if batch.options.shape[1] > 1:
            cache.batch_select_indices(batch.rows)
            before, steps = batch.options[:, :-1], torch.arange(batch.options.shape[1] - 1, device=lengths.device)
            said = self.model(
                input_ids=before,
                attention_mask=torch.cat([batch.mask[batch.rows], batch.held[:, :-1]], dim=1),
                position_ids=lengths[batch.rows, None] + steps,
                cache=cache,
                **settings,
            )
            states = torch.cat([states, said.hidden_states[-1]], dim=1)
        logarithms = cast("Any", self.model).get_output_embeddings()(states).float().log_softmax(dim=2)
        return average_answers(states, logarithms, batch.options, batch.held.float())


def average_answers(
    states: torch.Tensor, logarithms: torch.Tensor, tokens: torch.Tensor, asked: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean states (M, d) from which options are predicted, and the mean log-likelihoods (M,) of their tokens.

    Parameters
    ----------
    states, logarithms : (M, K, d) last hidden states and (M, K, V) log-probabilities of the next token
    tokens, asked : (M, K) the next tokens, and 1 for those of the option, else 0
    """
    counts = asked.sum(dim=1)
    chosen = logarithms.gather(2, tokens[:, :, None])[:, :, 0]
    return (states.float() * asked[:, :, None]).sum(dim=1) / counts[:, None], (chosen * asked).sum(dim=1) / counts


def build_language_model(entry: Entry, num_classes: int, width: int | None, task: str = "classification") -> nn.Module:
    """Build a model of ``config/language_models.yaml``; new weights are drawn from torch's global generator.

    Parameters
    ----------
    entry : the model's entry
    num_classes : C
    width : dimension of the embeddings, for a head
    task : ``"classification"``, or ``"choice"``, for which a head reads matches

    Raises
    ------
    DataError
        The weights are not available, or a head has no embeddings.
    """
    if entry["kind"] == "head":
        if width is None:
            raise DataError("a head on frozen embeddings needs embeddings")
        return OptionHead(width) if task == "choice" else Head(width, num_classes)
    if entry["kind"] == "classifier":
        from transformers import AutoModel

        return Classifier(load_base(AutoModel, entry), num_classes)
    from transformers import AutoModelForCausalLM

    if entry["adapter"] is None:
        return Causal(load_base(AutoModelForCausalLM, entry))
    return Causal(add_adapter(load_base(AutoModelForCausalLM, entry, shared=True), entry["adapter"]))


def load_base(kind: type[Any], entry: Entry, *, shared: bool = False) -> "PreTrainedModel":
    """Return a pretrained model in float32.

    Parameters
    ----------
    kind : a class of transformers
    entry : where its weights are
    shared : whether its weights may be those of all other shared ones, because an adapter leaves them as they are
    """
    loaded: PreTrainedModel = load_once(kind, entry, dtype=torch.float32)
    model = deepcopy(loaded, {id(weights): weights for weights in loaded.parameters()} if shared else {})
    return model if shared else model.requires_grad_(requires_grad=True)  # adapters freeze what is shared


def add_adapter(model: nn.Module, adapter: Entry) -> nn.Module:
    """Freeze a model and add low-rank adapters to some of its layers with peft (LoRA, Hu et al. 2022)."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=adapter["rank"],
        lora_alpha=adapter["alpha"],
        lora_dropout=adapter["dropout"],
        target_modules=list(adapter["modules"]),
        task_type="CAUSAL_LM",
    )
    adapted: nn.Module = get_peft_model(model, settings)
    return adapted


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the trainable weights: all except those frozen by an adapter."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def load_trainable(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load weights returned by ``trainable_state``.

    Raises
    ------
    DataError
        The weights do not belong to this model.
    """
    own = {name: value.shape for name, value in model.named_parameters() if value.requires_grad}
    if {name: value.shape for name, value in state.items()} != own:
        raise DataError("the saved weights do not belong to this model; delete them and run again")
    model.load_state_dict(state, strict=False)
