"""The subset browser: masks, ranks, images and texts, and the stage that collects them."""

import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from selectbench.artefacts.browser import (
    COLUMNS,
    SIDE,
    choose_samples,
    describe_methods,
    pack_mask,
    pack_pictures,
    pack_ranks,
    shorten_text,
)
from selectbench.records.files import write_array, write_arrays


def read_mask(text: str, length: int) -> list[bool]:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))[:length].astype(bool).tolist()


def read_ranks(text: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), dtype="<u2").tolist()


def read_sheet(pictures: dict) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(pictures["sheet"].partition(",")[2]))) as sheet:
        return np.asarray(sheet)


def test_small_pools_are_shown_whole_and_large_ones_by_a_seeded_sample():
    assert choose_samples(7, 9, 0).tolist() == list(range(7))
    sample = choose_samples(10_000, 300, 5)
    assert len(set(sample.tolist())) == 300 and (np.diff(sample) > 0).all() and sample[-1] < 10_000
    assert (sample == choose_samples(10_000, 300, 5)).all()
    assert not (sample == choose_samples(10_000, 300, 6)).all()


@pytest.mark.parametrize("length", [1, 7, 8, 9, 300])
def test_a_mask_holds_one_bit_a_sample(length):
    shown = np.arange(length) * 3
    kept = np.random.default_rng(length).permutation(3 * length)[:length]
    assert read_mask(pack_mask(shown, kept), length) == [sample in set(kept.tolist()) for sample in shown.tolist()]


def test_ranks_are_places_among_the_whole_pool_and_ties_share_one():
    scores, ids = np.array([0.5, -1.0, 3.0, 0.5, 9.0]), np.array([40, 10, 30, 20, 0])
    step = 65535 / 4
    found = read_ranks(pack_ranks(np.array([0, 10, 20, 30, 40]), scores, ids))
    assert found == [65535, 0, round(1.5 * step), round(3 * step), round(1.5 * step)]
    assert read_ranks(pack_ranks(np.array([7]), np.array([2.0]), np.array([7]))) == [0]


def test_ranks_order_a_pool_as_its_scores_do():
    scores = np.random.default_rng(1).normal(size=5000)
    ranks = np.array(read_ranks(pack_ranks(np.arange(5000), scores, np.arange(5000))))
    assert (np.argsort(ranks) == np.argsort(scores)).all()


def test_grey_pictures_lie_unchanged_in_rows():
    images = np.random.default_rng(0).integers(0, 256, (COLUMNS + 2, 1, 8, 6)).astype(np.uint8)
    pictures = pack_pictures(images)
    sheet = read_sheet(pictures)
    assert {key: pictures[key] for key in ("columns", "rows", "width", "height")} == {
        "columns": COLUMNS,
        "rows": 2,
        "width": 6,
        "height": 8,
    }
    assert pictures["sheet"].startswith("data:image/png;base64,")
    for place, image in enumerate(images):
        top, left = place // COLUMNS * 8, place % COLUMNS * 6
        assert (sheet[top : top + 8, left : left + 6] == image[0]).all()


def test_large_pictures_shrink_and_keep_their_colours():
    images = np.zeros((3, 3, 96, 48), dtype=np.uint8)
    images[0, 0] = images[1, 1] = images[2, 2] = 250
    pictures = pack_pictures(images)
    assert (pictures["width"], pictures["height"]) == (SIDE // 2, SIDE)
    sheet = read_sheet(pictures).astype(int)
    assert [sheet[SIDE // 2, SIDE // 4 + SIDE // 2 * place].argmax() for place in range(3)] == [0, 1, 2]


def test_long_texts_are_cut_on_one_line():
    assert shorten_text(" a\n b ") == "a b"
    assert len(shorten_text("word " * 100)) <= 140 and shorten_text("word " * 100).endswith("…")


def test_runs_without_a_subset_are_left_out_and_agents_have_no_ranks():
    shown, ids = np.arange(4), np.arange(4)
    runs = [{"method": name, "keep": "0.5", "seed": 0, "subset": name, "scores": None} for name in ("agent", "lost")]
    runs += [{"method": "el2n", "keep": keep, "seed": 0, "subset": "el2n", "scores": "scores"} for keep in ("0.25", "0.5", "0.75")]
    subsets = {"agent": {"0.5": np.array([3, 1])}, "el2n": {"0.25": np.array([2]), "0.5": np.array([2, 0])}}
    found = describe_methods(runs, shown, subsets, {"scores": {"scores": np.array([1.0, -1.0, 2.0, 0.0]), "ids": ids}})
    assert list(found) == ["agent", "el2n"]
    assert found["agent"]["ranks"] == {}
    assert {keep: read_mask(masks["0"], 4) for keep, masks in found["el2n"]["kept"].items()} == {
        "0.25": [False, False, True, False],
        "0.5": [True, False, True, False],
    }
    assert read_ranks(found["el2n"]["ranks"]["0"]) == [43690, 0, 65535, 21845]


@pytest.fixture
def place(tmp_path):
    """Pools of 40 images and 30 texts, with one method's subsets and scores for the images."""
    rng, labels = np.random.default_rng(3), np.arange(40) % 4
    for name, count in (("dots", 40), ("words", 30)):
        (tmp_path / name / "prepared" / "pool").mkdir(parents=True)
        (tmp_path / name / "prepared" / "manifest.json").write_text("{}")
        write_array(tmp_path / name / "prepared" / "pool" / "labels.npy", labels[:count])
    write_array(tmp_path / "dots/prepared/pool/images.npy", rng.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8))
    lines = [json.dumps({"text": f"text {number}", "options": ["yes", "no"]}) for number in range(30)]
    (tmp_path / "words/prepared/pool/texts.jsonl").write_text("\n".join(lines) + "\n")
    scores = rng.normal(size=40)
    write_arrays(tmp_path / "subsets.npz", {"0.5": np.argsort(-scores)[:20]})
    write_arrays(tmp_path / "scores.npz", {"scores": scores, "ids": np.arange(40), "labels": labels})
    return tmp_path


def make_spec(place, **others: object) -> dict:
    runs = [{"method": "el2n", "keep": "0.5", "seed": 0, "subset": str(place / "subsets.npz"), "scores": str(place / "scores.npz")}]
    lost = [{**runs[0], "method": "lost", "subset": str(place / "lost.npz"), "scores": None}]
    shared = {"title": "Some data", "classes": None, "seed": 1}
    dots = {**shared, "id": "dots", "data": str(place / "dots/prepared/manifest.json"), "is_text": False, "most": 10, "runs": runs + lost}
    words = {**shared, "id": "words", "data": str(place / "words/prepared/manifest.json"), "is_text": True, "most": 12, "runs": []}
    return {"paper": "p", "datasets": [dots | others, words], "code": "x"}


def collect(place, spec: dict) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "selectbench.stages.collect_subsets", "--data", "--subsets", "--browser", str(place / "out.json")]
    return subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, check=False)


def test_the_stage_collects_pictures_and_texts_the_same_twice(place):
    assert collect(place, make_spec(place)).stderr == ""
    first = (place / "out.json").read_bytes()
    assert collect(place, make_spec(place)).returncode == 0
    assert (place / "out.json").read_bytes() == first
    dots, words = json.loads(first)["datasets"]
    assert (dots["ids"], dots["num_pool"], dots["classes"]) == (None, 40, ["0", "1", "2", "3"])  # small enough to be shown in full
    assert list(dots["methods"]) == ["el2n"]
    mask, ranks = read_mask(dots["methods"]["el2n"]["kept"]["0.5"]["0"], 40), np.array(read_ranks(dots["methods"]["el2n"]["ranks"]["0"]))
    assert sum(mask) == 20 and ranks[np.array(mask)].min() > ranks[~np.array(mask)].max()
    assert len(words["ids"]) == len(words["texts"]) == len(words["labels"]) == 12
    assert words["texts"][0] == f"text {words['ids'][0]} yes no"
    assert words["labels"] == [sample % 4 for sample in words["ids"]]


def test_a_pool_that_is_not_there_is_one_line(place):
    result = collect(place, make_spec(place, data=str(place / "nothing/prepared/manifest.json")))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "no such split" in result.stderr
    assert not (place / "out.json").exists()
