"""The language-model branch as a workflow: from tweets in a package to the last figure."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from conftest import make_text_project
from selectbench.records.files import read_arrays
from selectbench.records.records import read_record, read_records

RUNS = "results/smoke/cluster_mdp/records.jsonl.gz"


def read_runs(project) -> dict[str, dict]:
    return read_records(project.path(RUNS))


def test_every_artefact_is_there_and_a_second_run_starts_nothing(finished_texts):
    folder = finished_texts.path("results/smoke/cluster_mdp")
    for name in ("search", "states", "break_even", "coherence", "proxy_validity", "additivity", "overestimation"):
        assert (folder / f"figures/{name}.svg").stat().st_size > 5000
    claims = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["claims"]
    assert {claim["verdict"]["outcome"] if isinstance(claim["verdict"], dict) else claim["verdict"] for claim in claims}
    assert finished_texts.jobs() == {}


def test_records_hold_examples_and_tokens_noise_and_what_a_search_spent(finished_texts):
    rows, lengths = (
        read_runs(finished_texts),
        read_arrays(finished_texts.path("results/smoke/texts/tweets_few/encoder.splits.npz"))["lengths"],
    )
    assert len(rows) == 2 * (3 + 6 + 1 + 1)  # controls, methods, random and exhaustive search; two seeds
    for name, row in rows.items():
        assert row["status"] == "ok", name
        assert row["tokens"]["pool"] == lengths.sum()
        run = row["run"]
        if row["selection"]["subset_sha256"] is None:
            continue
        subset = finished_texts.path(f"results/smoke/subsets/tweets_few/{run['proxy']}/{run['method']}/seed-{run['seed']}.npz")
        ids = read_arrays(subset)[run["keep"]]
        assert row["num_kept"] == len(ids) <= 240 * float(run["keep"])
        assert row["tokens"]["kept"] == lengths[ids].sum()
        assert row["noise"]["kept"] <= row["noise"]["pool"]
    searched = [row for row in rows.values() if row["selection"].get("search")]
    assert {row["run"]["method"] for row in searched} == {"random_clusters", "climb_disc", "exhaustive_few"}
    for row in searched:
        if row["run"]["method"] == "exhaustive_few":
            continue
        search, trajectory = row["selection"]["search"], row["selection"]["trajectory"]
        assert search["trainings"] == search["limit"] == len(trajectory["epoch"]) == 112
        assert search["proxy_loss"] == pytest.approx(trajectory["proxy_loss"][-1], rel=1e-5)
        assert search["tokens"] > search["examples"] > 0
        assert set(row["selection"]["sources"]) == {"encoder", "clusters", "agent"}
        assert row["training"]["encode_s"] == 0  # selection has embedded the pool
    assert all(row["training"]["encode_s"] > 0 for row in rows.values() if row["run"]["method"] == "random")


def test_what_misleads_searches_is_measured_on_the_proxies_that_they_trained(finished_texts):
    for seed in (0, 1):
        measured = read_record(finished_texts.path(f"results/smoke/searched/tweets_few/minilm_head/seed-{seed}.json"))["propositions"]
        assert set(measured) == {"coherence", "additivity", "overestimation"}
        assert measured["additivity"]["num"] == 220 and measured["coherence"]["num"] <= 100
        shares = [measured["additivity"]["statistic"][name] for name in ("clusters", "pairs", "larger_sets")]
        assert sum(shares) == pytest.approx(1) and min(shares) > 0
        assert measured["overestimation"]["x"] == [112, 112]
        assert measured["overestimation"]["statistic"]["gap"] == pytest.approx(np.mean(measured["overestimation"]["y"]), abs=1e-5)


def test_a_head_answers_questions_by_how_their_options_match(finished_texts):
    embedded = read_arrays(finished_texts.path("results/smoke/texts/commonsenseqa_few/encoder.splits.npz"))
    assert embedded["pool-matches"].shape == (60, 5, 384) and embedded["test-matches"].shape == (40, 5, 384)
    rows = read_records(finished_texts.path("results/smoke/data_agent/records.jsonl.gz"))
    assert len(rows) == 2 * 5  # controls, no training and Data Agent; two seeds
    for row in rows.values():
        assert row["status"] == "ok" and row["run"]["dataset"] == "commonsenseqa_few"
        assert (row["training"]["encode_s"] > 0) == (row["run"]["method"] != "no_training") and 0 < row["test"]["test"]["top1"] < 100
    visits = {row["run"]["method"]: row["training"]["sample_visits"] for row in rows.values()}
    assert 0 == visits["no_training"] < visits["random"] < visits["data_agent"] < visits["full"]


def test_texts_are_embedded_once_and_an_edited_agent_reruns_its_own_searches(finished_texts):
    project = finished_texts
    assert not list(project.path("results/smoke/texts").rglob("seed-*"))
    old, new = "candidates: int = 2000", "candidates: int = 1999"
    project.edit("src/selectbench/llm/agents/climb_disc.py", old, new)
    try:
        jobs = project.jobs()
        assert jobs["search_clusters"] == 2
        assert not {"embed_texts", "cluster_texts", "score_samples", "measure_validity", "prepare_data"} & jobs.keys()
    finally:
        project.edit("src/selectbench/llm/agents/climb_disc.py", new, old)
    assert project.jobs() == {}


def test_a_killed_search_goes_on_where_it_was_and_finds_the_same(root, tmp_path, finished_texts):
    project = make_text_project(root, tmp_path)
    target = "results/smoke/subsets/tweets_few/minilm_head/climb_disc/seed-0.npz"
    environment = project.environment()
    process = subprocess.Popen(
        ["snakemake", "--cores", "2", target], cwd=project.root, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    memo = project.path("results/smoke/state/searches/tweets_few/minilm_head/climb_disc/seed-0/keep-0.05/values.jsonl")
    deadline = time.monotonic() + 300
    while not (memo.exists() and len(memo.read_bytes().splitlines()) > 20):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = memo.read_bytes()[: memo.read_bytes().rindex(b"\n") + 1]
    assert not project.path(target).exists()
    project.snakemake("--unlock")
    log = project.snakemake("--rerun-incomplete", target)
    assert log.returncode == 0, log.stderr[-3000:]
    assert len(kept.splitlines()) > 20 and not memo.exists()
    for file in (target, target.replace("subsets", "searches").replace(".npz", ".json")):
        if file.endswith(".npz"):
            ours, theirs = (read_arrays(copy.path(file)) for copy in (project, finished_texts))
            assert all(np.array_equal(ours[keep], theirs[keep]) for keep in theirs)
        else:
            assert project.path(file).read_bytes() == finished_texts.path(file).read_bytes()
