import pytest
from artefact_fixtures import by_id, make_figure_spec, make_records

from selectbench.artefacts.figures import assign_styles, draw_figure, list_points, render_figure
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
    assert digits.get_xlabel() == "kept (% of the training pool)"
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


@pytest.mark.parametrize("kind", ["accuracy_by_keep", "cost"])
@pytest.mark.parametrize("file_format", ["pdf", "png", "svg"])
def test_two_renders_have_equal_bytes(records, kind, file_format):
    first, second = (render_figure(draw_figure(make_figure_spec(kind), records), file_format) for _ in range(2))
    assert first == second
    assert b"Date" not in first


def test_holes_are_refused_or_told_in_the_figure(records):
    with pytest.raises(RecordError, match="partial: true"):
        draw_figure(make_figure_spec("cost", partial=False), records)
    assert draw_figure(make_figure_spec("cost"), records).get_supxlabel() == "2 of 39 runs have no value and are left out"
    assert draw_figure(make_figure_spec("cost", partial=False, with_holes=False), records).get_supxlabel() == ""


def test_keep_fractions_are_ordered_as_numbers():
    cells = {keep: {"mean": 1.0} for keep in ("1", "0.5", "0.05", "0.1")}
    assert [keep for keep, _ in list_points({"cells": cells})] == [0.05, 0.1, 0.5, 1.0]


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
