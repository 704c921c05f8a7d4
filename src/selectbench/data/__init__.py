"""Data sets: fetching published files, checking them, preparing canonical arrays, reading these."""

from selectbench.data.fetch import fetch_dataset
from selectbench.data.prepare import prepare_dataset
from selectbench.data.sources import check_raw
from selectbench.data.splits import ArraySplit, FolderSplit, Split, open_split

__all__ = ["ArraySplit", "FolderSplit", "Split", "check_raw", "fetch_dataset", "open_split", "prepare_dataset"]
