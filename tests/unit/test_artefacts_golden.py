"""Artefacts of the stored records equal the stored files; `python tests/unit/artefact_fixtures.py` regenerates them."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from artefact_fixtures import (
    CODE,
    FAILED,
    FIGURE_TITLES,
    GOLDEN,
    MISSING,
    make_claims_spec,
    make_clusters,
    make_costs_spec,
    make_figure_spec,
    make_measurements,
    make_overlaps,
    make_page_spec,
    make_records,
    make_states,
    make_subsets,
    make_table_spec,
)

from selectbench.artefacts.page import Inputs, render_page
from selectbench.artefacts.tables import fill_table
from selectbench.errors import RecordError
from selectbench.records.files import digest_file, read_sealed, write_sealed
from selectbench.records.records import write_record

RECORDS = GOLDEN / "records.jsonl"
DRAWN = {"pdf": "pdf", "png": "png", "svg": "svg", "sources": "json"}
VOID = {"meta", "br", "link", "img", "input", "hr"}


def run_stage(stage: str, spec: dict, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"selectbench.stages.{stage}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=json.dumps(spec))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All artefacts of the stored records, made by the stage commands."""
    place = tmp_path_factory.mktemp("artefacts")
    measured = [place / f"seed-{item['seed']}.json" for item in make_measurements()]
    for path, item in zip(measured, make_measurements(), strict=True):
        write_record(path, {"status": "ok", **item})
    write_sealed(place / "overlaps.json", {"paper": "rl_selector", "overlaps": make_overlaps()})
    write_sealed(place / "subsets.json", make_subsets())
    write_sealed(place / "states.json", {"paper": "rl_selector", "groups": make_states()})
    clusters = [place / f"clusters-{number}.json" for number in range(len(make_clusters()))]
    for path, item in zip(clusters, make_clusters(), strict=True):
        write_record(path, {"status": "ok", **item})
    read = {"overlap": {"overlaps": [place / "overlaps.json"]}, "measured": {"measurements": measured}}
    read |= {"states": {"states": [place / "states.json"]}, "coherence": {"clusters": clusters}}
    options = ("records", "overlaps", "measurements", "states", "clusters")
    done = []
    for spec in (make_table_spec(), make_costs_spec()):
        endings = {"csv": "csv", "markdown": "md", "latex": "tex", "cells": "json"}
        outputs = [f"--{name}={place / spec['id']}.{ending}" for name, ending in endings.items()]
        done.append(run_stage("make_table", spec, "--records", RECORDS, "--times", *outputs))
    for kind in FIGURE_TITLES:
        outputs = [f"--{name}={place / kind}.{ending}" for name, ending in DRAWN.items()]
        files = read.get(kind, {"records": [RECORDS]})
        inputs = [part for name in options for part in (f"--{name}", *files.get(name, []))]
        done.append(run_stage("draw_figure", make_figure_spec(kind), *inputs, *outputs))
    outputs = [f"--json={place / 'verdict.json'}", f"--markdown={place / 'verdict.md'}"]
    tables = [place / "main.json", place / "costs.json"]
    read = ["--records", RECORDS, "--tables", *tables, "--measurements", *measured]
    done.append(run_stage("judge_claims", make_claims_spec(), *read, *outputs))
    figures = [place / f"{kind}.svg" for kind in FIGURE_TITLES]
    inputs = ["--verdicts", place / "verdict.json", "--tables", *tables, "--figures", *figures, "--records", RECORDS]
    inputs += ["--subsets", place / "subsets.json", "--overlaps", place / "overlaps.json"]
    done.append(run_stage("build_page", make_page_spec(), *inputs, *("--html", place / "index.html", "--sources", place / "index.json")))
    assert [process.stderr for process in done] == [""] * len(done)
    return place


def test_stored_records_are_the_generated_ones():
    assert [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()] == make_records()


@pytest.mark.parametrize("name", ["main.csv", "main.md", "main.tex", "costs.csv", "costs.md", "costs.tex", "verdict.md"])
def test_artefact_equals_the_stored_file(built, name):
    assert (built / name).read_text(encoding="utf-8") == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", [make_table_spec(), make_costs_spec()])
def test_the_sidecar_is_what_the_library_returns_and_names_its_inputs_and_the_files_beside_it(built, spec):
    table = fill_table(spec, {record["run"]["id"]: record for record in make_records()})
    sidecar = read_sealed(built / f"{spec['id']}.json")
    beside = [built / f"{spec['id']}.{ending}" for ending in ("csv", "md", "tex")]
    about = {
        "code": CODE,
        "made_from": {"records": [digest_file(RECORDS)], "times": []},
        "sha256": {path.name: digest_file(path) for path in beside},
    }
    assert sidecar == json.loads(json.dumps(table)) | about | {"digest": sidecar["digest"]}


def test_a_strict_table_ends_with_one_line(tmp_path):
    outputs = [f"--{name}={tmp_path / name}" for name in ("csv", "markdown", "latex", "cells")]
    process = run_stage("make_table", make_table_spec(partial=False), "--records", RECORDS, "--times", *outputs)
    assert process.returncode == 2
    assert process.stderr.startswith("error: rl_selector/main: 2 of 39 runs have no value; first: ")
    assert process.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class PageReader(HTMLParser):
    """Checks that tags close in order and collects ids, references and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_stands_alone_and_holds_everything(built):
    page = (built / "index.html").read_text(encoding="utf-8")
    reader = PageReader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(reference.startswith("#") for reference in reader.references)
    assert {reference[1:] for reference in reader.references} <= set(reader.ids)
    assert not re.search(r"url\((?!#)", page.replace('url("${sheet}")', ""))  # which the script fills with its own image
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.ids)
    assert "@import" not in page
    text = " ".join(reader.texts)
    for claim in make_claims_spec()["claims"]:
        assert claim["statement"] in text
        assert f"rl_selector-claim-{claim['id']}" in reader.ids
    for name in ("table-main", "table-costs", *(f"figure-{kind}" for kind in FIGURE_TITLES)):
        assert f"rl_selector-{name}" in reader.ids
    for word in (
        "RL-Selector (not built yet)",
        "86.5 ± 0.5",
        "1.50 (time 1.19), 50 % kept",
        "How to read this",
        "needs the ImageNet-1k files",
    ):
        assert word in text


def test_every_number_of_the_page_opens_to_its_runs(built):
    page = (built / "index.html").read_text(encoding="utf-8")
    data = read_data(page)
    details = data["cells"]
    assert sorted(map(int, re.findall(r'data-detail="(\d+)"', page))) == list(range(len(details)))
    (detail,) = [item for item in details if item["title"] == "EL2N, 30 %" and "digits" in item["panel"]]
    assert [value for _, value in detail["runs"]] == ["86.71", "86.91", "85.97"]
    places = [place for place, _ in detail["runs"]]
    assert [data["runs"][place][:2] for place in places] == [
        [f"digits/convnet-to-resnet8/equal_epochs/el2n/keep-0.3/seed-{n}", n] for n in range(3)
    ]
    assert {tuple(data["origins"][data["runs"][place][3]]) for place in places} == {("0123456789", "cpu")}
    assert len({run for run, *_ in data["runs"]}) == len(data["runs"])
    assert [run[1:] for run in data["runs"] if run[0] == MISSING] == [[None, None, None]]
    assert [run[2] for run in data["runs"] if run[0] == FAILED] == [None]
    assert dict(detail["facts"])["Best epoch (extra)"] == "86.8, chosen on the test set"
    assert dict(detail["facts"])["Reported"] == "86 (paper-table)"
    (detail,) = [item for item in details if item["title"] == "EL2N, ≥ 90 % of full data" and "digits" in item["panel"]]
    assert dict(detail["facts"]) == {
        "Threshold": "mean top-1 accuracy (%) ≥ 87.2, 0.9 × full data's",
        "Answer": "1.50 (time 1.19), 50 % kept",
        "30 % kept": "86.5 at cost 1.30 (time 0.99): not reached",
        "50 % kept": "88.9 at cost 1.50 (time 1.19): reached",
    }
    assert len(detail["runs"]) == 9


def read_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1))


def test_cells_are_sorted_by_their_means_and_holes_have_none(built):
    page = (built / "index.html").read_text(encoding="utf-8")
    details = read_data(page)["cells"]
    cells = re.findall(r'<td(?: data-value="([^"]+)")?><button type="button" class="cell[^"]*" data-detail="(\d+)">([^<]*)', page)
    assert len(cells) == len(details)
    for value, _, text in cells:
        number = re.match(r"[\d.]+", text)
        assert bool(value) == bool(number)
        assert not value or abs(float(value) - float(number[0])) <= 0.051
    assert any(not value for value, _, _ in cells)


def test_the_page_holds_costs_overlaps_and_subsets(built):
    explored = read_data((built / "index.html").read_text(encoding="utf-8"))["papers"]["rl_selector"]
    costs = json.loads((built / "verdict.json").read_text())["costs"]
    for shown, cost in zip(explored["costs"], costs, strict=True):
        for (title, cells), row in zip(shown["rows"], cost["rows"], strict=True):
            assert title == row["title"] and cells.keys() == row["cells"].keys()
            for keep, parts in cells.items():
                assert parts == pytest.approx([row["cells"][keep]["selection"], row["cells"][keep]["training"]], rel=1e-5)
    assert [(item["keep"], item["kept"], item["title"]) for item in explored["overlaps"]] == [
        ("0.3", "30 %", "Digits"),
        ("0.5", "50 %", "Digits"),
    ]
    assert explored["datasets"] == make_subsets()["datasets"]


def test_letters_are_drawn_once_and_found_everywhere(built):
    page = (built / "index.html").read_text(encoding="utf-8")
    used = set(re.findall(r'href="#([A-Za-z]+-[0-9a-f]+)"', page))
    drawn = re.findall(r'<path id="([A-Za-z]+-[0-9a-f]+)"', page)
    assert used and len(drawn) == len(set(drawn)) and used == set(drawn)


def test_what_a_scale_leaves_out_is_a_line_and_no_empty_table(built):
    verdict, *tables = (json.loads((built / name).read_text()) for name in ("verdict.json", "main.json", "costs.json"))
    for panel in tables[0]["panels"]:
        panel |= {"absent": "the table is left out", "rows": []}
    first, *others = FIGURE_TITLES
    spec = make_page_spec()
    for figure in spec["papers"][0]["figures"][1:]:
        figure["table"] = "costs"
    page = render_page(spec, Inputs([verdict], tables, [(built / f"{kind}.svg").read_text() for kind in FIGURE_TITLES]))
    reader = PageReader()
    reader.feed(page)
    assert {f"rl_selector-figure-{kind}" for kind in others} | {"rl_selector-table-costs"} <= set(reader.ids)
    assert not {f"rl_selector-figure-{first}", "rl_selector-table-main"} & set(reader.ids)
    assert page.count("<summary>1 figure not at this scale</summary>") == page.count("<summary>1 table not at this scale</summary>") == 1
    assert f"<li>{FIGURE_TITLES[first]}: the table is left out</li>" in page
    assert {reference[1:] for reference in reader.references} <= set(reader.ids)  # glyphs of the first figure are defined in another


def test_the_page_refuses_inputs_out_of_order(built):
    verdict, *tables = (json.loads((built / name).read_text()) for name in ("verdict.json", "main.json", "costs.json"))
    with pytest.raises(RecordError, match="tables must be, in this order: rl_selector/main; rl_selector/costs; found: none"):
        render_page(make_page_spec(), Inputs([verdict], [], ["<svg"] * 8))
    with pytest.raises(RecordError, match="needs 8 figures"):
        render_page(make_page_spec(), Inputs([verdict], tables, []))


def test_the_page_says_what_its_records_were_made_with(built):
    page = (built / "index.html").read_text(encoding="utf-8")
    note = page[page.index('<aside class="machines warning"') : page.index("</header>")]
    assert "do not say which instructions were used" in note and "torch 2.9.0</dd>" in note and "docs/evidence.md" in note
    verdict, *tables = (json.loads((built / name).read_text()) for name in ("verdict.json", "main.json", "costs.json"))
    figures = [(built / f"{kind}.svg").read_text() for kind in FIGURE_TITLES]
    records = {"run": {"provenance": {"arithmetic": "avx2", "device": "cpu", "versions": {"torch": "<b>"}}, "evaluation": None}}
    page = render_page(make_page_spec(), Inputs([verdict], tables, figures, records))
    assert '<aside class="machines" ' in page and "machines warning" not in page and "torch &lt;b&gt;" in page


def test_markup_in_inputs_is_escaped(built):
    verdict, *tables = (json.loads((built / name).read_text()) for name in ("verdict.json", "main.json", "costs.json"))
    verdict["claims"][0]["statement"] = "<script>x</script>"
    tables[0]["panels"][0]["rows"][0]["title"] = "</script><b>"
    figures = [(built / f"{kind}.svg").read_text() for kind in FIGURE_TITLES]
    page = render_page(make_page_spec(), Inputs([verdict], tables, figures))
    assert "<script>x" not in page
    assert "</script><b>" not in page


@pytest.mark.parametrize(
    "module", ["cells", "tables", "overlaps", "measurements", "figures", "claims", "verdict", "page", "front", "browser"]
)
def test_artefacts_import_no_torch_and_tables_no_matplotlib(module):
    code = f"import sys, selectbench.artefacts.{module}; print(*[name for name in ('torch', 'matplotlib') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == (["matplotlib"] if module == "figures" else [])
