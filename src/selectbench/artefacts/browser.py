"""What a subset browser shows: samples as pictures or texts, who keeps which of them, and how they score, packed small."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from selectbench.rl.ranks import mean_ranks

LONGEST_TEXT = 140  # characters
SIDE = 32  # pixels of the longer side of a picture, at most
COLUMNS = 30  # pictures side by side
SMALL = 100_000  # pixels: a grey pool whose pictures take no more than these together is shown whole
TOP_RANK = 65535
QUALITY = 75  # of the JPEG that holds pictures with colours


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
    """Return one bit a shown sample, the first in the highest bit of the first byte, in base64: whether a subset keeps it.

    Parameters
    ----------
    shown : (M,) ids
    kept : (k,) ids
    """
    return base64.b64encode(np.packbits(np.isin(shown, kept)).tobytes()).decode()


def pack_ranks(shown: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> str:
    """Return where the shown samples stand among all of a pool by score, in base64.

    Parameters
    ----------
    shown : (M,) ids
    scores : (N,) of the pool, higher = keep first
    ids : (N,) that the scores belong to

    Returns
    -------
    (M,) little-endian uint16: 0 for the lowest score of the pool, 65535 for the highest; equal scores stand together, in the middle.
    """
    ranks = np.round((mean_ranks(scores) - 1) * (TOP_RANK / max(len(scores) - 1, 1))).astype("<u2")
    order = np.argsort(ids)
    return base64.b64encode(ranks[order[np.searchsorted(ids, shown, sorter=order)]].tobytes()).decode()


def pack_pictures(images: np.ndarray) -> dict:
    """Return pictures in one sheet, row by row, as a data address, with the number of columns and the size of each.

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
    runs: Sequence[dict],
    shown: np.ndarray,
    subsets: Mapping[str, Mapping[str, np.ndarray]],
    scores: Mapping[str, Mapping[str, np.ndarray]],
) -> dict:
    """Return method → ``{"kept": {keep: {seed: mask}}, "ranks": {seed: ranks}}``; a run without a subset is left out.

    Parameters
    ----------
    runs : each with ``method``, ``keep``, ``seed`` and the names of its files, ``subset`` and ``scores`` (or None)
    shown : (M,) ids
    subsets : file → keep fraction → ids
    scores : file → ``scores`` (N,) and ``ids`` (N,)
    """
    methods: dict[str, dict] = {}
    for run in runs:
        seed = str(run["seed"])
        kept = subsets.get(run["subset"], {}).get(run["keep"])
        if kept is None:
            continue
        method = methods.setdefault(run["method"], {"kept": {}, "ranks": {}})
        method["kept"].setdefault(run["keep"], {})[seed] = pack_mask(shown, kept)
        if run["scores"] in scores and seed not in method["ranks"]:
            method["ranks"][seed] = pack_ranks(shown, scores[run["scores"]]["scores"], scores[run["scores"]]["ids"])
    return methods
