"""Every claim in ``config/papers`` against hand-made records that satisfy it and that violate it."""

import math

import pytest
import yaml

from selectbench.artefacts.claims import UNJUDGED, judge_claim
from selectbench.artefacts.decisions import Rule
from selectbench.planning.plan import load_plan

RULE = Rule(0.95)
SAMPLES = 10**6  # of a test set: its resolution plays no part
GAIN = {"top1": 45.0, "noise_kept": 45.0, "proxy_loss": 5.0, "keep_error": 30.0}  # between the two sides, in the metric's unit


def list_claims(root) -> list[tuple[str, str]]:
    papers = sorted((root / "config/papers").glob("*.yaml"))
    return [(path.stem, claim) for path in papers for claim in yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]]


def pytest_generate_tests(metafunc):
    if {"paper", "claim"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("paper", "claim"), list_claims(metafunc.config.rootpath))


@pytest.fixture(scope="module")
def specs(root) -> dict[str, dict[str, dict]]:
    """Claims as scale decided resolves them, which has five seeds or more; those for which it has nothing, as scale full does."""
    decided, full = (load_plan(root, {"scale": scale}).claims for scale in ("decided", "full"))
    found: dict[str, dict[str, dict]] = {}
    for paper, claims in decided.items():
        larger = {claim["id"]: claim for claim in full[paper]}
        found[paper] = {claim["id"]: claim if claim["comparisons"] or "measured" in claim else larger[claim["id"]] for claim in claims}
    return found


def make_row(run: str) -> dict:
    """A record of a run in which nothing is better than anywhere else."""
    rest, _, seed = run.rpartition("/seed-")
    rest, _, keep = rest.rpartition("/keep-")
    axes = {"id": run, "dataset": run.split("/")[0], "method": rest.rpartition("/")[2], "keep": keep, "seed": int(seed)}
    axes |= {"proxy": "p", "target": "t", "regime": "equal_epochs"}
    return {
        "status": "ok",
        "run": axes,
        "num_pool": 1000,
        "num_kept": round(1000 * float(keep)),
        "tokens": None,
        "noise": {"pool": SAMPLES, "kept": SAMPLES / 2},
        "training": {"sample_visits": 1000.0, "wall_s": 10.0, "encode_s": 0.0},
        "selection": {
            "sample_visits": 0.0,
            "wall_s": 0.0,
            "search": {"proxy_loss": 10.0, "trainings": 10},
            "trajectory": {"chosen_epoch": 1, "epoch": [1], "kept_fraction": [float(keep)]},
        },
        "test": {},
    }


def set_value(row: dict, metric: str, test_set: str | None, change: float) -> None:
    """Make a record better in a metric by a change in its unit, or a cost by a factor ``exp(change)``; some noise is added by seed."""
    noise = 0.02 * math.sin(2.3 * row["run"]["seed"] + len(row["run"]["method"]))
    if metric == "top1":
        row["test"][test_set] = {"top1": 50.0 + change + noise, "loss": 1.0, "num": SAMPLES}
    elif metric == "noise_kept":
        row["noise"]["kept"] = SAMPLES * (50.0 - change + noise) / 100
    elif metric == "proxy_loss":
        row["selection"]["search"]["proxy_loss"] = 10.0 - change + noise
    elif metric == "keep_error":
        row["selection"]["trajectory"]["kept_fraction"] = [float(row["run"]["keep"]) + (GAIN[metric] / 2 - change / 2) / 100 + noise / 100]
    elif metric == "training_visits" or change > 0:  # what is dear is so by its selection, or else training alone would rule the claim out
        row["training"]["sample_visits"] = 1000.0 * math.exp(-change)
    else:
        row["selection"]["sample_visits"] = 1000.0 * math.exp(-change)


def make_records(claim: dict, sign: int) -> dict[str, dict]:
    """Records that satisfy a claim (sign 1) or violate it (sign −1): the better side is shifted against the other one."""
    records: dict[str, dict] = {}

    def shift(runs: list[str], comparison: dict, change: float) -> None:
        for run in runs:
            set_value(records.setdefault(run, make_row(run)), comparison["metric"], comparison["test_set"], change)

    for comparison in claim["comparisons"]:
        gain = GAIN.get(comparison["metric"], 3.0)
        if comparison["form"] == "spread":
            gain *= 10  # a spread over fractions must stand out of the noise of the arithmetic at each of them
            for side, varies in ((comparison["better"], sign < 0), (comparison["worse"], sign > 0)):
                keeps = sorted({run.split("/keep-")[1].split("/")[0] for run in side})
                for run in side:
                    shift([run], comparison, gain * keeps.index(run.split("/keep-")[1].split("/")[0]) / len(keeps) if varies else 0.0)
            continue
        for runs, change in ((comparison["worse"], 0.0), (comparison["better"], sign * gain)):
            shift(runs, comparison, change)
        if comparison["form"] == "change":
            shift(comparison["than_better"], comparison, 0.0)
            shift(comparison["than_worse"], comparison, 0.0)
    return records


def make_measurements(claim: dict, sign: int) -> list[dict]:
    """Measurements over five seeds on the claimed side of the bound, or on the other."""
    measured = claim["measured"]
    bound, side = (measured["above"], 1) if "above" in measured else (measured["below"], -1)
    values = [bound + 0.05 * side * sign + 0.001 * seed for seed in range(5)]
    name, statistic = measured["proposition"], measured["statistic"]
    return [
        {"seed": seed, "dataset": "digits", "propositions": {name: {"statistic": {statistic: value}}}} for seed, value in enumerate(values)
    ]


def judge(claim: dict, sign: int) -> dict:
    if "measured" in claim:
        return judge_claim(claim, {}, make_measurements(claim, sign), RULE)
    return judge_claim(claim, make_records(claim, sign), [], RULE)


def test_a_claim_comes_out_as_the_records_say(specs, paper, claim):
    spec = specs[paper][claim]
    satisfied, violated = judge(spec, 1), judge(spec, -1)
    assert satisfied["comparisons"], "neither scale decided nor scale full has anything to compare"
    assert not [item["hole"] for item in satisfied["comparisons"] if item["hole"]]
    if all(item["metric"].endswith("wall_s") for item in satisfied["comparisons"]):
        assert (satisfied["verdict"], satisfied["why"]) == (violated["verdict"], violated["why"]) == ("not asked", UNJUDGED)
        return
    assert satisfied["verdict"] == ("holds by construction" if spec["construction"] else "supported"), satisfied["why"]
    is_forced = any(item["metric"] == "training_visits" for item in violated["comparisons"])
    assert violated["verdict"] == ("impossible at this scale" if is_forced else "contradicted"), violated["why"]


def test_whose_a_claim_is_agrees_with_the_fractions_that_the_paper_prints(specs):
    claims = [claim for claim in specs["rl_selector"].values() if claim["by"] == "paper"]
    assert {float(item["keep"]) for claim in claims for item in claim["comparisons"] if item["keep"]} <= {0.6, 0.7, 0.8, 0.9}
    assert {float(item["keep"]) for claim in claims if claim["table"] == "cross" for item in claim["comparisons"]} == {0.6, 0.7, 0.8, 0.9}
