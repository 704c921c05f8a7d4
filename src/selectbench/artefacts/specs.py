"""Types of what the plan asks artefacts for: tables, figures, claims, pages, and the files that they are made of.

A specification is all that may influence an artefact besides the files it reads, and is handed to a stage as JSON.
"""

from typing import Generic, Literal, NotRequired, TypedDict, TypeVar

TableKind = Literal["grid", "cost_to_reach", "shifted", "cost_shares"]
FigureKind = Literal[
    "accuracy_by_keep", "cost", "severity", "trajectory", "overlap", "measured", "break_even", "states", "coherence", "order"
]
Quantity = Literal["regret", "correlation", "kept_fraction", "weight", "proxy_loss"]
Author = Literal["paper", "field"]
Form = Literal["pair", "spread", "change", "bound"]
Scope = Literal["every", "best"]
CellT = TypeVar("CellT")


class Spec(TypedDict):
    """What all specifications share.

    Parameters
    ----------
    code : fingerprint of the stage's code, added by the plan and read by nobody
    """

    code: NotRequired[str]


class Titled(TypedDict):
    """An id and the title that people read.

    Parameters
    ----------
    id : of a column, a paper or a scale
    title : what people read
    """

    id: str
    title: str


class Reported(TypedDict):
    """A number that a paper prints.

    Parameters
    ----------
    value : in the table's unit
    evidence : kind of evidence, such as ``"paper-table"``
    note : further remarks, may be empty
    """

    value: float
    evidence: str
    note: str


class CellSpec(TypedDict):
    """One cell: a row at a keep fraction.

    Parameters
    ----------
    runs : ids of its runs, one per seed
    reported : what the paper prints there, or None
    """

    runs: list[str]
    reported: Reported | None


class TableRow(TypedDict, Generic[CellT]):
    """One row: a method.

    Parameters
    ----------
    id, title : of the method
    control : whether it is a control, such as uniform random
    planned : whether it is not built yet and has no runs
    cells : column → cell; in specifications, columns are keep fractions
    footnotes : marks; only in filled tables, and there only if the row has any
    """

    id: str
    title: str
    control: bool
    planned: bool
    cells: dict[str, CellT]
    footnotes: NotRequired[list[str]]


class Panel(TypedDict, Generic[CellT]):
    """One block of a table, or one plot of a figure.

    Parameters
    ----------
    id : data set, with target and test set where a table has several
    title : what people read
    test_set : that is read; None for a panel without rows
    absent : why this scale does not have the panel; None if it has
    rows : controls first; empty for an absent panel
    """

    id: str
    title: str
    test_set: str | None
    absent: str | None
    rows: list[TableRow[CellT]]


RowSpec = TableRow[CellSpec]
PanelSpec = Panel[CellSpec]


class PanelsSpec(Spec):
    """What tables and figures share: the runs of every cell, and what is read from their records.

    Parameters
    ----------
    paper, id, scale : whose it is
    title, note : heading, and what a reader must know
    targets : of tables of kind ``cost_to_reach``: shares of full data's accuracy
    metric : what cells hold
    regime : ``"equal_epochs"`` or ``"equal_steps"``
    partial : whether runs may be missing or failed
    tolerance : largest difference from a reported number that still counts as reproduced
    compare_reported : whether this scale's numbers are comparable with the paper's
    columns : keep fractions, full data (``"1"``) last if there are controls
    panels : one per data set, target and test set, then those that this scale does not have
    """

    paper: str
    id: str
    scale: str
    title: str
    note: str
    targets: list[float]
    metric: str
    regime: str
    partial: bool
    tolerance: float
    compare_reported: bool
    columns: list[Titled]
    panels: list[PanelSpec]


class LearnerSpec(TypedDict):
    """A method whose agent learns, and the twin with which it is compared.

    Parameters
    ----------
    method, twin : ids; the twin acts alike and never updates its policy
    published_updates : number of updates of the published code, where it is known
    """

    method: str
    twin: str
    published_updates: NotRequired[int]


class TableSpec(PanelsSpec):
    """A table of a paper.

    Parameters
    ----------
    kind : what its columns and cells are
    learners : methods with a twin; their rows say if the agent did not learn
    """

    kind: TableKind
    learners: NotRequired[list[LearnerSpec]]


class LessData(TypedDict):
    """The scale with less data that a figure compares its own with.

    Parameters
    ----------
    scale : its id
    table : file of the same table, filled
    sha256 : of the file; None where that scale has no results
    """

    scale: str
    table: str
    sha256: str | None


class FigureSpec(PanelsSpec):
    """A figure of a paper: the panels of one of its tables, drawn.

    Parameters
    ----------
    kind : what is drawn
    caption : what people read below it
    keep : of severities and break-even: the keep fraction that is drawn
    quantity, methods : of trajectories: what is drawn, and of which methods
    proposition : of measurements: which one is drawn
    less_data : of orders: what the order of the methods is compared with
    """

    kind: FigureKind
    caption: str
    keep: NotRequired[str]
    quantity: NotRequired[Quantity]
    methods: NotRequired[list[str]]
    proposition: NotRequired[str]
    less_data: NotRequired[LessData]


class ComparisonSpec(TypedDict):
    """Two sets of runs that a claim compares seed by seed.

    Parameters
    ----------
    label : what people read
    panel : of the table
    keep : keep fraction; None if the comparison is over several
    method, against : ids of the better method and of the one it is compared with; None for a bound
    against_title : what people read of the latter
    form : ``"pair"``: value against value; ``"spread"``: standard deviation over keep fractions against that of the others;
        ``"change"``: the difference minus the difference between ``than_better`` and ``than_worse``; ``"bound"``: value against
        ``bound``
    metric : what is compared
    test_set : that is read
    higher_is_better : of the metric
    allowance : added to every difference: what the better side may lose or, if negative, must win by; of costs, a logarithm
    equivalence : differences smaller than this count as none; missing where nothing does
    least_sd : the least standard deviation that differences are taken to have, as the arithmetic alone makes them differ
    least_seeds : number of seeds below which nothing is shown, where the arithmetic alone makes differences differ
    better, worse : ids of the runs of both sides, as claimed; of a spread, those of all keep fractions; none are worse than a bound
    than_better, than_worse : of a change: ids of the runs at the other keep fraction
    bound : in place of the worse side
    """

    label: str
    panel: str
    keep: str | None
    method: str
    against: str | None
    against_title: str
    form: Form
    metric: str
    test_set: str | None
    higher_is_better: bool
    allowance: float
    equivalence: NotRequired[float]
    least_sd: NotRequired[float]
    least_seeds: NotRequired[int]
    better: list[str]
    worse: list[str]
    than_better: NotRequired[list[str]]
    than_worse: NotRequired[list[str]]
    bound: NotRequired[float]


def list_compared(spec: ComparisonSpec) -> list[str]:
    """Return the ids of all runs of a comparison."""
    return [*spec["better"], *spec["worse"], *spec.get("than_better", ()), *spec.get("than_worse", ())]


class MeasuredSpec(TypedDict):
    """A statistic that a claim compares with a bound; exactly one bound is given.

    Parameters
    ----------
    proposition, statistic : what was measured
    above, below : the bound
    """

    proposition: str
    statistic: str
    above: NotRequired[float]
    below: NotRequired[float]


class ClaimSpec(TypedDict):
    """One claim as a checkable predicate.

    Parameters
    ----------
    id : within the paper
    statement : the claim in one sentence
    by : who makes it: the paper, or this benchmark (``"field"``)
    source : where it is made
    table : whose runs decide it
    unavailable : what is not built yet, so that nothing can be compared, or None
    not_compared : titles of methods that are not built yet, so that the claim cannot be supported
    scope : whether all comparisons must hold at ``"every"`` keep fraction, or together at the ``"best"`` one
    construction : why the claim holds by construction, or None
    learners : methods of which the claim is not asked where their agent did not learn
    provided : comparisons that must be shown to hold in a panel for the claim to be asked there
    comparisons : of runs; empty if a statistic is measured
    measured : the statistic instead
    """

    id: str
    statement: str
    by: Author
    source: str | None
    table: str | None
    unavailable: str | None
    not_compared: list[str]
    scope: Scope
    construction: str | None
    learners: list[LearnerSpec]
    provided: NotRequired[list[ComparisonSpec]]
    comparisons: list[ComparisonSpec]
    measured: NotRequired[MeasuredSpec]


class ClaimsSpec(Spec):
    """All claims of a paper.

    Parameters
    ----------
    paper, scale : whose they are
    confidence : of the intervals
    looks : numbers of seeds at which differences are looked at, where the scale adds seeds until claims are decided
    claims : in order
    """

    paper: str
    scale: str
    confidence: float
    looks: NotRequired[list[int]]
    claims: list[ClaimSpec]


class PageFigure(TypedDict):
    """A figure on a page.

    Parameters
    ----------
    id, title, caption : of the figure
    table : whose runs are drawn
    """

    id: str
    title: str
    caption: str
    table: str


class Browsed(TypedDict):
    """What the subset browser of a page shows.

    Parameters
    ----------
    methods : (id, title) pairs, in the order of their table
    datasets : id → title
    """

    methods: list[list[str]]
    datasets: dict[str, str]


class PagePaper(TypedDict):
    """A paper on the page of a scale.

    Parameters
    ----------
    id, title, citation : of the paper
    tables : ids, in order
    figures : in order
    browse : what its subset browser shows, or None without one
    """

    id: str
    title: str
    citation: str
    tables: list[str]
    figures: list[PageFigure]
    browse: Browsed | None


class PageSpec(Spec):
    """The page of a scale.

    Parameters
    ----------
    title : of the page
    scale, scale_id : title and id of the scale
    papers : in order
    """

    title: str
    scale: str
    scale_id: str
    papers: list[PagePaper]


class FrontFigure(TypedDict):
    """The figure on the front page.

    Parameters
    ----------
    paper, id, title, caption : of the figure
    """

    paper: str
    id: str
    title: str
    caption: str


class FrontSpec(Spec):
    """The front page, over all papers and scales.

    Parameters
    ----------
    title : of the page
    results : folder of all results
    scales, papers : in order
    figure : the one it shows, or None
    """

    title: str
    results: str
    scales: list[Titled]
    papers: list[Titled]
    figure: FrontFigure | None


class SubsetFile(TypedDict):
    """The subsets of one run.

    Parameters
    ----------
    seed : of the run
    subset : file of its subsets, one per keep fraction
    """

    seed: int
    subset: str


class OverlapGroup(TypedDict):
    """Subsets of a data set and keep fraction that are compared with each other.

    Parameters
    ----------
    dataset, keep : of the subsets
    num_pool : samples of the pool
    methods : method → its runs
    """

    dataset: str
    keep: str
    num_pool: int
    methods: dict[str, list[SubsetFile]]


class OverlapsSpec(Spec):
    """The comparison of a paper's subsets.

    Parameters
    ----------
    paper : whose subsets they are
    groups : one per data set and keep fraction
    """

    paper: str
    groups: list[OverlapGroup]


class BrowsedRun(TypedDict):
    """A run that a subset browser shows.

    Parameters
    ----------
    method, keep, seed : of the run
    subset : file of its subsets
    scores : file of the scores they are taken from; None if an agent chose them
    """

    method: str
    keep: str
    seed: int
    subset: str
    scores: str | None


class BrowsedDataset(TypedDict):
    """A data set that a subset browser shows.

    Parameters
    ----------
    id, title : of the data set
    data : manifest of its prepared files
    is_text : whether samples are texts, else images
    classes : names of the classes, None for numbers
    seed : of the choice of samples that are shown
    most : samples shown of a larger pool
    runs : one per method, keep fraction and seed
    """

    id: str
    title: str
    data: str
    is_text: bool
    classes: list[str] | None
    seed: int
    most: int
    runs: list[BrowsedRun]


class SubsetsSpec(Spec):
    """The subset browser of a paper.

    Parameters
    ----------
    paper : whose subsets they are
    datasets : in order
    """

    paper: str
    datasets: list[BrowsedDataset]


class StatesSpec(Spec):
    """The maps of the states that a paper's agents explored.

    Parameters
    ----------
    paper : whose agents they are
    seed : of the maps
    """

    paper: str
    seed: int


class CollectSpec(Spec):
    """The collection of a paper's records.

    Parameters
    ----------
    paper : whose runs they are
    runs : ids, sorted
    folder : of the scale's results
    """

    paper: str
    runs: list[str]
    folder: str
