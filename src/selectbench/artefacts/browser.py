"""What a subset browser shows: samples as pictures or texts, which methods keep them, and how they score, in compact form."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from PIL import Image

from selectbench.artefacts.specs import BrowsedRun
from selectbench.rl.ranks import mean_ranks

LONGEST_TEXT = 140  # characters
SIDE = 32  # pixels of the longer side of a picture, at most
COLUMNS = 30  # pictures per row of the sheet
SMALL = 100_000  # pixels: a pool whose pictures have no more than these in total is shown whole
TOP_RANK = 65535
QUALITY = 75  # of the JPEG that holds coloured pictures


class Pictures(TypedDict):
    """Pictures in one sheet, row by row.

    Parameters
    ----------
    sheet : data address
    columns, rows : number of pictures
    width, height : of each, in pixels
    """

    sheet: str
    columns: int
    rows: int
    width: int
    height: int


class BrowsedMethod(TypedDict):
    """What a method does with the samples that are shown.

    Parameters
    ----------
    kept : keep fraction → seed → mask of the kept samples
    ranks : seed → ranks of the samples by score; empty if an agent chose the subset
    """

    kept: dict[str, dict[str, str]]
    ranks: dict[str, str]


class Samples(TypedDict):
    """The samples that a browser shows, as pictures or as texts.

    Parameters
    ----------
    pictures, texts : one of both
    """

    pictures: NotRequired[Pictures]
    texts: NotRequired[list[str]]


class BrowserData(Samples):
    """What a subset browser shows of a data set.

    Parameters
    ----------
    id, title : of the data set
    num_pool : samples of the pool
    ids : of the samples that are shown; None for the whole pool
    labels : of the samples that are shown
    classes : names of all classes
    methods : id → what the method does with them
    """

    id: str
    title: str
    num_pool: int
    ids: list[int] | None
    labels: list[int]
    classes: list[str]
    methods: dict[str, BrowsedMethod]


class Subsets(TypedDict):
    """The subset browser of a paper.

    Parameters
    ----------
    paper : whose subsets they are
    datasets : in order
    """

    paper: str
    datasets: list[BrowserData]


def choose_samples(num_pool: int, most: int, seed: int) -> np.ndarray:
    """Return the ids of the samples to show, ascending: all, or a random sample of a larger pool.

    Parameters
    ----------
    num_pool : N
    most : number of samples shown
    seed : of the sample
    """
    if num_pool <= most:
        return np.arange(num_pool)
    return np.sort(np.random.default_rng(seed).choice(num_pool, most, replace=False))


def pack_mask(shown: np.ndarray, kept: np.ndarray) -> str:
    """Return a mask in base64: one bit per shown sample, from the highest bit of the first byte on, set if a subset keeps the sample.

    Parameters
    ----------
    shown : (M,) ids
    kept : (k,) ids
    """
    return base64.b64encode(np.packbits(np.isin(shown, kept)).tobytes()).decode()


def pack_ranks(shown: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> str:
    """Return the ranks of the shown samples by score among the whole pool, in base64.

    Parameters
    ----------
    shown : (M,) ids
    scores : (N,) of the pool, higher = keep first
    ids : (N,) of the scored samples

    Returns
    -------
    (M,) little-endian uint16: 0 for the lowest score of the pool, 65535 for the highest; equal scores share their mean rank.
    """
    ranks = np.round((mean_ranks(scores) - 1) * (TOP_RANK / max(len(scores) - 1, 1))).astype("<u2")
    order = np.argsort(ids)
    return base64.b64encode(ranks[order[np.searchsorted(ids, shown, sorter=order)]].tobytes()).decode()


def pack_pictures(images: np.ndarray) -> Pictures:
    """Return pictures in one sheet, shrunk to 32 pixels where they are larger.

    Parameters
    ----------
    images : (M, C, H, W) uint8, one or three channels
    """
    _, channels, height, width = images.shape
    mode = "L" if channels == 1 else "RGB"
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    num_rows = -(-len(images) // COLUMNS)
    sheet = Image.new(mode, (COLUMNS * size[0], num_rows * size[1]))
    for place, pixels in enumerate(images):
        picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0), mode)
        picture = picture if scale == 1 else picture.resize(size, Image.Resampling.BOX)
        sheet.paste(picture, (place % COLUMNS * size[0], place // COLUMNS * size[1]))
    stream = io.BytesIO()
    if mode == "L":
        sheet.save(stream, "png", optimize=True)
    else:
        sheet.save(stream, "jpeg", quality=QUALITY, optimize=True)
    kind = "png" if mode == "L" else "jpeg"
    address = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    return {"sheet": address, "columns": COLUMNS, "rows": num_rows, "width": size[0], "height": size[1]}


def shorten_text(text: str) -> str:
    """Return a text on one line, cut after 140 characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1].rstrip() + "…"


def describe_methods(
    runs: Sequence[BrowsedRun],
    shown: np.ndarray,
    subsets: Mapping[str, Mapping[str, np.ndarray]],
    scores: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, BrowsedMethod]:
    """Return what every method does with the shown samples; a run without a subset is left out.

    Parameters
    ----------
    runs : with the names of their files
    shown : (M,) ids
    subsets : file → keep fraction → ids
    scores : file → ``scores`` (N,) and ``ids`` (N,)
    """
    methods: dict[str, BrowsedMethod] = {}
    for run in runs:
        seed = str(run["seed"])
        kept = subsets.get(run["subset"], {}).get(run["keep"])
        if kept is None:
            continue
        method = methods.setdefault(run["method"], {"kept": {}, "ranks": {}})
        method["kept"].setdefault(run["keep"], {})[seed] = pack_mask(shown, kept)
        if run["scores"] is not None and run["scores"] in scores and seed not in method["ranks"]:
            method["ranks"][seed] = pack_ranks(shown, scores[run["scores"]]["scores"], scores[run["scores"]]["ids"])
    return methods
