"""Types of what artefacts read: the rows of ``records.jsonl.gz``, one per run, its training and its evaluation merged.

These types describe JSON. A row is a ``FinishedRow`` or a ``FailedRow``; its ``status`` tells which.
"""

from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # those of typing cannot be checked by pydantic in every Python
)

from annotated_types import Ge, Gt, Le
from typing_extensions import TypedDict

Count = Annotated[int, Ge(0)]
Amount = Annotated[float, Ge(0)]  # of seconds, samples, MiB, or a loss
Share = Annotated[float, Ge(0), Le(1)]
Percent = Annotated[float, Ge(0), Le(100)]
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
    seed: Count
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


class GpuSetting(TypedDict):
    """What computes on a GPU, and how exactly.

    Parameters
    ----------
    runtime : CUDA's or ROCm's version that torch is built for
    cudnn : its version, None without it
    driver : its version, None if it cannot be asked
    benchmark, deterministic : whether cuDNN chooses the fastest kernels, and only deterministic ones
    tf32 : whether float32 products may be rounded to TF32
    varying : kernels that were used although they have no deterministic version, where deterministic ones were asked for; else missing
    """

    runtime: str
    cudnn: Count | None
    driver: str | None
    benchmark: bool
    deterministic: bool
    tf32: bool
    varying: NotRequired[list[str]]


class Provenance(TypedDict):
    """Where a record comes from.

    Parameters
    ----------
    arithmetic : ``"avx2"``, ``"sse4"`` or ``"deterministic"`` if libraries were held to it, else ``"native"``; records of old versions lack
        it
    code : fingerprint of the stage's code
    command : that was run
    commit, dirty : of the working tree, and whether it had uncommitted changes; None outside a git repository
    device : ``"cpu"`` or the name of the accelerator
    started, finished : times in ISO 8601, UTC
    host, processor, python : of the machine; records of old versions lack the processor
    version : of selectbench
    versions : library → version
    gpu : what computes on the GPU; records of a CPU and of old versions lack it
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
    gpu: NotRequired[GpuSetting]


class Origin(TypedDict):
    """What the training of a run was made from: all that may influence its result. Its digest is the run's key.

    Parameters
    ----------
    run : id of the run
    spec : how targets are trained, with the digests of ``model`` and ``recipe`` in their place
    choice : digest of the subset, with what a search reports, or the sampler
    data : digest of the pool's content
    start : digest of the weights that training starts from, or None
    """

    run: str
    spec: Entry
    choice: Any
    data: str
    start: str | None


class EvaluationOrigin(TypedDict):
    """What the evaluation of a run was made from. Its digest is the key of the evaluation.

    Parameters
    ----------
    run : id of the run
    spec : how targets are trained and evaluated, with the digests of ``model`` and ``recipe`` in their place
    training : key of the training
    weights : SHA-256 of the file of trained weights
    tests : test set → digest of its content
    """

    run: str
    spec: Entry
    training: str
    weights: str
    tests: dict[str, str]


class RecordDigests(TypedDict):
    """The digests of the records that a row was merged from.

    Parameters
    ----------
    train : of the record of the training
    evaluate : of the record of the evaluation; None if the training failed
    """

    train: str
    evaluate: str | None


class Import(TypedDict):
    """Where a record comes from that was imported.

    Parameters
    ----------
    file : name of the file that it was imported from
    sha256 : of that file
    when : time of the import, in ISO 8601, UTC
    before : where the record in that file had been imported from, if it had
    """

    file: str
    sha256: str
    when: str
    before: NotRequired["Import"]


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

    size: Annotated[int, Gt(0)]
    batch_norm: bool


class Training(TypedDict):
    """What the training of a target took.

    Parameters
    ----------
    epochs, steps : passes over the subset and optimiser steps
    micro_batch : how batches were cut, or None for whole batches
    sample_visits, forward_visits, backward_visits : samples seen, with repetition
    wall_s : seconds, without a sampler's own time and the tests after every epoch, with ``encode_s``
    tracking_s : seconds of these tests; in records of old versions, which lack it, they are part of ``wall_s``
    encode_s : seconds of a frozen encoder that selection has not paid for
    final_loss : training loss of the last epoch; None without one
    unreadable : training images that could not be read and were replaced by grey ones
    peak_memory_mb, peak_device_memory_mb : MiB of the process, with all libraries that it holds, and of its GPU, None without one
    test_top1_by_epoch : test accuracy in percent after every epoch, empty unless the recipe tracks it
    """

    epochs: Count
    steps: Count
    micro_batch: MicroBatch | None
    sample_visits: Count
    forward_visits: Count
    backward_visits: Count
    wall_s: Amount
    tracking_s: NotRequired[Amount]
    encode_s: Amount
    final_loss: float | None
    unreadable: Count
    peak_memory_mb: Amount
    peak_device_memory_mb: Amount | None
    test_top1_by_epoch: list[Percent]


class BestEpoch(TypedDict):
    """The best epoch on the test set, an extra that is never the result.

    Parameters
    ----------
    epoch : counted from 1
    top1 : its test accuracy in percent
    """

    epoch: Annotated[int, Gt(0)]
    top1: Percent


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

    wall_s: Amount
    sample_visits: Amount
    peak_memory_mb: Amount | None
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
    completed : sets among them that were complete; older records lack it
    updates : gradient steps of the agent's networks, or fits of its predictor; older records lack them
    trained_s : seconds of these trainings
    examples, tokens : of these trainings, over all epochs
    """

    clusters: Count
    horizon: Count
    chosen: list[Count] | None
    value: float | None
    proxy_loss: Amount | None
    proxy_top1: Percent | None
    empty_loss: Amount | None
    trainings: Count
    limit: Count
    completed: NotRequired[Count]
    updates: NotRequired[Count]
    trained_s: Amount
    examples: Count
    tokens: Count


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
    updates : of an agent: cumulative number of optimiser updates of its policy
    action, weight : of Data Agent: its action, and the weight of difficulty in its reward
    merit : of Data Agent: rank correlation between its mean action and what the reward says a sample is worth
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
    updates: NotRequired[list[float | None]]
    action: NotRequired[list[float | None]]
    weight: NotRequired[list[float | None]]
    merit: NotRequired[list[float | None]]
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
    reached_keep : the keep fraction that the rule of a sampler stands for, if a limit of the rule makes it more than the one asked for
    trajectory : of agents, searches and samplers
    declared : whether the costs are those that the author of a subset reports
    distance : of agents: between the kept fraction of the chosen epoch's mask and the target, 0 if it is within tolerance
    """

    proxy_share: Share
    sources: dict[str, Source]
    score_s: Amount
    select_s: Amount
    wall_s: Amount
    sample_visits: Amount
    peak_memory_mb: Amount | None
    subset_sha256: str | None
    class_counts: list[Count] | None
    search: NotRequired[Search | None]
    sampler: NotRequired[str]
    reached_keep: NotRequired[Share]
    trajectory: NotRequired[Trajectory]
    declared: NotRequired[bool]
    distance: NotRequired[Share]


class NoiseCount(TypedDict):
    """Noisy samples.

    Parameters
    ----------
    pool : of the whole pool
    kept : of the subset, or visited per epoch on average by a sampler
    """

    pool: Count
    kept: Amount


class TokenCount(TypedDict):
    """Tokens of texts.

    Parameters
    ----------
    pool : of the whole pool
    kept : of the subset, or visited per epoch on average by a sampler
    """

    pool: Count
    kept: Amount


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

    top1: Percent | None
    loss: Amount | None
    num: Count
    unreadable: Count
    clean_top1: NotRequired[Percent | None]
    clean_num: NotRequired[Count]
    by_corruption: NotRequired[dict[str, list[Percent | None]]]


class Evaluation(TypedDict):
    """How a run was evaluated.

    Parameters
    ----------
    status, failure : ``"ok"`` and None, or ``"failed"`` and the reason
    key : digest of what it was made from
    made_from : all that may influence the result; None in records of layout 1
    wall_s : seconds; None after a failure
    provenance : of the evaluation
    """

    status: Literal["ok", "failed"]
    failure: Failure | None
    key: str | None
    made_from: EvaluationOrigin | None
    wall_s: Amount | None
    provenance: Provenance


class FinishedRow(TypedDict):
    """A run that was trained and evaluated.

    Parameters
    ----------
    schema : version of the layout
    status, failure : ``"ok"`` and None
    run : its axes
    key : digest of what the training was made from
    made_from : all that may influence the result; None in records of layout 1
    records : digests of the records that the row was merged from; None in records of layout 1
    imported : where an imported record comes from
    digest : of all other fields of the row
    provenance : of the training
    num_pool, num_kept : samples of the pool, and of the subset or of an epoch
    noise : noisy samples, None for pools without noise
    tokens : None for images
    warm_start : None for random weights
    model, recipe : of the target, from the configuration
    seeds, selection, training : of the run
    best_epoch : None unless the recipe tracks the test set
    sha256 : file → digest of the trained weights
    test : test set → result
    evaluation : its cost and provenance
    """

    schema: int
    status: Literal["ok"]
    failure: None
    run: RunAxes
    key: str
    made_from: Origin | None
    records: RecordDigests | None
    imported: NotRequired[Import]
    digest: str
    sha256: dict[str, str] | None
    provenance: Provenance
    num_pool: Count
    num_kept: Count
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
    key : digest of what the training was made from
    made_from : all that may influence the result; None in records of layout 1
    records : digests of the records that the row was merged from; None in records of layout 1
    imported : where an imported record comes from
    digest : of all other fields of the row
    provenance : of the training
    selection : what it cost, if the selection is what failed
    sha256 : file → digest of the trained weights
    test : None
    evaluation : None if the training failed
    noise, tokens, warm_start, num_pool, num_kept, model, recipe, seeds, training, best_epoch :
        as in ``FinishedRow`` if only the evaluation failed
    """

    schema: int
    status: Literal["failed"]
    failure: Failure | None
    run: RunAxes
    key: str
    made_from: Origin | None
    records: RecordDigests | None
    imported: NotRequired[Import]
    digest: str
    sha256: dict[str, str] | None
    provenance: Provenance
    num_pool: Count | None
    num_kept: Count | None
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
    evaluation: Evaluation | None


Row = FinishedRow | FailedRow
Records = Mapping[str, Row]  # run id → row
