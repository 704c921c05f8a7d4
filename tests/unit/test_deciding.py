"""Seeds for undecided claims: which runs get how many, in which order, and what the configuration may say of them."""

import shutil

import pytest
import yaml

from selectbench.artefacts.claims import judge_claims
from selectbench.cli import main
from selectbench.errors import ConfigError
from selectbench.evidence.deciding import Wish, choose_wishes, decide_next, list_wishes, write_seeds
from selectbench.planning.config import list_looks, list_seeds
from selectbench.planning.plan import load_plan
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.judge_claims import JudgeClaims

RANDOM = "digits/none-to-resnet8/equal_epochs/random/keep-0.6"
EL2N = "digits/convnet-to-resnet8/equal_epochs/el2n/keep-0.6"
GRAND = "digits/convnet-to-resnet8/equal_epochs/grand/keep-0.6"


@pytest.fixture
def place(root, tmp_path):
    """A copy of the configuration, in which scale decided has no seeds added yet."""
    for name in ("config", "workflow/schemas"):
        shutil.copytree(root / name, tmp_path / name)
    shutil.rmtree(tmp_path / "config/seeds", ignore_errors=True)
    return tmp_path


def add(place, **numbers: int) -> None:
    (place / "config/seeds").mkdir(exist_ok=True)
    (place / "config/seeds/decided.yaml").write_text(yaml.safe_dump(numbers), encoding="utf-8")


def test_looks_double_from_the_seeds_of_the_scale_to_the_most():
    def look(seeds: int, most: int) -> list[int]:
        return list_looks({"seeds": list(range(seeds)), "decide": {"most": most}})

    assert (look(5, 20), look(5, 19), look(5, 21), look(3, 4)) == ([5, 10, 20], [5, 10, 19], [5, 10, 20, 21], [3, 4])
    assert list_looks({"seeds": [0, 1]}) == []
    assert list_seeds({"seeds": [4, 2]}, 4) == [4, 2, 5, 6] and list_seeds({"seeds": [4, 2]}, 1) == [4]


def test_a_scale_takes_over_its_base_and_all_its_tables_have_all_its_seeds(place):
    tiny, plan = (load_plan(place, {"scale": scale}) for scale in ("tiny", "decided"))
    assert tiny.config.scale["recipes"].items() < plan.config.scale["recipes"].items()  # it adds data sets of its own
    assert plan.config.scale["title"] != tiny.config.scale["title"]
    assert plan.config.scale["axes"]["model"] == tiny.config.scale["axes"]["model"] | {"quick_lm": "minilm_head"}
    assert tiny.runs.keys() < plan.runs.keys()
    cells: dict[str, int] = {}
    for run in plan.runs.values():
        cells[run.cell] = cells.get(run.cell, 0) + 1
    assert set(cells.values()) == {5}


def test_added_seeds_reach_claims_and_not_tables(place):
    before = load_plan(place, {"scale": "decided"})
    add(place, **{RANDOM: 20, EL2N: 10, "rl_selector/covered_losses": 10})
    plan = load_plan(place, {"scale": "decided"})
    assert plan.tables == before.tables
    assert len(plan.runs) == len(before.runs) + 15 + 5
    claim = next(claim for claim in plan.claims["rl_selector"] if claim["id"] == "el2n_beats_random")
    sizes = {item["keep"]: (len(item["better"]), len(item["worse"])) for item in claim["comparisons"]}
    assert sizes["0.6"] == (10, 20) and sizes["0.2"] == (5, 5)
    further = plan.runs[f"{EL2N}/seed-9"]
    assert plan.run_test_sets(further) == plan.run_test_sets(plan.runs[f"{EL2N}/seed-0"])
    assert further.id in plan.paper_runs("rl_selector") and further.id in CollectRecords("rl_selector").specify(plan)["runs"]
    assert JudgeClaims("rl_selector").specify(plan)["looks"] == [5, 10, 20]
    measured = [path for path in JudgeClaims("rl_selector").list_input_paths(plan)["measurements"] if "/theory/" in path]
    assert len(measured) == 10 and measured[-1].endswith("seed-9.json")
    assert "looks" not in JudgeClaims("rl_selector").specify(load_plan(place, {"scale": "tiny"}))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            {EL2N.replace("el2n", "el2m"): 10},
            f"config/seeds/decided.yaml: scale decided has no runs and no measured claim .* did you mean '{EL2N}'",
        ),
        ({"rl_selector/covered_loses": 10}, "did you mean 'rl_selector/covered_losses'"),
        ({EL2N: 7}, f"config/seeds/decided.yaml: {EL2N}: 7 seeds; claims are judged at 10, 20"),
        ({EL2N: 5}, "claims are judged at 10, 20"),
        ({EL2N: "many"}, f"config/seeds/decided.yaml: {EL2N}: 'many' is not of type 'integer'"),
        ({"el2n": 10}, "config/seeds/decided.yaml: 'el2n' should match"),
    ],
)
def test_wrong_numbers_of_seeds_are_named(place, numbers, message):
    add(place, **numbers)
    with pytest.raises(ConfigError, match=message):
        load_plan(place, {"scale": "decided"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: tinny\ntitle: x\n", "config/scale/decided.yaml: base: unknown 'tinny'; did you mean 'tiny'"),
        ("base: decided\ntitle: x\n", "base: unknown 'decided'"),
        ("base: other\ntitle: x\n", "config/scale/decided.yaml: base: other has a base itself; name tiny"),
        ("base: tiny\ntitle: x\ndecide: {most: 5}\n", "decide.most: 5 is no more than the 5 seeds that all runs have"),
        ("base: tiny\ntitle: x\ndecide: {least: 5}\n", "config/scale/decided.yaml: decide.least: unknown key"),
        ("title: x\n", "config/scale/decided.yaml: the key 'axes' is missing"),
    ],
)
def test_wrong_scales_are_named(place, text, message):
    (place / "config/scale/other.yaml").write_text("base: tiny\ntitle: other\n", encoding="utf-8")
    (place / "config/scale/decided.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_plan(place, {"scale": "decided"})


def test_seeds_of_a_scale_that_adds_none_are_refused(place):
    (place / "config/seeds").mkdir()
    (place / "config/seeds/tiny.yaml").write_text(f"{EL2N}: 10\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"config/seeds/tiny.yaml: scale tiny adds no seeds; delete the file, or give config/scale/tiny.yaml"
    ):
        load_plan(place, {"scale": "tiny"})


def test_cheap_claims_come_first_and_hopeless_ones_last(place):
    plan = load_plan(place, {"scale": "decided"})
    cheap = Wish("p/cheap", 8, {EL2N: 10, RANDOM: 10})
    dear = Wish("p/dear", 6, {GRAND: 20, RANDOM: 20})
    hopeless = Wish("p/hopeless", 441, {EL2N: 10})
    settled = Wish("p/settled", None, {})
    seconds = {EL2N: 2.0, RANDOM: 1.0, GRAND: 2.0}
    # cheap adds 5 runs of each: 15 s; dear then adds 15 of GRAND and 10 more of RANDOM: 40 s; hopeless comes for nothing after cheap
    everything = choose_wishes(plan, [hopeless, dear, settled, cheap], seconds, 55.0)
    assert everything == ([cheap, dear, hopeless], {EL2N: 10, RANDOM: 20, GRAND: 20})
    assert choose_wishes(plan, [hopeless, dear, cheap], seconds, 54.0) == ([cheap, hopeless], {EL2N: 10, RANDOM: 10})
    assert choose_wishes(plan, [hopeless, dear, cheap], seconds, 14.0) == ([hopeless], {EL2N: 10})
    assert choose_wishes(plan, [cheap], seconds, 0.0) == ([], {})


def test_seeds_are_written_as_the_plan_reads_them_and_never_taken_back(place):
    add(place, **{RANDOM: 20})
    plan = load_plan(place, {"scale": "decided"})
    write_seeds(place, plan, {EL2N: 10, RANDOM: 10})
    again = load_plan(place, {"scale": "decided"})
    assert again.config.added == {EL2N: 10, RANDOM: 20}


def test_an_undecided_claim_wishes_for_its_open_runs_and_no_others(place, root):
    plan = load_plan(place, {"scale": "decided"})
    looks = tuple(list_looks(plan.config.scale))
    (paper,) = {"rl_selector"}
    spec = JudgeClaims(paper).specify(plan)
    claim = next(item for item in spec["claims"] if item["id"] == "baselines_lose_nothing_at_90")
    records = {}
    for item in claim["comparisons"]:
        clear = item["method"] == "grand"
        for position, run in enumerate(item["better"]):
            records[run] = make_row(run, 95.0 if clear else 90.0 + 3.0 * (-1) ** position)
        for run in item["worse"]:
            records[run] = make_row(run, 90.0)
    judged = judge_claims({**spec, "claims": [claim], "looks": list(looks)}, records)
    assert judged[0]["verdict"] == "undecided"
    plan.claims = {paper: [claim]}
    (wish,) = list_wishes(plan, {paper: records}, {paper: judged})
    methods = {cell.split("/")[3] for cell in wish.cells}
    assert wish.name == "rl_selector/baselines_lose_nothing_at_90" and set(wish.cells.values()) == {10}
    assert "el2n" in methods and "full" in methods and "grand" not in methods
    records[claim["comparisons"][0]["better"][0]]["status"] = "failed"
    failed = judge_claims({**spec, "claims": [claim]}, records)
    assert list_wishes(plan, {paper: records}, {paper: failed})[0].cells == {}  # no number of seeds mends a failure


def make_row(run: str, top1: float) -> dict:
    dataset, _, regime, method, keep, seed = run.split("/")
    axes = {"id": run, "dataset": dataset, "regime": regime, "method": method, "keep": keep[5:], "seed": int(seed[5:])}
    return {"run": axes, "status": "ok", "failure": None, "test": {"test": {"top1": top1, "loss": 1.0, "num": 10**6}}}


def test_the_command_names_what_is_missing(place, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="config/scale/tiny.yaml: the key 'decide' is missing, so this scale adds no seeds"):
        decide_next(place, load_plan(place, {"scale": "tiny"}), 0.0)
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit):
        main(["decide", "--scale", "decided", "--minutes", "0"])
    assert "results/decided/rl_selector/records.jsonl.gz: no such file; run `snakemake" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["decide", "--scale", "decided", "--minutes", "-1"])
