"""Orders of methods with less and with more data: differences from random selection, and how well orders agree."""

import copy
from pathlib import Path

import pytest
from artefact_fixtures import GOLDEN, by_id, make_figure_spec, make_records, make_table_spec
from scipy.stats import spearmanr

from selectbench.artefacts.figures import draw_figure
from selectbench.artefacts.orders import agree_with_others, describe_agreement, list_pairs
from selectbench.artefacts.tables import fill_table
from selectbench.planning.plan import load_plan
from selectbench.records.files import digest_file, read_json, write_sealed
from selectbench.stages.draw_figure import DrawFigure
from selectbench.stages.draw_figure import draw_figure as run_stage

LESS = {"scale": "smaller", "table": "results/smaller/rl_selector/tables/main.cells.json", "sha256": None}
SPEC = make_figure_spec("accuracy_by_keep") | {"id": "order", "kind": "order", "less_data": LESS}


@pytest.fixture
def records():
    return by_id(make_records())


@pytest.fixture
def less(records):
    """Return the same table, in which every difference from random selection is twice as large and has the other sign."""
    table = copy.deepcopy(fill_table(make_table_spec("smaller"), records))
    for cell in (cell for panel in table["panels"] for row in panel["rows"] for cell in row["cells"].values()):
        if found := cell["against_random"]:
            cell["against_random"] = found | {"mean": -2 * found["mean"], "low": None, "high": None}
    return table


def test_every_method_is_drawn_at_its_two_differences(records, less):
    figure = draw_figure(SPEC, records, less=less)
    panels = [panel for panel in fill_table(make_table_spec(), records)["panels"] if panel["absent"] is None]
    keeps = [column["id"] for column in SPEC["columns"] if column["id"] != "1"]
    expected = [found for panel in panels for keep in keeps if (found := list_differences(panel, keep))]
    assert len(figure.axes) == len(expected) > 1
    for axes, differences in zip(figure.axes, expected, strict=True):
        points = {line.get_label(): list(line.get_xydata()[0]) for line in axes.lines if line.get_label() in differences}
        assert points == {name: pytest.approx([-2 * mean, mean]) for name, mean in differences.items()}


def list_differences(panel, keep):
    cells = {row["id"]: row["cells"].get(keep) for row in panel["rows"]}
    return {name: cell["against_random"]["mean"] for name, cell in cells.items() if cell and cell["against_random"]}


def test_opposite_orders_have_a_rank_correlation_of_minus_one(records, less):
    (first, *_) = [panel for panel in fill_table(make_table_spec(), records)["panels"] if panel["absent"] is None]
    keep = next(keep for keep in ("0.3", "0.5", "0.7") if len(list_pairs(less["panels"][0], first, keep)) > 1)
    assert describe_agreement(list_pairs(less["panels"][0], first, keep)).startswith("Spearman −1.00\nseeds: ")


def test_a_scale_without_results_is_named(records):
    (text,) = draw_figure(SPEC, records).texts
    assert "no results at scale smaller" in text.get_text()


def test_tables_without_a_common_panel_give_the_reasons(records, less):
    for panel in less["panels"]:
        panel["absent"] = "left out"
    (text,) = draw_figure(SPEC, records, less=less).texts
    assert "left out" in text.get_text()


def test_a_seed_is_compared_with_the_mean_of_the_others():
    values = [[1.0, 2.0, 4.0], [2.0, 1.0, 3.0], [3.0, 5.0, 1.0], [9.0, 4.0, 2.0]]
    expected = [spearmanr([row[s] for row in values], [sum(row) - row[s] for row in values]).statistic for s in range(3)]
    assert agree_with_others(values) == pytest.approx(sum(expected) / 3)
    assert agree_with_others([*values, [1.0, None, 2.0]]) == agree_with_others(values)


@pytest.mark.parametrize("values", [[[1.0], [2.0]], [[1.0, 1.0], [1.0, 1.0]], [[None, 1.0]]])
def test_one_seed_or_one_value_has_no_order(values):
    assert agree_with_others(values) is None


def test_the_stage_reads_the_table_of_the_scale_with_less_data_and_names_it(tmp_path, less):
    table = tmp_path / "main.cells.json"
    write_sealed(table, less)
    spec = SPEC | {"less_data": {"scale": "smaller", "table": str(table), "sha256": digest_file(table)}}
    inputs = {name: [] for name in DrawFigure.reads} | {"records": [GOLDEN / "records.jsonl"]}
    outputs = {name: tmp_path / f"order.{name}" for name in DrawFigure.writes}
    run_stage(spec, inputs, outputs)
    assert read_json(outputs["sources"])["made_from"]["less_data"] == [digest_file(table)]
    assert outputs["png"].stat().st_size > 0


def test_only_a_scale_that_names_one_with_less_data_has_the_figure(tmp_path):
    root = Path(__file__).parents[2]
    assert DrawFigure("rl_selector", "order") not in DrawFigure.list_wanted(load_plan(root, {"scale": "small_cpu"}))
    plan = load_plan(root, {"scale": "medium_cpu", "results": str(tmp_path)})
    (figure,) = [job for job in DrawFigure.list_wanted(plan) if job.figure == "order"]
    without = figure.specify(plan)["less_data"]
    table = tmp_path / "small_cpu/rl_selector/tables/main.cells.json"
    assert without == {"scale": "small_cpu", "table": str(table), "sha256": None}
    table.parent.mkdir(parents=True)
    table.write_text("{}")
    assert figure.specify(plan)["less_data"] == without | {"sha256": digest_file(table)}
