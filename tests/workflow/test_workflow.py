"""The DAG on real data, from the first array to the last figure, and what a second run does."""

import json
import re
import shutil

import numpy as np
import pytest

from conftest import DYNAMIC, ENCODER_EPOCHS, FIGURES, VIT_EPOCHS, strip_time_and_host
from selectbench.records.records import read_record, read_records

OUT = "results/smoke"
PAPER = f"{OUT}/rl_selector"

ROWS = f"{PAPER}/records.jsonl.gz"

MAIN = 2 * (1 + 5 * 2) + 2 * (1 + 3) + 2 * (1 + 3)  # main, one other family, one noisy pool
RUNS = MAIN + 2 * (3 + len(DYNAMIC))
EPOCHS = 8
POOL, TEST, NOISY = 896, 901, 179
PASS = POOL / 3  # over the pool, clean: after the first and the last epoch
PAID = {  # sample visits that each method is charged for its signals
    "el2n": {"early_replicates": 2 * (2 * POOL + PASS)},
    "moso": {"proxy": EPOCHS * POOL + 2 * PASS, "alignments": 3 * POOL * (1 + 2 / 3)},
    "ssp": {"encoder": ENCODER_EPOCHS * 2 * POOL + PASS},
}


def read_rows(project, paper="rl_selector") -> dict[str, dict]:
    return read_records(project.path(f"{OUT}/{paper}/records.jsonl.gz"))


def test_runs_to_the_last_figure(finished):
    for name in ("main", "cross", "ood", "corrupted", "cross_families", "noise", "noise_kept"):
        for ending in ("csv", "md", "tex", "cells.json"):
            assert finished.path(f"{PAPER}/tables/{name}.{ending}").stat().st_size > 0
    for name in FIGURES:
        assert finished.path(f"{PAPER}/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert finished.path(f"{PAPER}/figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    verdict = finished.path(f"{PAPER}/verdict.md").read_text(encoding="utf-8")
    assert verdict.index("EL2N beats uniform random") < verdict.index("## Tables")
    assert "Phantom (not built yet)" in finished.path(f"{PAPER}/tables/main.md").read_text(encoding="utf-8")
    page = finished.path(f"{OUT}/index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(FIGURES) + 1
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    front = finished.path("results/index.html").read_text(encoding="utf-8")
    assert front.count("<svg") == 1 and 'href="smoke/index.html#rl_selector-claim-random"' in front
    (browsed,) = json.loads(finished.path(f"{PAPER}/subsets.json").read_text(encoding="utf-8"))["datasets"]
    assert browsed["id"] == "digits" and {"random", "el2n", "moso", "ssp"} <= set(browsed["methods"])
    for method in browsed["methods"].values():
        assert {keep: list(masks) for keep, masks in method["kept"].items()} == {"0.5": ["0", "1"], "0.9": ["0", "1"]}
        assert list(method["ranks"]) == ["0", "1"]


def test_a_scale_for_trying_leaves_the_page_of_all_scales_alone(project):
    project.edit("config/scale/smoke.yaml", "listed: true", "listed: false")
    jobs = project.jobs()
    assert "build_front_page" not in jobs and jobs["build_page"] == 1


def test_every_record_has_its_seeds_costs_and_provenance(finished):
    rows = read_rows(finished)
    assert len(rows) == MAIN
    for row in rows.values():
        assert row["status"] == "ok"
        assert row["test"]["test"]["num"] == TEST
        assert row["test"]["test"]["unreadable"] == row["training"]["unreadable"] == 0
        epochs = row["recipe"]["epochs"]
        assert epochs == (VIT_EPOCHS if row["run"]["target"] == "vit_micro" else EPOCHS)
        assert row["training"]["sample_visits"] == epochs * row["num_kept"]
        assert row["training"]["steps"] == epochs * -(-row["num_kept"] // row["recipe"]["batch_size"])
        assert row["training"]["wall_s"] > 0
        assert {"init", "streams", "selection"} <= set(row["seeds"])
        assert {"code", "command", "versions", "device", "host", "version"} <= set(row["provenance"])
        sources = row["selection"]["sources"]
        assert {name: source["sample_visits"] for name, source in sources.items()} == pytest.approx(PAID.get(row["run"]["method"], {}))
        assert row["selection"]["sample_visits"] == pytest.approx(sum(source["sample_visits"] for source in sources.values()))
        assert row["selection"]["peak_memory_mb"] > 10
        assert row["selection"]["wall_s"] > sum(source["wall_s"] for source in sources.values()) > 0 or not sources
    main = [row for row in rows.values() if (row["run"]["dataset"], row["run"]["target"]) == ("digits", "resnet8")]
    by_seed = {(row["run"]["method"], row["run"]["keep"], row["run"]["seed"]): row for row in main}
    assert len(by_seed) == len(main) == 22
    assert by_seed["el2n", "0.5", 0]["seeds"]["init"] == by_seed["random", "0.9", 0]["seeds"]["init"]
    assert by_seed["el2n", "0.5", 0]["seeds"]["init"] != by_seed["el2n", "0.5", 1]["seeds"]["init"]
    assert by_seed["el2n", "0.5", 0]["seeds"]["selection"] != by_seed["random", "0.5", 0]["seeds"]["selection"]


def test_every_run_is_tested_on_the_sets_of_its_tables(finished):
    for row in read_rows(finished).values():
        run, tests = row["run"], row["test"]
        expected = {"test"}
        if (run["dataset"], run["target"]) == ("digits", "resnet8"):
            expected |= {"mnist_shift"}
            expected |= (
                {"corrupted"} if run["keep"] in ("0.9", "1") and run["method"] in ("full", "random", "random_balanced", "el2n") else set()
            )
        assert set(tests) == expected
        for name in expected - {"test"}:
            assert (tests[name]["clean_top1"], tests[name]["clean_num"]) == (tests["test"]["top1"], TEST)
        if "corrupted" in tests:
            by_corruption = tests["corrupted"]["by_corruption"]
            assert len(by_corruption) == 8 and tests["corrupted"]["num"] == 8 * 5 * TEST
            assert np.mean(list(by_corruption.values())) == pytest.approx(tests["corrupted"]["top1"])
            assert len({tuple(levels) for levels in by_corruption.values()}) > 1


def test_dynamic_runs_say_what_they_visited_and_what_choosing_cost(finished):
    rows = read_rows(finished, "data_agent")
    assert len(rows) == RUNS - MAIN
    for row in rows.values():
        method, training, selection = row["run"]["method"], row["training"], row["selection"]
        assert (row["run"]["target"], row["status"]) == ("convnet", "ok")
        if method not in DYNAMIC:
            assert "trajectory" not in selection
            continue
        kept = selection["trajectory"]["kept"]
        assert row["run"]["proxy"] == "none" and len(kept) == training["epochs"] == EPOCHS
        assert (kept[0], kept[-1], row["num_kept"]) == (POOL, POOL, POOL // 2)  # warm-up, and the last epoch on full data
        assert training["sample_visits"] == training["forward_visits"] == training["backward_visits"] == sum(kept)
        assert training["steps"] == sum(-(-num // 64) for num in kept)
        assert selection["wall_s"] > 0 and selection["sample_visits"] == 0
        if method == "data_agent":
            assert all(0 <= weight <= 1 for weight in selection["trajectory"]["weight"])
    table = finished.path(f"{OUT}/data_agent/tables/cost.md").read_text(encoding="utf-8")
    assert "| Random, resampled every epoch | 0.62 (time 0.0" in table  # (2 + 6 / 2) of 8 epochs
    times = read_record(finished.path(f"{OUT}/times/data_agent/cost/digits-on-convnet.json"))["times"]
    assert times.keys() == {run for run, row in rows.items() if row["run"]["seed"] == 0}
    assert all(len(repeats) == 2 and all(repeat["training"] > 0 for repeat in repeats) for repeats in times.values())
    assert all(
        (max(repeat["selection"] for repeat in repeats) > 0) == ("sampler" in rows[run]["selection"]) for run, repeats in times.items()
    )
    assert "median of 2 repeats" in table
    assert "half the sample visits of full data" in finished.path(f"{OUT}/data_agent/verdict.md").read_text(encoding="utf-8")


def test_noise_is_counted_and_seen_by_training_only(finished):
    noisy = np.load(finished.path("resources/digits_symmetric/prepared/pool/noisy.npy"))
    assert len(noisy) == NOISY
    for row in read_rows(finished).values():
        if row["run"]["dataset"] == "digits":
            assert row["noise"] is None
            continue
        subset = np.load(
            finished.path(f"{OUT}/subsets/digits_symmetric/{row['run']['proxy']}/{row['run']['method']}/seed-{row['run']['seed']}.npz")
        )
        ids = subset[row["run"]["keep"]]
        assert row["noise"] == {"pool": NOISY, "kept": len(np.intersect1d(ids, noisy))}
    table = finished.path(f"{PAPER}/tables/noise_kept.csv").read_text(encoding="utf-8")
    assert ",noise_kept," in table


def test_signals_are_compact_and_consistent(finished):
    from selectbench.signals import Signals

    path = finished.path(f"{OUT}/proxies/digits/convnet/seed-0.npz")
    signals = Signals.load(path)
    assert signals.correct.shape == (EPOCHS, POOL)
    assert signals.logits.shape == (2, POOL, 10)
    assert signals.recorded_at.tolist() == [0.125, 1.0]
    solution, residuals, *_ = np.linalg.lstsq(np.c_[signals.features, np.ones(POOL)], signals.logits[-1], rcond=None)
    assert solution.shape == (33, 10)
    assert residuals.max() < 1e-4  # the last logits are a linear layer applied to the features
    context = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["context"]
    training_pass = {"mode": "train", "images": "augmented", "checkpoint": "before each update"}
    assert context == {
        "mode": "eval",
        "images": "clean",
        "checkpoint": "last",
        "outputs_at_epochs": [1, EPOCHS],
        "every_epoch": training_pass,
    }


def test_table_cells_name_runs_that_say_the_same(finished):
    rows = read_rows(finished)
    table = json.loads(finished.path(f"{PAPER}/tables/main.cells.json").read_text(encoding="utf-8"))
    cells = [cell for panel in table["panels"] for row in panel["rows"] for cell in row["cells"].values()]
    assert len(cells) == 11
    for cell in cells:
        values = [rows[run]["test"]["test"]["top1"] for run in cell["runs"]]
        assert cell["mean"] == pytest.approx(np.mean(values), abs=1e-12)
        assert cell["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_a_second_run_starts_no_job_and_says_so(finished):
    result = finished.snakemake()
    assert "Nothing to be done" in result.stdout + result.stderr
    assert finished.jobs() == {}
    assert "everything is up to date" in finished.run("selectbench", "why").stdout


def test_touches_comments_and_docstrings_rerun_nothing(finished):
    names = ("src/selectbench/training/engine.py", "src/selectbench/methods/el2n.py", "src/selectbench/policy.py")
    texts = {path: path.read_text(encoding="utf-8") for path in map(finished.path, names)}
    for path in texts:
        path.touch()
    assert finished.jobs() == {}
    for path, text in texts.items():
        path.write_text(text.replace('"""', '"""Really: ', 1) + "\n# a comment\n", encoding="utf-8")
    assert finished.jobs() == {}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def test_an_edited_method_reruns_exactly_its_runs(copy):
    copy.edit("src/selectbench/methods/el2n.py", ".mean(axis=0)", ".mean(axis=0) + 0.0")
    jobs = copy.jobs()
    assert {rule: jobs[rule] for rule in ("score_samples", "select_subsets", "train_targets", "evaluate_targets")} == {
        "score_samples": 4,  # two seeds of two pools
        "select_subsets": 4,
        "train_targets": 3,  # the batches that hold its runs
        "evaluate_targets": 3,
    }
    assert "train_proxy" not in jobs
    assert "prepare_data" not in jobs
    why = copy.run("selectbench", "why").stdout
    assert "score_samples: code changed: 4 jobs\n" in why
    assert re.search(r"^train_targets: an input will be made again: 3 jobs, \d+ runs$", why, flags=re.MULTILINE)
    before = read_rows(copy)
    assert copy.snakemake("--", ROWS).returncode == 0
    after = read_rows(copy)
    assert [run for run in after if after[run]["run"]["method"] != "el2n" and after[run] != before[run]] == []
    copy.edit("src/selectbench/methods/el2n.py", ".mean(axis=0) + 0.0", ".mean(axis=0)")
    assert copy.snakemake("--", ROWS).returncode == 0
    assert copy.jobs("--", ROWS) == {}


def test_an_edited_engine_reruns_all_trainings_and_no_data(finished):
    finished.edit("src/selectbench/training/engine.py", "_EVALUATION_BATCH = 512", "_EVALUATION_BATCH = 256")
    try:
        jobs = finished.jobs()
        assert (jobs["train_proxy"], jobs["train_replicates"]) == (2, 4)  # moso's, el2n's with and without noise
        assert jobs["train_targets"] == 5
        assert "prepare_data" not in jobs
    finally:
        finished.edit("src/selectbench/training/engine.py", "_EVALUATION_BATCH = 256", "_EVALUATION_BATCH = 512")
    assert finished.jobs() == {}


def test_lost_outputs_are_made_again_and_finished_runs_kept(copy):
    run = f"{OUT}/runs/digits/convnet-to-resnet8/equal_epochs/el2n/keep-0.5/seed-0/train.json"
    manifest = f"{OUT}/batches/train/digits/resnet8/equal_epochs/0.json"
    before = read_rows(copy)
    copy.path(run).unlink()
    result = copy.snakemake()  # Snakemake knows about manifests alone, and the check before it plans about records
    assert result.returncode != 0
    repair = f"rm -rf {manifest} && snakemake --cores 2 -- all {manifest}"
    assert f"{run}: missing, though {manifest} says that it is done; to repair: {repair}\n" in result.stderr
    copy.path(manifest).unlink()
    copy.path(f"{PAPER}/verdict.md").unlink()
    result = copy.snakemake("--", manifest, ROWS, f"{PAPER}/verdict.md")
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stderr.count("already done") >= 3
    after = read_rows(copy)
    assert {run: strip_time_and_host(row) for run, row in after.items()} == {run: strip_time_and_host(row) for run, row in before.items()}
    assert sum(after[run]["provenance"]["finished"] != before[run]["provenance"]["finished"] for run in after) <= 1


def test_cores_change_nothing(finished, root, tmp_path):
    from conftest import make_project

    other = make_project(root, tmp_path / "other")
    other.edit("config/scale/smoke.yaml", "seeds: [0, 1]", "seeds: [0]")  # the runs of each seed are the same kinds
    result = other.run("snakemake", "--cores", "1", "--", ROWS)
    assert result.returncode == 0, result.stderr[-2000:]
    one, two = read_rows(other), read_rows(finished)
    assert len(one) == MAIN // 2
    assert {run: strip_time_and_host(row) for run, row in one.items()} == {run: strip_time_and_host(two[run]) for run in one}
    for name in ("proxies/digits/convnet/seed-0.npz", "subsets/digits/convnet/el2n/seed-0.npz"):
        assert finished.path(f"{OUT}/{name}").read_bytes() == other.path(f"{OUT}/{name}").read_bytes()


def test_figures_are_redrawn_from_records_without_torch_or_snakemake(finished, tmp_path):
    from conftest import Project

    reader = Project(tmp_path)
    for part in ("config", "src", "workflow"):
        shutil.copytree(finished.path(part), reader.path(part))
    for name in ("rl_selector/records.jsonl.gz", "rl_selector/overlaps.json", "rl_selector/subsets.json", "data_agent/records.jsonl.gz"):
        reader.path(f"{OUT}/{name}").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(finished.path(f"{OUT}/{name}"), reader.path(f"{OUT}/{name}"))
    for name in ("theory", "times"):
        shutil.copytree(finished.path(f"{OUT}/{name}"), reader.path(f"{OUT}/{name}"))
    program = "import sys; sys.modules['torch'] = sys.modules['snakemake'] = None;from selectbench.cli import main; main(['report'])"
    result = reader.run("python", "-c", program)
    assert result.returncode == 0, result.stderr
    for name in ("rl_selector/tables/main.csv", "rl_selector/figures/cost.png", "rl_selector/verdict.md", "index.html"):
        assert reader.path(f"{OUT}/{name}").read_bytes() == finished.path(f"{OUT}/{name}").read_bytes()
    assert reader.path("results/index.html").read_bytes() == finished.path("results/index.html").read_bytes()


def test_progress_names_runs_and_totals(copy):
    lost = [
        f"{OUT}/batches/{manifest}"
        for manifest in ("train/digits/resnet8/equal_epochs/1.json", "evaluate/digits/resnet8/equal_epochs/0.json")
    ]
    for manifest in lost:
        copy.path(manifest).unlink()
    shutil.rmtree(copy.path(f"{OUT}/runs/digits/none-to-resnet8/equal_epochs/random_balanced"))
    result = copy.snakemake("--", *lost, ROWS)
    assert result.returncode == 0
    lines = re.findall(rf"^\[train (\d+)/{RUNS}[^\]]*\] (\S+): (.*)", result.stderr, flags=re.MULTILINE)
    assert [int(count) for count, _, _ in lines] == list(range(RUNS - 7, RUNS + 1))
    again = [run for _, run, text in lines if text != "already done"]
    assert len(again) == 4 and all("/random_balanced/" in run for run in again)
    log = copy.path(f"{OUT}/logs/train/digits/resnet8/equal_epochs/1.log").read_text(encoding="utf-8")
    assert log.count("[train ") == 8


def test_status_and_plan_tell_what_there_is(finished):
    assert "rl_selector/main: 22 of 22 runs done" in finished.run("selectbench", "status").stdout
    plan = finished.run("selectbench", "plan").stdout
    assert f"{RUNS} runs, seeds 0, 1" in plan
    assert "Not built yet, shown as such in tables: Phantom" in plan
    assert f"Recorded at this scale: {RUNS} runs took" in plan
    assert re.search(rf"^all papers +{RUNS} +\d+ +0\.\d\d +\d+ MB +\S+ (s|min)$", plan, flags=re.MULTILINE)
    assert re.search(
        r"^Based on: recorded work \(\d+ jobs\); Snakemake's times of them \(\d+ jobs\)\. Device: cpu\.$", plan, flags=re.MULTILINE
    )
    assert re.search(r"^Jobs take \d+\.\d to \d+\.\d s in addition to their recorded work", plan, flags=re.MULTILINE)
    assert re.search(r"^Last time \(.+\): ", plan, flags=re.MULTILINE)
    assert "No recorded costs" not in plan


def test_a_new_method_is_one_file_and_one_line(finished):
    methods = finished.path("config/methods.yaml")
    before = methods.read_text(encoding="utf-8")
    result = finished.run("selectbench", "new-method", "margin")
    assert result.returncode == 0, result.stderr
    try:
        assert methods.read_text(encoding="utf-8") == before + "margin: {title: Margin}\n"
        jobs = finished.jobs()
        assert (jobs["score_samples"], jobs["select_subsets"], jobs["train_targets"], jobs["evaluate_targets"]) == (2, 2, 2, 1)
        assert "train_proxy" not in jobs
        assert (jobs["make_table"], jobs["draw_figure"]) == (7, len(FIGURES))  # its row, in main, cross and ood; collected again
        plan = finished.run("selectbench", "plan").stdout
        assert f"{RUNS + 4} runs" in plan
        again = finished.run("selectbench", "new-method", "margin")
        assert again.returncode == 2
        assert again.stderr == "error: src/selectbench/methods/margin.py already exists\n"
        assert finished.run("selectbench", "new-method", "Margin!").returncode == 2
    finally:
        finished.path("src/selectbench/methods/margin.py").unlink()
        methods.write_text(before, encoding="utf-8")
    assert finished.jobs() == {}
