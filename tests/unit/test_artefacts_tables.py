import csv
import io
import math
import re
from itertools import pairwise

import pytest
from artefact_fixtures import by_id, make_records, make_table_spec, retest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from selectbench.artefacts.formats import (
    LATEX,
    count_in_letters,
    escape_latex,
    escape_markdown,
    escape_paragraph,
    format_number,
    format_signed,
    join_lines,
)
from selectbench.artefacts.grids import mark_best
from selectbench.artefacts.tables import fill_table, frame_table, render_csv, render_latex, render_markdown
from selectbench.artefacts.verdict import list_losses
from selectbench.errors import ConfigError


@pytest.fixture
def records():
    return by_id(make_records())


@pytest.fixture
def table(records):
    return fill_table(make_table_spec(), records)


def find_cell(table: dict, panel: str, row: str, column: str) -> dict:
    (found,) = [line["cells"][column] for block in table["panels"] if block["id"] == panel for line in block["rows"] if line["id"] == row]
    return found


def test_full_data_gets_a_column_only_if_the_paper_has_none(table, records):
    assert [column["id"] for column in table["columns"]] == ["0.3", "0.5", "1"]
    spec = make_table_spec()
    spec["columns"] = [*spec["columns"], {"id": "1", "title": "all"}]
    assert [column["title"] for column in fill_table(spec, records)["columns"]] == ["30 %", "50 %", "all"]


def test_a_method_below_random_is_marked_and_controls_are_not(table):
    assert find_cell(table, "digits", "el2n", "0.3")["below_random"]
    assert not find_cell(table, "digits", "moderate", "0.3")["below_random"]
    assert find_cell(table, "digits", "random_balanced", "0.3")["against_random"] is None
    assert "86.5 ± 0.5 ▼" in render_markdown(table)
    assert r"$\blacktriangledown$" in render_latex(table)
    assert "▼ worse than uniform random" in table["caption"]


def test_a_single_seed_is_never_marked(records):
    spec = make_table_spec(with_holes=False)
    for panel in spec["panels"]:
        for row in panel["rows"]:
            for cell in row["cells"].values():
                cell["runs"] = cell["runs"][:1]
    table = fill_table(spec, records)
    cell = find_cell(table, "digits", "el2n", "0.3")
    assert cell["against_random"]["mean"] < 0
    assert not cell["below_random"]
    assert "| 86.7 |" in render_markdown(table)


def test_best_is_bold_and_full_data_is_not(table):
    assert find_cell(table, "digits", "moderate", "0.3")["best"]
    assert not find_cell(table, "digits", "full", "1")["best"]
    assert "**91.8 ± 0.5**" in render_markdown(table)
    assert r"\textbf{91.8} {\scriptsize $\pm$ 0.5}" in render_latex(table)


def test_best_means_that_print_alike_share_it_and_holes_do_not_win():
    def row(name: str, mean: float, holes: list) -> dict:
        return {"id": name, "cells": {"0.3": {"runs": [name], "mean": mean, "holes": holes, "whole_pool": name == "e", "best": False}}}

    rows = [row("a", 90.01, []), row("b", 90.04, []), row("c", 80.0, []), row("d", 95.0, ["hole"]), row("e", 96.0, [])]
    mark_best(rows, [{"id": "0.3"}], "top1")
    assert [line["cells"]["0.3"]["best"] for line in rows] == [True, True, False, False, False]


def test_a_text_table_never_bolds_a_method_whose_training_saw_the_whole_pool():
    records = by_id(make_records())
    for record in records.values():
        if record["run"]["method"] == "moderate":
            record["selection"] |= {"sampler": "data_agent", "trajectory": {"chosen_epoch": None, "epoch": [1, 2], "kept": [1400, 420]}}
    images = fill_table(make_table_spec(), records)
    assert find_cell(images, "digits", "moderate", "0.3")["best"]
    for record in records.values():
        record["tokens"] = {"pool": 10000, "kept": 3000}
    texts = fill_table(make_table_spec(), records)
    assert not find_cell(texts, "digits", "moderate", "0.3")["best"]
    assert find_cell(texts, "digits", "random_balanced", "0.3")["best"]
    assert "excluding full data, methods whose training saw the whole pool and cells with missing runs" in texts["caption"]
    for record in records.values():
        if record["run"]["method"] == "moderate":
            record["selection"]["trajectory"]["kept"] = [420, 420]
    assert find_cell(fill_table(make_table_spec(), records), "digits", "moderate", "0.3")["best"]


def test_full_data_for_fewer_epochs_is_not_bold_either():
    rows = [
        {"id": name, "cells": {"0.3": {"runs": [name], "mean": mean, "holes": [], "best": False, "whole_pool": False}}}
        for name, mean in (("a", 90.0), ("b", 91.0), ("full_fewer", 95.0))
    ]
    mark_best(rows, [{"id": "0.3"}], "top1")
    assert [line["cells"]["0.3"]["best"] for line in rows] == [False, True, False]


def test_a_rule_with_a_limit_says_so_where_it_was_reached(records):
    assert not any(cell["reached_keep"] for cell in find_row(fill_table(make_table_spec(), records), "el2n").values())
    for name, record in records.items():
        if "/el2n/" in name and record["selection"]:
            record["selection"]["reached_keep"] = 0.55
    table = fill_table(make_table_spec(), records)
    (note,) = [note for note in table["footnotes"] if "rule" in note["text"]]
    assert note["text"] == "the method's rule cannot be set to a keep fraction below 55 %; all lower ones give the same runs"
    cells = find_row(table, "el2n")
    assert all(note["mark"] in cell["footnotes"] for cell in cells.values()) and set(cells) == {"0.3", "0.5"}
    assert not any(note["mark"] in cell["footnotes"] for cell in find_row(table, "moderate").values())
    assert f"<sup>{note['mark']}</sup>" in render_markdown(table)


def find_row(table: dict, name: str) -> dict:
    """Return the cells of a row of the first panel that has it."""
    return next(row["cells"] for panel in table["panels"] for row in panel["rows"] if row["id"] == name)


def test_lowest_loss_is_best(records):
    table = fill_table(make_table_spec() | {"metric": "loss"}, records)
    assert find_cell(table, "digits", "moderate", "0.5")["best"]
    assert find_cell(table, "digits", "el2n", "0.5")["below_random"]


def test_an_unknown_kind_names_the_closest(records):
    with pytest.raises(ConfigError, match="table main: unknown kind 'gridd'; did you mean 'grid'"):
        fill_table(make_table_spec() | {"kind": "gridd"}, records)


def test_costs_are_read_from_selection_and_training_and_the_lowest_is_best(records):
    table = fill_table(make_table_spec() | {"metric": "total_visits"}, records)
    cell = find_cell(table, "digits", "el2n", "0.3")
    assert cell["values"] == [28000 + 20 * 420] * 3
    # el2n costs 36 400 visits where random costs 8 400, at every seed
    assert cell["against_random"]["mean"] == pytest.approx(math.log(8400 / 36400))
    assert cell["below_random"] and not cell["best"]
    assert find_cell(table, "digits", "random", "0.3")["best"]
    text = render_markdown(table)
    assert "| EL2N | 36,400 ± 0 ▼ | 42,000 ± 0 ▼ |" in text
    assert "| *Random* | **8,400 ± 0** |" in text
    assert table["caption"].startswith("Selection plus training sample visits: mean ± standard deviation over n = 3 seeds. ")
    assert "▼ more expensive than uniform random" in table["caption"]
    assert ",36400," in render_csv(table)
    assert list_losses([table]) == []


def test_times_are_a_cost_with_more_decimals_below_ten_seconds(records):
    table = fill_table(make_table_spec() | {"metric": "total_wall_s"}, records)
    assert find_cell(table, "digits", "full", "1")["values"] == [6.0, 6.05, 6.1]
    assert "| EL2N | 5.98 ± 0.05 | 7.18 ± 0.05 |" in render_markdown(table)  # seeds are not independent timings
    assert format_number(123.46, "total_wall_s") == "123.5"
    assert "%)" not in table["caption"]


def test_best_epoch_is_an_extra_of_the_test_set_only(table, records):
    cell = find_cell(table, "digits", "el2n", "0.3")
    assert cell["best_epoch"] == pytest.approx(cell["mean"] + 0.25)
    shifted = fill_table(retest(make_table_spec(), "mnist_shift"), records)
    assert find_cell(shifted, "digits", "el2n", "0.3")["best_epoch"] is None


def test_planned_rows_and_absent_panels_are_shown(table):
    for text in (render_markdown(table), render_latex(table), frame_table(table).to_csv()):
        assert "RL-Selector" in text
        assert "not built yet" in text
        assert "needs the ImageNet-1k files" in text


def test_holes_have_a_dash_and_a_footnote_by_reason(records):
    for run, record in records.items():
        if run.startswith("blobs") and "/random/" in run:
            record |= {"status": "failed", "failure": {"reason": "out_of_memory", "log_tail": ""}}
    table = fill_table(make_table_spec(), records)
    text = render_markdown(table)
    assert "| *Random* | —<sup>a</sup> |" in text
    assert "<sup>a</sup> 3 of 3 seeds failed (0, 1, 2): out\\_of\\_memory  " in text
    assert r"---\textsuperscript{a}" in render_latex(table)
    assert [note["mark"] for note in table["footnotes"]] == ["a", "b", "c"]


def test_reported_values_are_compared_at_full_scale_only(table, records):
    assert find_cell(table, "digits", "el2n", "0.3")["status"] is None
    assert "The paper reports 2 of these cells" in table["caption"]
    full = fill_table(make_table_spec(scale="full"), records)
    assert find_cell(full, "digits", "el2n", "0.3")["status"] == "reproduced"
    assert find_cell(full, "digits", "el2n", "0.5")["status"] == "off by −3.4"
    assert "88.9 ± 0.5 ▼<br>off by −3.4 (92.34)" in render_markdown(full)
    assert "(off by $-$3.4)" in render_latex(full)


def test_every_cell_names_its_runs(table):
    frame = frame_table(table)
    cells = frame[frame["n"].notna()]
    assert len(cells) == 13
    assert (cells["run_ids"].str.split().str.len() == cells["runs"]).all()


def test_latex_is_escaped():
    assert escape_latex(r"a_b & 5 % \x {y} #$~^") == (r"a\_b \& 5 \% \textbackslash{}x \{y\} \#\$\textasciitilde{}\textasciicircum{}")
    assert escape_latex("ε → “q”") == r"$\varepsilon$ $\rightarrow$ ``q''"


def test_markdown_is_escaped():
    assert escape_markdown("a|b*_<") == r"a\|b\*\_\<"


MARKUP = st.lists(
    st.sampled_from([*"|*_`<>&$%#~[]()!-+=:\\{}^@ \n\t1.aü", "&lt;", "&#35;", "[a](b)", "1. ", "1234) ", "# ", "---", "http://a.b"]),
    max_size=12,
)
TEXTS = MARKUP.map("".join).map(lambda text: "x" if not text.strip() else text)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def list_texts(markdown: str, kind: str) -> list[str]:
    """Return the plain texts of headings, paragraphs or cells; anything but plain text in them fails."""
    tokens = PARSER.parse(markdown)
    pairs = [(start, inline) for start, inline in pairwise(tokens) if start.type == kind and inline.type == "inline"]
    found = [inline.children or [] for _, inline in pairs]
    assert all(child.type in ("text", "text_special") for children in found for child in children), markdown
    return ["".join(child.content for child in children) for children in found]


def squeeze(text: str) -> str:
    return " ".join(join_lines(text).split())


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_a_markdown_parser_reads_the_same_cells(texts):
    line = "| " + " | ".join(map(escape_markdown, texts)) + " |"
    cells = list_texts("| a | b |\n|:--|:--|\n" + line + "\n", "td_open")
    assert list(map(squeeze, cells)) == list(map(squeeze, texts))


@given(TEXTS)
def test_a_markdown_parser_reads_the_same_headings_and_paragraphs(text):
    markdown = f"# {escape_paragraph(text)}\n\n{escape_paragraph(text)}\n"
    assert squeeze(*list_texts(markdown, "heading_open")) == squeeze(*list_texts(markdown, "paragraph_open")) == squeeze(text)


@given(TEXTS)
def test_latex_leaves_no_special_character_and_no_empty_line(text):
    escaped = escape_latex(text)
    commands = sorted((command for command in LATEX.values() if not command.startswith("-")), key=len, reverse=True)
    rest = re.sub("|".join(map(re.escape, commands)), "", escaped)
    assert not set(rest) & set("\\{}~^&%$#_|<>`\n"), escaped


def test_titles_that_are_markup_stay_titles(records):
    spec = make_table_spec()
    odd = "=1+1 | *a* `b`\n<b>&amp; $x$ %"
    spec["title"], spec["note"] = odd, f"- {odd}"
    table = fill_table(spec, records)
    rows = [row for panel in table["panels"] for row in panel["rows"]]
    for row in rows:
        row["title"] = odd
    rows[-1]["title"] = "[5pt] x"
    titles = [line["title"] for line in csv.DictReader(io.StringIO(render_csv(table)))]
    assert {title for title in titles if title} == {f"'{odd}", "[5pt] x"}
    markdown = render_markdown(table)
    assert list_texts(markdown.partition("\n")[0], "heading_open") == [squeeze(odd)]
    assert "\n\\- =1+1" in markdown
    assert re.search(r"\\\\\s*[\[*]", render_latex(table)) is None
    assert "{[}5pt] x" in render_latex(table)


@pytest.mark.parametrize(("number", "letters"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (702, "aaa")])
def test_footnote_marks(number, letters):
    assert count_in_letters(number) == letters


@pytest.mark.parametrize(("value", "text"), [(1.25, "+1.2"), (-0.31, "−0.3"), (0.04, "0.0"), (-0.04, "0.0")])
def test_signs(value, text):
    assert format_signed(value, 1) == text
