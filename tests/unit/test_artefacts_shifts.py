"""Shifted test sets: clean accuracy and joint interval with every number; noise kept; curves by severity; unreadable images."""

import math

import pytest
from artefact_fixtures import DIGITS, by_id, make_figure_spec, make_records, make_table_spec, retest, run_id
from scipy.stats import norm, t

from selectbench.artefacts.figures import draw_figure
from selectbench.artefacts.severities import list_accuracies
from selectbench.artefacts.shifts import describe_shift
from selectbench.artefacts.tables import KINDS, fill_table, render_csv, render_latex, render_markdown
from selectbench.errors import ConfigError

SHIFTED = retest(make_table_spec() | {"kind": "shifted"}, "mnist_shift")


@pytest.fixture
def records():
    return by_id(make_records())


def find_cell(table, method, keep):
    return next(row["cells"][keep] for row in table["panels"][0]["rows"] if row["id"] == method)


def test_the_interval_covers_seeds_and_images_by_hand():
    tests = [{"top1": top1, "num": 400, "clean_top1": top1 + 20, "clean_num": 100} for top1 in (50.0, 52.0, 54.0)]
    shift = describe_shift(tests)
    seeds = t.ppf(0.975, 2) * 2.0 / math.sqrt(3)
    images = 100 * norm.ppf(0.975) * math.sqrt(0.52 * 0.48 / 400)
    assert shift["interval"] == pytest.approx([52 - math.hypot(seeds, images), 52 + math.hypot(seeds, images)], abs=1e-4)
    assert (shift["clean"], shift["num"], shift["clean_num"]) == (72.0, 400, 100)
    alone = describe_shift(tests[:1])["interval"]
    assert alone == pytest.approx([50 - 100 * norm.ppf(0.975) * math.sqrt(0.25 / 400), 50 + 100 * norm.ppf(0.975) * math.sqrt(0.25 / 400)])
    assert describe_shift([]) is None


def test_every_number_stands_beside_its_clean_accuracy(records):
    table = fill_table(SHIFTED, records)
    cell = find_cell(table, "el2n", "0.3")
    assert cell["shift"]["clean"] == pytest.approx(cell["mean"] + 20)
    text = "".join(KINDS["shifted"].format(cell, "top1"))
    assert text.startswith(f"{cell['mean']:.1f} [") and text.endswith(f"], clean {cell['mean'] + 20:.1f}")
    assert text.split(" [")[1] in render_markdown(table)
    assert "clean" in render_latex(table)
    assert "clean,minus_clean,joint_low,joint_high,num_images,num_clean_images" in render_csv(table)
    assert "the 397 test images" in table["caption"]
    facts = dict(KINDS["shifted"].list_facts(cell, table))
    assert facts["Clean accuracy"].endswith("(−20.0 under the shift), 397 images of the same classes")


def test_a_shifted_table_shows_accuracy_only(records):
    with pytest.raises(ConfigError, match="shows top1, not 'total_wall_s'"):
        fill_table(SHIFTED | {"metric": "total_wall_s"}, records)


def test_the_share_of_noise_that_is_kept_and_less_is_better(records):
    for record in records.values():
        kept = 280 if record["run"]["method"] == "full" else 100 if record["run"]["method"] == "el2n" else 150 + record["run"]["seed"]
        record["noise"] = {"pool": 280, "kept": kept}
    table = fill_table(make_table_spec(with_holes=False) | {"metric": "noise_kept"}, records)
    assert find_cell(table, "full", "1")["mean"] == 100
    cell = find_cell(table, "el2n", "0.3")
    assert cell["mean"] == pytest.approx(100 * 100 / 280)
    assert cell["best"] and not cell["below_random"] and cell["against_random"]["mean"] == pytest.approx(100 * 51 / 280)
    assert find_cell(table, "moderate", "0.3")["best"] is False
    assert "on the test set" not in table["caption"]


def test_a_pool_without_noise_has_no_share_of_it(records):
    table = fill_table(make_table_spec() | {"metric": "noise_kept"}, records)
    assert find_cell(table, "el2n", "0.3")["mean"] is None
    assert "its record has no finite noise_kept" in " ".join(note["text"] for note in table["footnotes"])


def test_unreadable_images_are_footnotes(records):
    records[run_id(DIGITS, "el2n", "0.3", 1)]["test"]["test"]["unreadable"] = 3
    records[run_id(DIGITS, "el2n", "0.5", 1)]["training"]["unreadable"] = 2
    table = fill_table(make_table_spec(with_holes=False), records)
    texts = {note["mark"]: note["text"] for note in table["footnotes"]}
    (one,), (two,) = (find_cell(table, "el2n", keep)["footnotes"] for keep in ("0.3", "0.5"))
    assert texts[one] == "up to 3 unreadable images per run left out of the test set"
    assert texts[two] == "up to 2 unreadable images per run replaced by grey in training"


def test_masks_that_miss_the_keep_fraction_are_footnotes(records):
    for seed, distance in enumerate((0.016, 0.0, 0.28)):
        records[run_id(DIGITS, "el2n", "0.3", seed)]["selection"]["distance"] = distance
    records[run_id(DIGITS, "el2n", "0.5", 1)]["selection"]["distance"] = 0.016
    table = fill_table(make_table_spec(with_holes=False), records)
    texts = {note["mark"]: note["text"] for note in table["footnotes"]}
    (one,), (two,) = (find_cell(table, "el2n", keep)["footnotes"] for keep in ("0.3", "0.5"))
    assert texts[one] == "nearest epoch 1.6 to 28.0 points from the target keep fraction (2 of 3 seeds); the k largest actions are kept"
    assert texts[two] == "nearest epoch 1.6 points from the target keep fraction (1 of 3 seeds); the k largest actions are kept"
    assert not find_cell(table, "moderate", "0.3")["footnotes"]


def corrupt(records):
    for record in records.values():
        if record["status"] == "ok":
            test = record["test"]["test"]
            levels = [test["top1"] - 5 * severity for severity in range(1, 6)]
            record["test"]["corrupted"] = test | {
                "clean_top1": test["top1"],
                "by_corruption": {"fog": levels, "snow": [value - 2 for value in levels]},
            }


def test_curves_by_severity_begin_at_the_clean_accuracy_and_average_corruptions(records):
    corrupt(records)
    spec = retest(make_figure_spec("accuracy_by_keep", with_holes=False) | {"kind": "severity", "keep": "0.3"}, "corrupted")
    (axes,) = draw_figure(spec, records).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == ["full", "random", "random_balanced", "el2n", "moderate"]
    mean = sum(records[run_id(DIGITS, "el2n", "0.3", seed)]["test"]["test"]["top1"] for seed in range(3)) / 3
    assert lines["el2n"] == pytest.approx([mean, *(mean - 5 * severity - 1 for severity in range(1, 6))])
    assert list_accuracies({"clean_top1": 90.0, "by_corruption": {"fog": [80.0, 60.0]}}).tolist() == [90.0, 80.0, 60.0]


def test_a_figure_of_severities_needs_a_corrupted_test_set_and_a_keep_fraction_of_its_table(records):
    spec = make_figure_spec("accuracy_by_keep", with_holes=False) | {"kind": "severity", "keep": "0.3"}
    with pytest.raises(ConfigError, match="figure accuracy_by_keep: test set 'test' is not a corrupted one"):
        draw_figure(spec, records)
    with pytest.raises(ConfigError, match="no keep fraction 0.4; did you mean '0.5'"):
        draw_figure(spec | {"keep": "0.4"}, records)
