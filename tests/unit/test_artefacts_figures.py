import io
import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from artefact_fixtures import (
    FAILED,
    FIGURE_TITLES,
    by_id,
    make_clusters,
    make_figure_spec,
    make_measurements,
    make_overlaps,
    make_records,
    make_states,
)
from matplotlib.collections import PathCollection
from PIL import Image

from selectbench.artefacts.cells import t_interval
from selectbench.artefacts.figures import draw_figure, list_points, render_figure, shrink_png, shrink_svg
from selectbench.artefacts.heatmaps import format_share, order_matrix
from selectbench.artefacts.plots import STYLE, assign_styles
from selectbench.artefacts.trajectories import Curve, average_curves, prolong_curves, spread_keeps
from selectbench.errors import ConfigError, RecordError


@pytest.fixture(scope="module")
def records():
    return by_id(make_records())


def lines_of(axes) -> list[str]:
    return [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]


def test_accuracy_figure_has_a_panel_a_dataset_and_a_line_a_method(records):
    figure = draw_figure(make_figure_spec("accuracy_by_keep"), records)
    digits, blobs = figure.axes
    assert digits.get_title(loc="left") == "scikit-learn digits,\nConvNet → ResNet-8"
    assert lines_of(digits) == ["full", "random", "random_balanced", "el2n", "moderate"]
    assert lines_of(blobs) == ["full", "random", "random_balanced", "el2n"]
    assert digits.get_ylabel() == "top-1 accuracy (%)"
    assert digits.get_xlabel() == "keep fraction (% of the training pool)"
    assert digits.get_ylim()[1] <= 100.5
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Full data", "Random", "Random, class-balanced", "EL2N", "Moderate-DS", "Not built yet:\nRL-Selector"]


def test_cost_figure_has_wall_time_above_sample_visits(records):
    figure = draw_figure(make_figure_spec("cost"), records)
    assert [axes.get_xlabel().split("\n")[0] for axes in figure.axes] == ["selection + training time"] * 2 + ["sample visits"] * 2
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low < 1 < high
    (line,) = [line for line in figure.axes[2].lines if line.get_label() == "el2n"]
    assert line.get_xdata().tolist() == pytest.approx([1.3, 1.5])


@pytest.mark.parametrize("kind", FIGURE_TITLES)
@pytest.mark.parametrize("file_format", ["pdf", "png", "svg"])
def test_two_renders_have_equal_bytes(records, kind, file_format):
    inputs = (make_figure_spec(kind), records, make_overlaps(), make_measurements(), make_states(), make_clusters())
    first, second = (render_figure(draw_figure(*inputs), file_format) for _ in range(2))
    assert first == second
    assert b"Date" not in first


def test_small_drawings_show_what_large_ones_do(records):
    figure = draw_figure(make_figure_spec("cost"), records)
    streams = {form: io.BytesIO() for form in ("png", "svg")}
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        for form, stream in streams.items():
            figure.savefig(stream, format=form, dpi=200)
    large, small = streams["svg"].getvalue(), shrink_svg(streams["svg"].getvalue())
    assert len(small) < 0.9 * len(large)
    root, shrunk = (ElementTree.fromstring(content) for content in (large, small))
    elements = list(zip(root.iter(), shrunk.iter(), strict=True))
    assert len(elements) > 100
    for one, other in elements:
        assert one.tag == other.tag and one.attrib.keys() == other.attrib.keys()
        for name, value in one.attrib.items():
            numbers, rounded = (re.findall(r"-?\d+\.?\d*", text) for text in (value, other.attrib[name]))
            assert [float(number) for number in numbers] == pytest.approx([float(number) for number in rounded], abs=0.00501), name
    first, second = (
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)
        for content in (streams["png"].getvalue(), shrink_png(streams["png"].getvalue()))
    )
    assert first.shape == second.shape and np.abs(first - second).mean() < 1 and np.abs(first - second).max() < 64


def test_holes_are_refused_or_told_in_the_figure(records):
    with pytest.raises(RecordError, match="partial: true"):
        draw_figure(make_figure_spec("cost", partial=False), records)
    assert draw_figure(make_figure_spec("cost"), records).get_supxlabel() == "2 of 39 runs omitted: no value"
    assert draw_figure(make_figure_spec("cost", partial=False, with_holes=False), records).get_supxlabel() == ""


def test_keep_fractions_are_ordered_as_numbers():
    cells = {keep: {"mean": 1.0} for keep in ("1", "0.5", "0.05", "0.1")}
    assert [point.keep for point in list_points({"cells": cells})] == [0.05, 0.1, 0.5, 1.0]


def test_styles_tell_rows_apart_and_do_not_move_when_a_method_is_built():
    rows = [{"id": f"m{index}", "control": False, "planned": index == 3} for index in range(12)]
    styles = assign_styles([{"rows": rows}])
    assert len(set(map(str, styles.values()))) == 12
    assert styles == assign_styles([{"rows": [row | {"planned": False} for row in rows]}])


def test_a_figure_without_any_panel_says_so(records):
    spec = make_figure_spec("cost")
    spec["panels"] = [panel for panel in spec["panels"] if panel["absent"] is not None]
    figure = draw_figure(spec, records)
    assert "needs the ImageNet-1k files" in figure.texts[0].get_text()
    assert render_figure(figure, "svg")


def test_an_unknown_kind_names_the_closest(records):
    with pytest.raises(ConfigError, match="did you mean 'cost'"):
        draw_figure(make_figure_spec("cost") | {"kind": "costs"}, records)


def test_trajectories_have_a_panel_a_keep_fraction_and_a_line_a_method(records):
    figure = draw_figure(make_figure_spec("trajectory"), records)
    assert [axes.get_title(loc="left").split("\n")[-1] for axes in figure.axes] == ["30 % kept", "50 % kept"] * 2
    assert [lines_of(axes) for axes in figure.axes] == [["el2n", "moderate"], ["el2n", "moderate"], ["el2n"], []]
    assert figure.axes[3].texts[0].get_text() == "no trajectory"
    assert figure.axes[0].get_ylabel() == "regret relative to the top-k of E"
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "el2n"]
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    # seeds start at 0.9, 0.85 and 0.8, multiplied by 0.6 every epoch
    assert line.get_ydata().tolist() == pytest.approx([0.85 * 0.6**epoch for epoch in range(5)], abs=1e-4)
    marks = [points for points in figure.axes[0].collections if isinstance(points, PathCollection)]
    assert sorted(points.get_offsets()[0, 0] for points in marks) == [3, 3, 4, 4, 5, 5]


def test_failed_searches_are_drawn_dashed_counted_and_in_no_mean(records):
    figure = draw_figure(make_figure_spec("trajectory"), records)
    assert figure.get_supxlabel() == "1 of 15 runs failed (thin dashed lines, not in the mean)"
    (mean,) = [line for line in figure.axes[2].lines if line.get_label() == "el2n"]
    (failed,) = [line for line in figure.axes[2].lines if line.get_linewidth() == 0.8 and len(line.get_xdata()) == 5]
    assert mean.get_ydata()[0] == pytest.approx((0.9 + 0.8) / 2)
    assert failed.get_ydata().tolist() == records[FAILED]["selection"]["trajectory"]["regret"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["EL2N", "Moderate-DS", "Failed run"]


def test_a_search_that_ends_early_keeps_its_best_set():
    short, long = Curve(np.arange(1, 3), np.array([0.9, 0.8]), 2, False), Curve(np.arange(1, 5), np.array([1.0, 0.9, 0.7, 0.6]), 4, False)
    kept, same = prolong_curves([short, long])
    assert kept.epochs.tolist() == [1, 2, 3, 4] and kept.values.tolist() == [0.9, 0.8, 0.8, 0.8] and kept.chosen_epoch == 2
    assert same.values.tolist() == long.values.tolist()
    assert average_curves([kept, same]).mean == pytest.approx([0.95, 0.85, 0.75, 0.7])


def test_proxy_losses_are_drawn_by_proxy_trainings(records):
    changed = {}
    for run, record in records.items():
        trajectory = {"epoch": [1, 2, 3], "proxy_loss": [None, 0.9, 0.7 + 0.1 * record["run"]["seed"]], "chosen_epoch": 3}
        selection = record["selection"] | ({"trajectory": trajectory} if record["run"]["method"] == "moderate" else {})
        changed[run] = record | {"selection": selection}
    figure = draw_figure(make_figure_spec("trajectory") | {"quantity": "proxy_loss"}, changed)
    axes = figure.axes[0]
    assert lines_of(axes) == ["moderate"]  # the other method's trajectory has no proxies
    assert (axes.get_ylabel(), figure.axes[1].get_xlabel()) == ("lowest validation loss of a proxy", "proxy trainings")
    (line,) = [line for line in axes.lines if line.get_label() == "moderate"]
    np.testing.assert_allclose(line.get_ydata(), [np.nan, 0.9, 0.8])
    assert figure.legends[0].get_title().get_text() == "marker = chosen set"
    assert draw_figure(make_figure_spec("trajectory"), records).legends[0].get_title().get_text() == "marker = chosen epoch"


def test_kept_fractions_are_held_against_the_wanted_one(records):
    figure = draw_figure(make_figure_spec("trajectory") | {"quantity": "kept_fraction"}, records)
    for axes, keep in zip(figure.axes[:2], (0.3, 0.5), strict=True):
        assert [keep, keep] in [list(line.get_ydata()) for line in axes.lines]
        (band,) = axes.patches
        assert (band.get_y(), band.get_height()) == pytest.approx((keep - 0.01, 0.02))


def test_a_search_without_a_record_is_refused_or_told(records):
    spec = make_figure_spec("trajectory", with_holes=False)
    fewer = {run: record for run, record in records.items() if run != spec["panels"][0]["rows"][3]["cells"]["0.3"]["runs"][0]}
    with pytest.raises(RecordError, match="rl_selector/trajectory: 1 of 12 runs has no value; first: .*: no record"):
        draw_figure(spec | {"partial": False}, fewer)
    assert draw_figure(spec, fewer).get_supxlabel() == "1 run omitted: no record"
    figure = draw_figure(spec | {"methods": ["random"]}, records)
    assert "no run of these methods has a trajectory" in figure.texts[0].get_text()


def test_a_wrong_quantity_or_method_names_the_closest(records):
    with pytest.raises(ConfigError, match="unknown quantity 'regrets'; did you mean 'regret'"):
        draw_figure(make_figure_spec("trajectory") | {"quantity": "regrets"}, records)
    with pytest.raises(ConfigError, match="no row 'eln2'; did you mean 'el2n'"):
        draw_figure(make_figure_spec("trajectory") | {"methods": ["eln2"]}, records)


def test_bands_over_seeds_by_hand():
    first, second = ([1.0, 2.0, math.nan, math.nan], [3.0, math.nan, math.nan])
    curves = [Curve(np.arange(1, len(values) + 1), np.array(values), None, False) for values in (first, second)]
    band = average_curves(curves)
    assert band.epochs.tolist() == [1, 2, 3, 4]
    # mean of 1 and 3 is 2 with half-width 12.7062 · √2 / √2; the others have one value or none
    np.testing.assert_allclose(band.mean, [2, 2, np.nan, np.nan])
    np.testing.assert_allclose(band.high, [2 + 12.7062, np.nan, np.nan, np.nan], rtol=1e-5)
    assert band.low[0] == pytest.approx(t_interval([1.0, 3.0]).low)


def test_at_most_six_keep_fractions_are_drawn():
    keeps = [f"0.{digit}" for digit in range(1, 10)]
    assert spread_keeps(keeps[:6]) == keeps[:6]
    assert spread_keeps(keeps) == ["0.1", "0.3", "0.4", "0.6", "0.7", "0.9"]


def test_overlaps_are_drawn_in_the_order_of_the_table():
    overlaps = make_overlaps()
    shuffled = [
        overlap | {"methods": overlap["methods"][::-1], "overlap": [row[::-1] for row in overlap["overlap"][::-1]]} for overlap in overlaps
    ]
    spec = make_figure_spec("overlap")
    figure, same = (draw_figure(spec, {}, found) for found in (overlaps, shuffled[::-1]))
    assert render_figure(figure, "svg") == render_figure(same, "svg")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["30 % kept, chance 0.30", "50 % kept, chance 0.50"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:2] == ["Random  1", "Random, class-balanced  2"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:4] == ["1", ".33", ".40", ".53"]
    assert len(texts) == 15
    other = overlaps[0] | {"keep": "0.7"}, overlaps[0] | {"methods": ["moso"], "overlap": [[1.0]]}
    assert len(draw_figure(spec, {}, [*overlaps, other[0]]).axes) == 2
    assert "no subsets to compare" in draw_figure(spec, {}, other).texts[0].get_text()
    assert "no subsets to compare" in draw_figure(spec, {}).texts[0].get_text()


def test_methods_without_a_subset_leave_a_gap():
    matrix = order_matrix({"methods": ["b"], "overlap": [[0.5]]}, ["a", "b"])
    np.testing.assert_array_equal(matrix, [[np.nan, np.nan], [np.nan, 0.5]])


@pytest.mark.parametrize(("share", "text"), [(0.426, ".43"), (0.0, ".00"), (0.999, "1"), (1.0, "1")])
def test_shares_need_little_room(share, text):
    assert format_share(share) == text


def test_measurements_have_a_line_a_seed_their_mean_and_the_correlation():
    figure = draw_figure(make_figure_spec("measured"), {}, (), make_measurements())
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "scikit-learn digits,\nConvNet → ResNet-8"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ε-sample cover of the subset", "gradient error")
    *seeds, mean = axes.lines
    assert len(seeds) == 3
    np.testing.assert_allclose(mean.get_ydata(), np.mean([line.get_ydata() for line in seeds], axis=0))
    assert axes.texts[0].get_text() == "Spearman +0.85\n(mean of 3 seeds)"


def test_a_proposition_nobody_measured_says_so():
    figure = draw_figure(make_figure_spec("measured") | {"proposition": "other"}, {}, (), make_measurements())
    assert "no measurements of 'other'" in figure.texts[0].get_text()
