"""The declaration of a stage, which the rules, the plan, its costs and schedules, and `selectbench why` read.

A stage is a dataclass whose fields are the wildcards of its rule; an instance is one job. Planning imports its module, so neither
the declaration nor the top of the module imports torch: what the work needs is imported when the stage runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from selectbench.planning.fingerprint import fingerprint

if TYPE_CHECKING:
    from selectbench.models.counting import ModelSize
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run


class Network(NamedTuple):
    """A model as it is built for the inputs of a data set.

    Parameters
    ----------
    model : its id
    stem : of its recipe, empty for language models
    dataset : the data set whose inputs it takes
    """

    model: str
    stem: str
    dataset: str


class Visits(NamedTuple):
    """How much a job trains.

    Parameters
    ----------
    network : the model that is trained or run
    visits : sample visits, a forward pass alone being a third of one
    """

    network: Network
    visits: float


class Output(NamedTuple):
    """One of a job's files, as an input of another job.

    Parameters
    ----------
    job : the job that makes it
    name : its name among the job's outputs
    """

    job: "Stage"
    name: str


Inputs = Mapping[str, Sequence[Output]]
SizeNetwork = Callable[[Network], "ModelSize"]
Selection = tuple[str, str, str, str]  # data set, proxy, method, seed


@dataclass(frozen=True)
class CollectedWork:
    """Seconds of work that collected records of runs give for the jobs before them.

    Parameters
    ----------
    scoring : by selection, without what signals cost
    choosing : by selection, over all its keep fractions: taking subsets from scores, or the agent that found them
    recording : (source of signals, data set, proxy, seed) → seconds
    """

    scoring: Mapping[Selection, float]
    choosing: Mapping[Selection, float]
    recording: Mapping[tuple[str, str, str, str], float]

    def find_recording(self, source: str, dataset: str, proxy: str | None = None, seed: str | None = None) -> float | None:
        """Return the largest value that any run gives for a source of signals; None for proxy or seed means any."""
        wanted = (source, dataset, proxy, seed)
        named = [s for key, s in self.recording.items() if all(part in (None, there) for part, there in zip(wanted, key, strict=True))]
        return max(named, default=None)


@dataclass(frozen=True)
class Stage(ABC):
    """A job of the workflow.

    A subclass names its fields, which are the wildcards of its rule, and fills in what follows.

    Attributes
    ----------
    name : of the stage, of its rule and of its module in ``selectbench.stages``
    reads : names of its inputs, as its command takes them
    writes : name → template of each output; the first names the job
    record : name of the output that describes the job: what it was made from, and the SHA-256 of the other outputs
    log : template of the file that its messages go to
    computes : whether it requests the scale's GPUs
    threaded : whether it requests the scale's processors
    run_record : name of the records of single runs that it writes, if it trains or evaluates runs
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[Mapping[str, str]]
    record: ClassVar[str] = "record"
    log: ClassVar[str]
    computes: ClassVar[bool] = False
    threaded: ClassVar[bool] = False
    run_record: ClassVar[str | None] = None

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterable[Self]:
        """List the jobs that a plan requests by name; jobs whose files others read need not be among them."""
        return ()

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Return wildcard → regular expression, where the constraints that all rules share are too wide."""
        return {}

    @abstractmethod
    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return input → the files of other jobs that it reads."""

    @abstractmethod
    def specify(self, plan: "Plan") -> Mapping[str, object]:
        """Return all that may influence the result, with the fingerprint of the ``code``."""

    @property
    def wildcards(self) -> dict[str, str]:
        """The fields, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def list_outputs(self, plan: "Plan") -> dict[str, str]:
        """Return output → path."""
        return {name: plan.layout.fill(template, **self.wildcards) for name, template in self.writes.items()}

    def list_input_paths(self, plan: "Plan") -> dict[str, list[str]]:
        """Return input → paths, with an entry, possibly empty, for every input of the stage."""
        inputs = self.list_inputs(plan)
        return {name: [job.find_output(plan, output) for job, output in inputs.get(name, ())] for name in self.reads}

    def find_output(self, plan: "Plan", name: str) -> str:
        """Return the path of one output."""
        return plan.layout.fill(self.writes[name], **self.wildcards)

    def find_log(self, plan: "Plan") -> str:
        """Return the path of the log."""
        return plan.layout.fill(self.log, **self.wildcards)

    def list_runs(self, plan: "Plan") -> "list[Run]":
        """List the runs that the job trains or evaluates."""
        return []

    def list_files(self, plan: "Plan") -> Iterator[Path]:
        """Yield what the job has written: its outputs and any other files beside them."""
        yield from map(Path, self.list_outputs(plan).values())

    def count_gpus(self, plan: "Plan") -> int:
        """Return the number of GPUs that the job requests."""
        return plan.config.scale["resources"]["gpu"] if self.computes else 0

    def count_processes(self, plan: "Plan") -> int:
        """Return the number of processes among which the job splits its batches."""
        return 1

    def count_threads(self, plan: "Plan") -> int:
        """Return the number of processors that the job requests."""
        return plan.config.scale["resources"]["threads"] if self.threaded else 1

    def count_visits(self, plan: "Plan") -> Visits | None:
        """Return how much the job trains; None if its cost is not that of sample visits."""
        return None

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int | None:
        """Return the bytes that its arrays and weights will take, according to their shapes; None where shapes are not known in advance.

        Parameters
        ----------
        size_network : network on images → its size
        """
        return None

    def measure_work(self, record: Mapping[str, Any]) -> float | None:
        """Return the seconds of work that the job's record gives; None if records of its kind give none."""
        return None

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of work that collected records of runs give for the job; None if they give none."""
        return None


def fingerprint_stage(name: str, *modules: str, files: tuple[str, ...] = ()) -> str:
    """Return the fingerprint of a stage's code, with further modules and files that it reads by name."""
    return fingerprint(f"selectbench.stages.{name}", *modules, files=files)
