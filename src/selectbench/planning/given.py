"""Subsets that other code has chosen, as the configuration declares them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from selectbench.data.entries import Entry
from selectbench.data.subset_files import check_subset, read_subset_file
from selectbench.errors import ConfigError, DataError, suggest
from selectbench.planning.entries import MethodEntry
from selectbench.records.files import digest_file


class GivenSubsets(NamedTuple):
    """The subsets of a method.

    Parameters
    ----------
    sha256 : of their file
    datasets : for which there are any
    """

    sha256: str
    datasets: frozenset[str]


def read_given(root: Path, methods: Mapping[str, MethodEntry], datasets: Mapping[str, Entry]) -> dict[str, GivenSubsets]:
    """Read and check the files of all methods whose subsets other code has chosen.

    Raises
    ------
    ConfigError
        A file cannot be read, names an unknown data set, or holds a subset that does not fit its pool or its keep fraction.
    """
    given = {}
    for name, entry in methods.items():
        if "subsets" in entry:
            try:
                given[name] = _check_file(root / entry["subsets"], entry["subsets"], datasets)
            except DataError as error:
                raise ConfigError(f"config/methods.yaml: {name}.subsets: {error}") from None
    return given


def _check_file(path: Path, name: str, datasets: Mapping[str, Entry]) -> GivenSubsets:
    subsets = read_subset_file(path, name)
    for place, ids in subsets.items():
        if place.dataset not in datasets:
            raise DataError(f"{name}: dataset: unknown {place.dataset!r}{suggest(place.dataset, datasets)}")
        check_subset(name, place, ids, datasets[place.dataset]["pool_size"])
    return GivenSubsets(digest_file(path), frozenset(place.dataset for place in subsets))
