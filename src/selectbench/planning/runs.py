"""Runs: the trained targets that tables are made of, and their ids."""

from dataclasses import dataclass

from selectbench.policy import parse_keep

NO_PROXY = "none"


@dataclass(frozen=True)
class Run:
    """One trained target: the unit of every table.

    ``own_recipe`` is empty for the target's usual recipe; otherwise it names the recipe with which a paper trains its targets.
    """

    dataset: str
    proxy: str
    target: str
    regime: str
    method: str
    keep: str
    seed: int
    own_recipe: str = ""

    @property
    def id(self) -> str:
        """The run's name and the folder of its record, readable by people."""
        return f"{self.cell}/seed-{self.seed}"

    @property
    def cell(self) -> str:
        """What the runs of a cell of a table, which differ in seed alone, have in common."""
        return f"{self.dataset}/{self.proxy}-to-{self.trained}/{self.regime}/{self.method}/keep-{self.keep}"

    @property
    def trained(self) -> str:
        """The target, with its recipe if that is not the usual one."""
        return f"{self.target}-by-{self.own_recipe}" if self.own_recipe else self.target

    @property
    def group(self) -> str:
        """What the runs of one job have in common."""
        return self.id.partition("/keep-")[0]


def format_keep(keep: float | str) -> str:
    """Spell a keep fraction as ids do: 0.30 and "0.3" are "0.3", 1.0 is "1"."""
    return f"{float(parse_keep(keep)):.10g}"
