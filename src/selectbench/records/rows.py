"""Types of what artefacts read: the rows of ``records.jsonl``, one per run, its training and its evaluation merged.

These types describe JSON. A row is a ``FinishedRow`` or a ``FailedRow``; its ``status`` tells which.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

Entry = Mapping[str, Any]  # an entry of the configuration, as the strict schemas allow it


class RunAxes(TypedDict):
    """The axes of a run.

    Parameters
    ----------
    id : name of the run and of its record's folder
    dataset, proxy, target : of the scale; the proxy is ``"none"`` for methods that need none
    regime : ``"equal_epochs"`` or ``"equal_steps"``
    method : static method, dynamic sampler, search or control
    keep : keep fraction, as ids spell it
    seed : of the run
    own_recipe : of the target where the paper has one of its own, else empty
    """

    id: str
    dataset: str
    proxy: str
    target: str
    regime: str
    method: str
    keep: str
    seed: int
    own_recipe: str


class Failure(TypedDict):
    """Why a run failed.

    Parameters
    ----------
    reason : one or more lines for people
    log_tail : end of the traceback
    """

    reason: str
    log_tail: str


class Provenance(TypedDict):
    """Where a record comes from.

    Parameters
    ----------
    arithmetic : ``"avx2"`` or ``"sse4"`` if libraries were held to it, else ``"native"``; records of old versions lack it
    code : fingerprint of the stage's code
    command : that was run
    commit, dirty : of the working tree, and whether it had uncommitted changes; None outside a git repository
    device : ``"cpu"`` or the name of the accelerator
    started, finished : times in ISO 8601, UTC
    host, processor, python : of the machine; records of old versions lack the processor
    version : of selectbench
    versions : library → version
    """

    arithmetic: NotRequired[str]
    code: str
    command: str
    commit: str | None
    dirty: bool | None
    device: str
    started: str
    finished: str
    host: str
    processor: NotRequired[str]
    python: str
    version: str
    versions: dict[str, str]


class RunSeeds(TypedDict):
    """The seeds of a run.

    Parameters
    ----------
    init : of the initial weights
    streams : names that the random streams of data order and augmentation derive from
    selection : of the selection
    """

    init: int
    streams: list[str | int]
    selection: int


class MicroBatch(TypedDict):
    """How batches were cut because memory did not suffice for whole ones.

    Parameters
    ----------
    size : samples learned from at a time
    batch_norm : whether the model has batch normalisation, which takes its statistics from each part
    """

    size: int
    batch_norm: bool


class Training(TypedDict):
    """What the training of a target took.

    Parameters
    ----------
    epochs, steps : passes over the subset and optimiser steps
    micro_batch : how batches were cut, or None for whole batches
    sample_visits, forward_visits, backward_visits : samples seen, with repetition
    wall_s : seconds, without a sampler's own time, with ``encode_s``
    encode_s : seconds of a frozen encoder that selection has not paid for
    final_loss : training loss of the last epoch
    unreadable : training images that could not be read and were replaced by grey ones
    peak_memory_mb, peak_device_memory_mb : MiB of the process and of its GPU, None without one
    test_top1_by_epoch : test accuracy in percent after every epoch, empty unless the recipe tracks it
    """

    epochs: int
    steps: int
    micro_batch: MicroBatch | None
    sample_visits: int
    forward_visits: int
    backward_visits: int
    wall_s: float
    encode_s: float
    final_loss: float | None
    unreadable: int
    peak_memory_mb: float
    peak_device_memory_mb: float | None
    test_top1_by_epoch: list[float]


class BestEpoch(TypedDict):
    """The best epoch on the test set, an extra that is never the result.

    Parameters
    ----------
    epoch : counted from 1
    top1 : its test accuracy in percent
    """

    epoch: int
    top1: float


class Source(TypedDict):
    """What a selection pays for one of its sources of signals, such as the proxy or an agent.

    Parameters
    ----------
    wall_s, sample_visits : the part of the source's cost that is charged
    peak_memory_mb : MiB
    context : which encoder made embeddings, and how
    key : digest of everything that influenced the source
    seeds : of the source
    """

    wall_s: float
    sample_visits: float
    peak_memory_mb: float | None
    context: NotRequired[dict[str, Any]]
    key: NotRequired[str]
    seeds: NotRequired[dict[str, Any]]


class Search(TypedDict):
    """What a search for clusters found and spent.

    Parameters
    ----------
    clusters : number of clusters to choose from
    horizon : clusters in a complete set
    chosen : the clusters of the set it chose; None, as the next three, if it failed
    value : of the chosen set, as the search rewards it
    proxy_loss, proxy_top1 : validation loss and accuracy in percent of the proxy trained on the chosen set
    empty_loss : validation loss of the proxy without training; None if it was not measured
    trainings, limit : proxies trained, and the most allowed; 0 means no limit
    trained_s : seconds of these trainings
    examples, tokens : of these trainings, over all epochs
    """

    clusters: int
    horizon: int
    chosen: list[int] | None
    value: float | None
    proxy_loss: float | None
    proxy_top1: float | None
    empty_loss: float | None
    trainings: int
    limit: int
    trained_s: float
    examples: int
    tokens: int


class Trajectory(TypedDict):
    """How an agent or a sampler developed, by columns of equal length: one value per epoch, or per proxy training of a search.

    Parameters
    ----------
    chosen_epoch : the epoch or training that gave the subset; None for samplers and failures
    epoch : counted from 1
    kept_fraction, reward, redundancy : of an agent's mask
    regret : distance from the analytic optimum of the redundancy reward: 1 is a random subset, 0 the optimum
    correlation : of the agent's scores with the redundancy
    kept, batches, observed, loss : of a sampler: samples visited, batches, losses observed and their mean
    action, weight : of Data Agent: its action, and the weight of difficulty in its reward
    proxy_loss : of a search: lowest validation loss so far
    """

    chosen_epoch: int | None
    epoch: list[float | None]
    kept_fraction: NotRequired[list[float | None]]
    reward: NotRequired[list[float | None]]
    redundancy: NotRequired[list[float | None]]
    regret: NotRequired[list[float | None]]
    correlation: NotRequired[list[float | None]]
    kept: NotRequired[list[float | None]]
    batches: NotRequired[list[float | None]]
    observed: NotRequired[list[float | None]]
    loss: NotRequired[list[float | None]]
    action: NotRequired[list[float | None]]
    weight: NotRequired[list[float | None]]
    proxy_loss: NotRequired[list[float | None]]


class Selection(TypedDict):
    """What selection cost and chose.

    Parameters
    ----------
    proxy_share : share of the proxy's training that the method needs
    sources : name → what is paid for it
    score_s, select_s : seconds of scoring, and of taking the subset
    wall_s, sample_visits : total cost, sources included
    peak_memory_mb : MiB, None for samplers
    subset_sha256, class_counts : of the subset; None for samplers and failed selections
    search : of methods that search for clusters, else None; samplers have none
    sampler : name of a dynamic sampler
    trajectory : of agents, searches and samplers
    """

    proxy_share: float
    sources: dict[str, Source]
    score_s: float
    select_s: float
    wall_s: float
    sample_visits: float
    peak_memory_mb: float | None
    subset_sha256: str | None
    class_counts: list[int] | None
    search: NotRequired[Search | None]
    sampler: NotRequired[str]
    trajectory: NotRequired[Trajectory]


class NoiseCount(TypedDict):
    """Noisy samples.

    Parameters
    ----------
    pool : of the whole pool
    kept : of the subset, or visited per epoch on average by a sampler
    """

    pool: int
    kept: float


class TokenCount(TypedDict):
    """Tokens of texts.

    Parameters
    ----------
    pool : of the whole pool
    kept : of the subset, or visited per epoch on average by a sampler
    """

    pool: int
    kept: float


class WarmStart(TypedDict):
    """The weights that training starts from.

    Parameters
    ----------
    origin : where they come from
    sha256 : of their content
    """

    origin: str
    sha256: str


class Outcome(TypedDict):
    """The result on one test set after the last epoch.

    Parameters
    ----------
    top1 : accuracy in percent; None without a readable image
    loss : mean cross-entropy
    num, unreadable : images that count, and those left out because they could not be read
    clean_top1, clean_num : of shifted test sets: the same for the clean test images of the same classes
    by_corruption : of corrupted test sets: corruption → accuracy in percent at severities 1 to 5
    """

    top1: float | None
    loss: float | None
    num: int
    unreadable: int
    clean_top1: NotRequired[float | None]
    clean_num: NotRequired[int]
    by_corruption: NotRequired[dict[str, list[float | None]]]


class Evaluation(TypedDict):
    """How a run was evaluated.

    Parameters
    ----------
    wall_s : seconds
    provenance : of the evaluation
    """

    wall_s: float
    provenance: Provenance


class FinishedRow(TypedDict):
    """A run that was trained and evaluated.

    Parameters
    ----------
    schema : version of the layout
    status, failure : ``"ok"`` and None
    run : its axes
    key : digest of everything that may influence the result
    provenance : of the training
    num_pool, num_kept : samples of the pool, and of the subset or of an epoch
    noise : noisy samples, None for pools without noise
    tokens : None for images
    warm_start : None for random weights
    model, recipe : of the target, from the configuration
    seeds, selection, training : of the run
    best_epoch : None unless the recipe tracks the test set
    test : test set → result
    evaluation : its cost and provenance
    """

    schema: int
    status: Literal["ok"]
    failure: None
    run: RunAxes
    key: str
    provenance: Provenance
    num_pool: int
    num_kept: int
    noise: NoiseCount | None
    tokens: TokenCount | None
    warm_start: WarmStart | None
    model: Entry
    recipe: Entry
    seeds: RunSeeds
    selection: Selection
    training: Training
    best_epoch: BestEpoch | None
    test: dict[str, Outcome]
    evaluation: Evaluation


class FailedRow(TypedDict):
    """A run whose selection, training or evaluation failed; fields of steps that it did not reach are None.

    Parameters
    ----------
    schema : version of the layout
    status : ``"failed"``
    failure : the reason
    run : its axes
    key : digest of everything that may influence the result
    provenance : of the training
    selection : what it cost, if the selection is what failed
    test, evaluation : None
    noise, tokens, warm_start, num_pool, num_kept, model, recipe, seeds, training, best_epoch :
        as in ``FinishedRow`` if only the evaluation failed
    """

    schema: int
    status: Literal["failed"]
    failure: Failure | None
    run: RunAxes
    key: str
    provenance: Provenance
    num_pool: int | None
    num_kept: int | None
    noise: NoiseCount | None
    tokens: TokenCount | None
    warm_start: WarmStart | None
    model: Entry | None
    recipe: Entry | None
    seeds: RunSeeds | None
    selection: Selection | None
    training: Training | None
    best_epoch: BestEpoch | None
    test: None
    evaluation: None


Row = FinishedRow | FailedRow
Records = Mapping[str, Row]  # run id → row
