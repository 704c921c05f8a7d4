"""The front page: verdicts of all scales, holes, and files it must not touch."""

import json
import re
import subprocess
import sys

import pytest

from selectbench.artefacts.front import format_duration, render_front
from selectbench.planning.jobs import list_wanted_files
from selectbench.planning.plan import load_plan
from selectbench.records.files import digest_file, read_sealed, write_sealed
from selectbench.stages.build_front_page import BuildFrontPage
from selectbench.stages.collect_subsets import CollectSubsets
from selectbench.stages.compare_subsets import CompareSubsets

ORIGIN = {"runs": 1200, "failed": 3, "seeds": [0, 1], "commits": ["0123456789abcdef"], "devices": ["cpu"]}


def make_verdict(verdicts: dict[str, str], **origin: object) -> dict:
    claims = [
        {
            "id": name,
            "statement": f"It {name}s <much>.",
            "by": "paper",
            "source": "Table 1",
            "verdict": verdict,
            "why": f"because of {name}",
        }
        for name, verdict in verdicts.items()
    ]
    return {"claims": claims, "provenance": ORIGIN | origin}


def make_spec(**others: object) -> dict:
    scales = [{"id": name, "title": f"{name} (scale)"} for name in ("tiny", "small", "full")]
    papers = [{"id": name, "title": name.upper()} for name in ("one", "two", "three")]
    return {"title": "Results", "results": "results", "scales": scales, "papers": papers, "figure": None, "code": "x"} | others


VERDICTS = {
    "tiny": {"one": make_verdict({"help": "supported", "cost": "undecided"}), "two": make_verdict({"pay": "contradicted"})},
    "small": {"one": make_verdict({"help": "contradicted"}, devices=["H200"], processors=["EPYC"], training_s=5400.0, evaluation_s=30.0)},
    "full": {},
}


def test_every_claim_is_a_row_with_a_verdict_or_a_hole_for_every_scale_with_results():
    page = render_front(make_spec(), VERDICTS, None)
    assert re.findall(r'<th scope="col"><a href="([^"]+)">', page) == [
        *("tiny/index.html#one", "small/index.html#one", "tiny/index.html#two", "small/index.html#two"),
    ]
    rows = {row[0]: row[1] for row in re.findall(r'<tr><th scope="row" class="statement">(.*?)<span(.*?)</tr>', page, flags=re.DOTALL)}
    assert list(rows) == ["It helps &lt;much&gt;.", "It costs &lt;much&gt;.", "It pays &lt;much&gt;."]
    shown = [re.findall(r'chip (\w+)"|title="(no results) at this scale"', row) for row in rows.values()]
    assert shown == [
        [("supported", ""), ("contradicted", "")],
        [("undecided", ""), ("", "no results")],
        [("contradicted", ""), ("", "no results")],
    ]
    assert 'href="small/index.html#one-claim-help"' in page
    assert "THREE" not in page  # it has no results anywhere


def test_a_scale_says_what_it_ran_on_as_far_as_it_is_recorded():
    page = render_front(make_spec(), VERDICTS, None)
    facts = [dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", part)) for part in re.findall(r"<dl>(.*?)</dl>", page, flags=re.DOTALL)]
    assert facts[0]["Runs"] == "2,400 (counted once per paper that uses them), 6 failed"
    assert facts[0]["Processors"] == "—" and facts[0]["Time"].startswith("— of training")
    assert (facts[1]["Devices"], facts[1]["Processors"], facts[1]["Commits"]) == ("H200", "EPYC", "0123456789")
    assert facts[1]["Time"].startswith("1.5 h of training and 30 s of evaluation")
    assert [format_duration(seconds) for seconds in (0, 59, 90, 7200)] == ["—", "59 s", "1.5 min", "2.0 h"]


def test_without_results_the_page_says_so_and_refers_to_nothing_outside():
    empty = render_front(make_spec(), {scale: {} for scale in VERDICTS}, None)
    assert "No scale has results yet." in empty
    figure = {"paper": "one", "id": "f", "title": "A figure", "caption": "Its caption."}
    drawing = (
        '<?xml version="1.0"?><svg width="4" height="4" viewBox="0 0 40 40"><path id="p-41" d="M 0 0"/><use xlink:href="#p-41"/></svg>'
    )
    page = render_front(make_spec(figure=figure), VERDICTS, ("small (scale)", drawing))
    assert "Its caption. Scale: small (scale)." in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)


@pytest.fixture
def results(tmp_path):
    for scale, papers in VERDICTS.items():
        for paper, verdict in papers.items():
            write_sealed(tmp_path / "results" / scale / paper / "verdict.json", verdict)
    drawing = tmp_path / "results/tiny/one/figures/f.svg"
    drawing.parent.mkdir()
    drawing.write_text('<svg width="4" height="4" viewBox="0 0 40 40"><path d="M 0 0"/></svg>')
    return tmp_path


def build(place, spec: dict) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "selectbench.stages.build_front_page", "--html", "results/index.html"]
    command += ["--sources", "results/index.json", "--verdicts", "--figures"]
    return subprocess.run(command, input=json.dumps(spec), cwd=place, capture_output=True, text=True, check=False)


def test_the_stage_reads_what_is_there_and_writes_the_same_twice(results):
    spec = make_spec(figure={"paper": "one", "id": "f", "title": "A figure", "caption": "Its caption."})
    assert build(results, spec).stderr == ""
    first = (results / "results/index.html").read_bytes()
    sources = read_sealed(results / "results/index.json")
    assert set(sources["made_from"]) == {*(f"verdicts of {scale}" for scale in VERDICTS), "figure that is shown"}
    assert sources["made_from"]["figure that is shown"] == [digest_file(results / "results/tiny/one/figures/f.svg")]
    assert sources["sha256"] == {"index.html": digest_file(results / "results/index.html")}
    assert b"tiny (scale)" in first and b"<svg" in first  # the small scale has no such figure
    assert build(results, spec).returncode == 0
    assert (results / "results/index.html").read_bytes() == first
    unlisted = results / "results/smoke/one/verdict.json"
    unlisted.parent.mkdir(parents=True)
    unlisted.write_text("{}")
    assert build(results, spec).returncode == 0
    assert (results / "results/index.html").read_bytes() == first


def test_a_verdict_that_cannot_be_read_is_one_line_and_leaves_the_page(results):
    assert build(results, make_spec()).returncode == 0
    first = (results / "results/index.html").read_bytes()
    (results / "results/small/one/verdict.json").write_text('{"claims": [')
    result = build(results, make_spec())
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "small/one/verdict.json: not valid JSON" in result.stderr
    assert (results / "results/index.html").read_bytes() == first


def test_scales_for_trying_are_not_listed_and_leave_the_front_page_alone(root):
    tiny, smoke = (load_plan(root, {"scale": scale}) for scale in ("tiny", "smoke"))
    assert list(tiny.config.listed) == ["decided", "small_cpu", "tiny", "medium_cpu", "fast", "small", "full"]
    page = BuildFrontPage()
    assert page.find_output(tiny, "html") in list_wanted_files(tiny) and page.find_output(smoke, "html") not in list_wanted_files(smoke)
    assert page.specify(tiny) == page.specify(smoke)


def test_the_front_page_knows_papers_that_were_not_asked_for(root):
    spec = BuildFrontPage().specify(load_plan(root, {"papers": ["cluster_mdp"]}))
    assert [paper["id"] for paper in spec["papers"]] == ["cluster_mdp", "data_agent", "rl_selector"]


def test_the_first_seeds_of_the_browsed_table_are_collected(root):
    assert load_plan(root, {"papers": ["data_agent"]}).browsing_papers() == []
    plan = load_plan(root, {"scale": "tiny"})
    assert plan.browsing_papers() == ["rl_selector", "cluster_mdp"]
    for paper in plan.browsing_papers():
        spec = CollectSubsets(paper).specify(plan)
        runs = [run for dataset in spec["datasets"] for run in dataset["runs"]]
        assert {run["seed"] for run in runs} == {0, 1}
        assert "full" not in {run["method"] for run in runs}
        files = {run[key] for run in runs for key in ("subset", "scores")} - {None}
        assert files == set(CollectSubsets(paper).list_input_paths(plan)["subsets"])
        assert {run["subset"] for run in runs} <= set(CompareSubsets(paper).list_input_paths(plan)["subsets"])
    assert {run["method"] for run in runs if run["scores"] is None} == {
        name for name in plan.config.list_searches() if name in {run["method"] for run in runs}
    }


def test_every_kind_of_verdict_has_a_symbol_and_a_style():
    from selectbench.artefacts.verdict import SYMBOLS

    verdicts = {"tiny": {"one": make_verdict({name.replace(" ", "_"): name for name in SYMBOLS})}, "small": {}, "full": {}}
    page = render_front(make_spec(), verdicts, None)
    for name, symbol in SYMBOLS.items():
        style = name.replace(" ", "-")
        assert f'<span class="chip {style}"><span aria-hidden="true">{symbol}</span> {name}</span>' in page
        assert re.search(rf"\.{style}\b[^{{]*{{", page), f"page.css has no style for {style}"
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
