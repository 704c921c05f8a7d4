"""Checking and preparing a data set of images or of texts, whichever its entry describes."""

from collections.abc import Sequence
from pathlib import Path

from selectbench.data.check import check_dataset, list_images_in_place
from selectbench.data.entries import CorpusManifest, DatasetManifest, Entry
from selectbench.data.texts import check_corpus


def check_entry(name: str, entry: Entry, resources: Path, test_sets: Sequence[str], full: bool = False) -> None:
    """Raise unless the files of a data set and of these test sets are present and intact (see ``check_dataset``, ``check_corpus``)."""
    if "task" in entry:
        check_corpus(name, entry, resources, test_sets, full)
    else:
        check_dataset(name, entry, resources, test_sets, full)


def list_own_files(name: str, entry: Entry, resources: Path, test_sets: Sequence[str]) -> list[Path]:
    """Return the files that a prepared data set reads outside its own folder, sorted: images that stay where the user placed them."""
    return [] if "task" in entry else sorted(list_images_in_place(name, entry, resources, test_sets))


def prepare_entry(name: str, entry: Entry, resources: Path, test_sets: Sequence[str]) -> DatasetManifest | CorpusManifest:
    """Prepare a data set and return its manifest (see ``prepare_dataset``, ``prepare_texts``)."""
    if "task" in entry:
        from selectbench.data.texts import prepare_texts

        return prepare_texts(name, entry, resources, test_sets)
    from selectbench.data.prepare import prepare_dataset

    return prepare_dataset(name, entry, resources, test_sets)
