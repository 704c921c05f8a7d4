"""Types of the configuration's entries, as the schemas in ``workflow/schemas`` check them; data sets have theirs in ``data.entries``."""

from typing import Any, Literal, NotRequired, TypedDict

from selectbench.artefacts.specs import Author, FigureKind, MeasuredSpec, Quantity, TableKind
from selectbench.models.entries import ModelEntry, PretrainedEntry

Keep = float | str  # a keep fraction as people write it
NGRAM = "ngram"  # in place of a language model: the n-gram model from which perplexities are read


class Main(TypedDict):
    """``config/config.yaml``.

    Parameters
    ----------
    scale : id of the scale
    papers : whose tables, figures and claims are made
    partial : whether tables may be made while runs are missing
    results, resources : folders
    only : ids of runs, if only these are run
    arithmetic : ``avx2`` (the default), ``sse4``, ``native`` or ``deterministic``
    warm_start : whether jobs on this machine are forked from a process that has imported the libraries (the default)
    """

    scale: str
    papers: list[str]
    partial: bool
    results: str
    resources: str
    only: NotRequired[list[str]]
    arithmetic: NotRequired[Literal["avx2", "sse4", "native", "deterministic"]]
    warm_start: NotRequired[bool]


class Axes(TypedDict):
    """The ids that a scale maps the names in papers to; None where it maps a name to nothing.

    Parameters
    ----------
    dataset, model, test_set : name in the papers → id
    """

    dataset: dict[str, str | None]
    model: dict[str, str | None]
    test_set: dict[str, str | None]


class RoleRecipes(TypedDict):
    """The recipes on one data set.

    Parameters
    ----------
    proxy, selector, target : by role
    target_of : target model → its own
    target_in : paper → that of all its targets
    """

    proxy: str
    selector: NotRequired[str]
    target: str
    target_of: NotRequired[dict[str, str]]
    target_in: NotRequired[dict[str, str]]


class Batch(TypedDict):
    """Runs that one job does.

    Parameters
    ----------
    train, evaluate : by stage
    """

    train: int
    evaluate: int


class Resources(TypedDict):
    """What a job asks for.

    Parameters
    ----------
    threads, gpu : processors and GPUs
    mem_mb, runtime : MiB and minutes
    """

    threads: int
    gpu: int
    mem_mb: int
    runtime: int


class Decide(TypedDict):
    """How many seeds a scale may add.

    Parameters
    ----------
    most : number of seeds beyond which none are added
    """

    most: int


class Scale(TypedDict):
    """``config/scale/<scale>.yaml``, with the keys of the scale that it is based on.

    Parameters
    ----------
    title : for people
    base : the scale whose keys it takes over
    repeats : how often trainings are repeated to time them, in tables of costs
    decide : where claims get seeds until they are decided, how many
    listed : whether the front page lists it
    axes : the ids that the papers' names are mapped to
    tables : paper → the tables that are run, where not all are
    seeds : of all runs
    recipes : data set → recipes by role
    encoders : data set → encoder
    reference_models : text data set → language model that perplexities are read from
    batch, resources : of jobs
    less_data : the scale with the same models on less data, whose order of methods figures compare with this one's
    arithmetic_sd : method → standard deviation of its accuracy between kinds of arithmetic, in points, where it was measured
    compare_reported : whether cells are compared with what papers report
    """

    title: str
    base: NotRequired[str]
    repeats: NotRequired[int]
    decide: NotRequired[Decide]
    listed: NotRequired[bool]
    less_data: NotRequired[str]
    axes: Axes
    tables: NotRequired[dict[str, list[str]]]
    seeds: list[int]
    recipes: dict[str, RoleRecipes]
    encoders: dict[str, str]
    reference_models: NotRequired[dict[str, str]]
    batch: Batch
    resources: Resources
    arithmetic_sd: NotRequired[dict[str, float]]
    compare_reported: bool


class DeclaredCost(TypedDict):
    """What a subset cost, as its author reports it.

    Parameters
    ----------
    wall_s, sample_visits : seconds, and samples that were trained on
    """

    wall_s: float
    sample_visits: float


class MethodEntry(TypedDict):
    """An entry of ``config/methods.yaml``.

    Parameters
    ----------
    title : for people
    control, dynamic, search, planned : what kind of method it is
    method : the method whose file a variant runs
    parameters : of the method
    subsets, cost : of subsets that other code has chosen: their file, and what choosing one took
    twin : of a method whose agent learns: the method that acts alike and never updates its policy
    published_updates : number of updates of the published code
    """

    title: str
    control: NotRequired[bool]
    dynamic: NotRequired[bool]
    search: NotRequired[bool]
    planned: NotRequired[bool]
    method: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    subsets: NotRequired[str]
    cost: NotRequired[DeclaredCost]
    twin: NotRequired[str]
    published_updates: NotRequired[int]


class LanguageModelEntry(TypedDict):
    """An entry of ``config/language_models.yaml``.

    Parameters
    ----------
    title : for people
    library : always transformers
    kind : a head on frozen embeddings, a classifier, or a causal model that scores options
    distribution, path : the registry package that holds it, and where
    name : on the hub, in place of a package
    max_length : tokens that texts are cut to
    adapter : of causal models: the LoRA adapter that is trained, or None for all weights
    """

    title: str
    library: Literal["transformers"]
    kind: Literal["head", "classifier", "causal"]
    distribution: NotRequired[str]
    path: NotRequired[str]
    name: NotRequired[str]
    max_length: NotRequired[int]
    adapter: NotRequired[dict[str, Any] | None]


AnyModel = ModelEntry | LanguageModelEntry  # `library` tells which


class EncoderEntry(TypedDict):
    """An entry of ``config/encoders.yaml``; each kind reads further keys of its own.

    Parameters
    ----------
    title : for people
    kind : ``simclr``, ``pretrained`` or ``sentence``
    model, stem, epochs : of SimCLR: the network that it trains, and for how long
    name, weights : of a pretrained model of timm
    distribution, path : the registry package that holds a sentence encoder, and where
    """

    title: str
    kind: Literal["simclr", "pretrained", "sentence"]
    name: NotRequired[str]
    weights: NotRequired[str]
    model: NotRequired[str]
    stem: NotRequired[str]
    epochs: NotRequired[int]
    distribution: NotRequired[str]
    path: NotRequired[str]


class EarlyReplicates(TypedDict):
    """Replicates of a proxy that end early.

    Parameters
    ----------
    number : how many
    epochs : after which they end
    """

    number: int
    epochs: int


class WholeReplicates(TypedDict):
    """Replicates of a proxy that are trained for all epochs.

    Parameters
    ----------
    number : how many
    """

    number: int


class Replicates(TypedDict):
    """Replicates of a proxy, over which methods average.

    Parameters
    ----------
    early, whole : by when they end
    """

    early: EarlyReplicates
    whole: WholeReplicates


class RecipeEntry(TypedDict):
    """An entry of ``config/recipes.yaml``; ``training.recipes.Recipe`` describes what a training reads of it.

    Parameters
    ----------
    epochs : passes over the subset
    stem : of images: how a model begins
    processes : of data-parallel training
    track_test : whether test accuracy is measured after every epoch
    record_at, align_at : of proxies: shares of training after which they are recorded
    replicates : of proxies: further runs, over which some methods average
    augment : of images
    pretrained : where the initial weights are
    """

    epochs: int
    stem: NotRequired[str]
    processes: NotRequired[int]
    track_test: bool
    record_at: NotRequired[list[float]]
    align_at: NotRequired[list[float]]
    replicates: NotRequired[Replicates]
    augment: NotRequired[dict[str, Any]]
    pretrained: NotRequired[bool | str | PretrainedEntry]


class Where(TypedDict):
    """The axes of a table, whose product is its list of runs.

    Parameters
    ----------
    dataset, proxy, target, method, keep, regime : names of the paper
    seeds : how many of the scale's, from the first
    additions : whether methods that no table names get a row
    """

    dataset: list[str]
    proxy: str
    target: str | list[str]
    method: list[str]
    keep: list[Keep]
    regime: str
    seeds: NotRequired[int]
    additions: NotRequired[bool]


class TableEntry(TypedDict):
    """A table of a paper.

    Parameters
    ----------
    title, note : for people
    where : its runs
    kind, targets, metric : what cells hold
    controls : whether the controls are in it
    partial : whether failed runs are shown as such
    test_set : one panel each
    tolerance : to reported numbers
    """

    title: str
    note: str
    where: Where
    kind: NotRequired[TableKind]
    targets: NotRequired[list[float]]
    metric: NotRequired[str]
    controls: NotRequired[bool]
    partial: NotRequired[bool]
    test_set: str | list[str]
    tolerance: float


class FigureEntry(TypedDict):
    """A figure of a paper.

    Parameters
    ----------
    title, caption : for people
    kind, table : what is drawn, of whose runs
    quantity, methods, keep, proposition : what kinds of figures read beside that
    """

    title: str
    caption: str
    kind: FigureKind
    table: str
    quantity: NotRequired[Quantity]
    methods: NotRequired[list[str]]
    keep: NotRequired[Keep]
    proposition: NotRequired[str]


class Compare(TypedDict):
    """The comparisons of a claim.

    Parameters
    ----------
    method, against : every one of the first with every one of the second; nothing is compared with if there is a bound
    keep : keep fractions, by default all of the table
    test_set : test sets, by default all of the table
    metric : that is compared
    margin : how much worse a method may be
    factor : how many times cheaper it must be; below 1, how much more expensive it may be
    bound : that the metric must not exceed, in place of another method
    spread : whether standard deviations over keep fractions are compared, in place of values
    than : keep fraction at which the difference is claimed to be smaller
    """

    method: list[str]
    against: NotRequired[list[str]]
    keep: NotRequired[list[Keep]]
    test_set: NotRequired[list[str]]
    metric: str
    margin: NotRequired[float]
    factor: NotRequired[float]
    bound: NotRequired[float]
    spread: NotRequired[bool]
    than: NotRequired[Keep]


class ClaimEntry(TypedDict):
    """A claim of a paper: one of ``compare`` and ``measured`` is there.

    Parameters
    ----------
    statement, by, source : the claim, and whose it is
    table : whose runs decide it
    compare, measured : the predicate
    together : a second predicate, which must hold with the first at one keep fraction at least
    provided : a predicate without which the claim is pointless, so that it is not asked where it is not shown to hold
    learning : whether the claim is about what an agent learns, so that it is not asked of one that did not
    construction : why it holds by construction
    """

    statement: str
    by: Author
    source: str
    table: str
    compare: NotRequired[Compare]
    together: NotRequired[Compare]
    provided: NotRequired[Compare]
    measured: NotRequired[MeasuredSpec]
    learning: NotRequired[bool]
    construction: NotRequired[str]


class Paper(TypedDict):
    """``config/papers/<paper>.yaml``.

    Parameters
    ----------
    title, citation : for people
    browse : the table whose subsets can be browsed
    equivalence : metric → differences of methods that count as none
    tables, figures, claims : by id
    """

    title: str
    citation: str
    equivalence: NotRequired[dict[str, float]]
    browse: NotRequired[str]
    tables: dict[str, TableEntry]
    figures: dict[str, FigureEntry]
    claims: dict[str, ClaimEntry]
