"""Costs computed by hand: job graph, recorded work, declared extrapolation, disk, and estimate vs. actual."""

import json
import re
import shutil
from base64 import urlsafe_b64encode
from dataclasses import asdict, astuple
from pathlib import Path

import pytest

from selectbench.cli import main
from selectbench.costs import costing as costing_module
from selectbench.costs.costing import KIND, MULTIPLY_ADDS, PUBLISHED_DEVICE, RECORDED, SAME_MODEL, SNAKEMAKE, Costing, measure_pace
from selectbench.costs.disk import measure_bytes
from selectbench.costs.estimates import (
    describe_costs,
    describe_last_estimate,
    describe_limit,
    format_bytes,
    format_seconds,
    sum_costs,
    write_estimate,
)
from selectbench.costs.reasons import compare_specs, explain_status, find_reasons
from selectbench.costs.recorded import measure_run, read_times
from selectbench.costs.sizes import KEPT, PUBLISHED_MODEL, ImageNetwork, count_networks, list_networks, size_model
from selectbench.costs.visits import visit_run
from selectbench.errors import RecordError, SelectbenchError
from selectbench.models.counting import count_model
from selectbench.planning.jobs import find_needs, list_jobs, list_wanted_files, load_stages
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import make_rules
from selectbench.records.records import SCHEMA, TRAIN, read_records, write_collection
from selectbench.stages.build_front_page import BuildFrontPage
from selectbench.stages.build_page import BuildPage
from selectbench.stages.collect_records import CollectRecords

RESNET50 = ({"library": "timm", "name": "resnet50"}, "standard", (3, 224, 224), 1000)


@pytest.fixture
def project(root, committed, tmp_path, monkeypatch):
    """A folder with the configuration and the committed records of scale tiny; runs added since then get the record of another run."""
    for part in ("config", "workflow/schemas"):
        shutil.copytree(root / part, tmp_path / part)
    kept = ("*/records.jsonl.gz", "theory/**/*.json", "searched/**/*.json", "validity/**/*.json", "clusters/**/*.json", "times/**/*.json")
    for path in (path for pattern in kept for path in (committed / "results/tiny").glob(pattern)):
        target = tmp_path / path.relative_to(committed)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    plan = plan_scale(tmp_path, "tiny")
    for paper in plan.config.papers:
        path = tmp_path / CollectRecords(paper).find_output(plan, "records")
        rows = list(read_records(path).values())
        by_id = {row["run"]["id"]: row for row in rows}
        added = [rows[0] | {"run": {"id": run, **asdict(plan.runs[run])}} for run in plan.paper_runs(paper) if run not in by_id]
        write_collection(path, [*rows, *added])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_scale(project, scale):
    return load_plan(project, {"scale": scale})


def find_job(jobs, rule, *parts):
    return next(
        job
        for job in jobs.values()
        if job.rule == rule and all(part in "/".join(job.stage.wildcards.values()).split("/") for part in parts)
    )


def note_times(project, output, start, end, **more):
    """Write the metadata that Snakemake keeps about a file it made."""
    path = project / ".snakemake/metadata" / urlsafe_b64encode(output.encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"starttime": start, "endtime": end, "external_jobid": None, **more}), encoding="utf-8")


def test_rules_that_ask_for_gpus_and_threads_are_those_of_the_workflow(root):
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in (root / "workflow/rules").glob("*.smk"))
    bodies = dict(re.findall(r"^rule (\w+):\n((?:^(?: .*)?\n)+)", text, flags=re.MULTILINE))
    stages, declared = load_stages(), make_rules(load_plan(root))
    assert {name for name, rule in declared.items() if "gpu" in rule.resources} == {
        name for name, stage in stages.items() if stage.computes
    }
    assert all(f'**declared["{name}"].resources' in bodies[name] for name, stage in stages.items() if stage.computes)
    threaded = {name for name, body in bodies.items() if f'threads: declared["{name}"].threads' in body}
    assert threaded == {name for name, stage in stages.items() if stage.threaded}


@pytest.mark.parametrize("scale", ["smoke", "tiny", "full"])
def test_every_file_that_a_job_reads_is_made_by_another(project, scale):
    plan = plan_scale(project, scale)
    jobs = list_jobs(plan)
    pages = {page.find_output(plan, "html") for page in (BuildPage(), BuildFrontPage())} & set(list_wanted_files(plan))
    needs, waiting, found = find_needs(jobs), [*pages], set()
    while waiting:  # everything is needed for the pages
        name = waiting.pop()
        waiting += [need for need in needs[name] if need not in found]
        found.add(name)
    assert found == set(jobs)
    statistics = [job for job in jobs.values() if job.rule == "measure_texts" and job.stage.measure == "statistics"]
    computing = [job for job in jobs.values() if job.stage.computes and job not in statistics]
    assert {job.gpus / job.stage.count_processes(plan) for job in computing} == {plan.config.scale["resources"]["gpu"]}
    assert {job.gpus for job in jobs.values() if job not in computing} == {0}


def test_recorded_work_is_what_records_say(project):
    costing = Costing(plan_scale(project, "tiny"))
    rows = costing.observed.recorded.rows
    job = find_job(costing.jobs, "train_targets", "digits", "resnet8", "0")
    runs = costing.plan.batches["train"][f"{job.stage.dataset}/{job.stage.batch}"]
    expected = sum(measure_run(rows[run.id], TRAIN).seconds for run in runs)
    assert costing.costs[job.outputs[0]] == (pytest.approx(expected), RECORDED)
    proxy = find_job(costing.jobs, "train_proxy", "digits", "convnet", "0")
    row = rows["digits/convnet-to-resnet8/equal_epochs/tdds/keep-0.4/seed-0"]
    assert row["selection"]["proxy_share"] == 0.5
    assert costing.costs[proxy.outputs[0]].seconds == pytest.approx(row["selection"]["sources"]["proxy"]["wall_s"] / 0.5)
    early = Costing(costing.plan)  # as if no method needed more than half of the proxy's training
    early.observed.recorded.rows = {row["run"]["id"]: row}
    assert early.costs[proxy.outputs[0]].seconds == pytest.approx(row["selection"]["sources"]["proxy"]["wall_s"] / 0.5)
    selectors = find_job(costing.jobs, "train_selectors", "digits", "convnet", "rl_selector", "0")
    chosen = {
        run.keep: rows[run.id]["selection"]["sources"]["agent"]["wall_s"]
        for run in costing.plan.runs.values()
        if (run.dataset, run.proxy, run.method, str(run.seed)) == astuple(selectors.stage)
    }
    assert len(chosen) > 1
    assert costing.costs[selectors.outputs[0]] == (pytest.approx(sum(chosen.values())), RECORDED)
    assert costing.costs[BuildPage().find_output(costing.plan, "html")] == (None, None)


def test_work_of_a_run_is_what_its_job_does():
    provenance = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:09+00:00"}
    training = {"wall_s": 5.0, "encode_s": 1.5}
    static = {"provenance": provenance, "training": training, "selection": {"score_s": 2.0}, "evaluation": None}
    assert measure_run(static, "train").seconds == 3.5  # a frozen encoder is the work of another job
    assert measure_run(static | {"selection": {"score_s": 2.0, "sampler": "ucb"}}, "train").seconds == 5.5  # a sampler runs alongside
    assert measure_run(static | {"training": None}, "train").seconds == 9.0
    assert measure_run(static, "evaluate").seconds == 0.0
    evaluated = static | {"evaluation": {"wall_s": 0.25, "provenance": provenance}}
    assert measure_run(evaluated, "evaluate").seconds == 0.25


def test_a_scale_without_records_takes_the_pace_of_the_same_models(project):
    costing = Costing(plan_scale(project, "smoke"))
    job = find_job(costing.jobs, "train_proxy", "digits", "convnet", "0")
    network, visits = job.stage.count_visits(costing.plan)
    assert network == ("convnet", "small", "digits")
    assert visits == pytest.approx(896 * (8 + 2 / 3))  # clean passes after the first and the last epoch
    runs = Costing(plan_scale(project, "tiny")).observed.recorded.rows.values()
    rows = [row for row in runs if row["run"]["target"] == "convnet" and row["training"]]
    seconds, passed = sum(measure_run(row, TRAIN).seconds for row in rows), sum(row["training"]["sample_visits"] for row in rows)
    assert costing.costs[job.outputs[0]] == (pytest.approx(visits * seconds / passed), SAME_MODEL)
    assert costing.costs[find_job(costing.jobs, "score_samples", "el2n").outputs[0]] == (None, None)  # no recorded costs: not invented


def test_visits_of_dynamic_methods_are_those_that_samplers_plan(project):
    plan = plan_scale(project, "tiny")
    planned = {(run.method, run.keep): visit_run(plan, run, TRAIN).visits for run in plan.runs.values() if run.dataset == "digits"}
    assert planned["random_dynamic", "0.5"] == planned["data_agent", "0.5"] == planned["full_fewer", "0.5"] == 3 * 896 + 9 * 448
    assert planned["data_agent_released", "0.3"] == planned["full", "1"] == 12 * 896
    assert planned["data_agent_unannealed", "0.5"] == 896 + 11 * 448
    rows = [row for row in Costing(plan).observed.recorded.rows.values() if row["training"] and row["selection"].get("sampler") == "ucb"]
    assert rows
    for row in rows:
        assert row["training"]["sample_visits"] == visit_run(plan, plan.runs[row["run"]["id"]], TRAIN).visits


def test_a_scale_on_gpus_extrapolates_from_the_published_rate(project):
    costing = Costing(plan_scale(project, "full"))
    assert costing.device == PUBLISHED_DEVICE
    runs = costing.plan.batches["train"]
    name, (run,) = next((name, runs) for name, runs in runs.items() if runs[0].target == "resnet50" and runs[0].dataset == "imagenet1k")
    cost = costing.costs[f"results/full/batches/train/{name}.json"]
    share = 1.0 if run.regime == "equal_steps" else float(run.keep)
    assert cost == (pytest.approx(90 * 1_281_167 * share / (9488.39 / 8)), MULTIPLY_ADDS)
    small = costing.find_pace(find_job(costing.jobs, "train_proxy", "cifar10", "resnet18").stage.count_visits(costing.plan).network)
    ratio = (
        count_model(costing.plan.config.models["resnet18"], "small", (3, 32, 32), 10).multiply_adds / count_model(*RESNET50).multiply_adds
    )
    assert small == (pytest.approx(ratio / (9488.39 / 8)), MULTIPLY_ADDS)
    assert costing.costs[find_job(costing.jobs, "finetune_targets", "anli").outputs[0]] == (None, None)
    texts = Costing(load_plan(project, {"scale": "full", "papers": ["cluster_mdp"]}), costing.observed)
    lines = list(describe_costs(costing, {"Cluster MDP": texts}, 8, 8))
    assert re.search(r"^Cluster MDP .* unknown .* unknown$", lines[1])
    assert re.search(r"^all papers .* ≥ [\d,.]+ .* ≥ ", lines[2])


def test_processes_share_the_time_of_a_job_and_each_has_its_gpu(project):
    plan, alone = plan_scale(project, "full"), plan_scale(project, "full")
    alone.config.recipes["imagenet_adamw_300"].pop("processes")
    several, one = Costing(plan), Costing(alone)
    (name, *_) = [name for name, job in one.jobs.items() if job.rule == "train_targets" and "imagenet1k/vit_base" in name]
    assert several.jobs[name].gpus == 8 and one.jobs[name].gpus == 1
    assert several.costs[name].seconds == pytest.approx(one.costs[name].seconds / 8)


def test_jobs_that_would_be_stopped_are_told_and_every_scale_is_without_any(project):
    for scale in ("fast", "small", "full"):
        assert list(describe_limit(Costing(plan_scale(project, scale)))) == []
    plan = plan_scale(project, "full")
    plan.config.recipes["imagenet_adamw_300"].pop("processes")
    costing = Costing(plan)
    warning, longest = describe_limit(costing)
    over = {name: cost.seconds for name, cost in costing.costs.items() if (cost.seconds or 0) > 4320 * 60}
    assert len(over) > 100
    assert (
        warning
        == f"Warning: on a cluster, {len(over)} jobs would be stopped after 3.0 days (resources.runtime): {len(over)} train_targets."
    )
    name = max(over, key=over.get)
    assert longest.startswith(f"The longest, {name}, takes {format_seconds(over[name])}. ")


def test_a_recorded_gpu_replaces_the_published_one(project):
    path = project / "results/tiny/rl_selector/records.jsonl.gz"
    row = next(iter(read_records(path).values()))
    row["run"] |= {"dataset": "cifar10", "target": "resnet18", "id": "cifar10/one"}
    row["model"], row["recipe"] = {"title": "ResNet-18", **load_plan(project).config.models["resnet18"]}, {"stem": "small"}
    row["provenance"]["device"] = "Some GPU"
    row["training"] |= {"wall_s": 50.0, "sample_visits": 100_000}
    target = project / "results/small/rl_selector/records.jsonl.gz"
    write_collection(target, [row])
    costing = Costing(plan_scale(project, "full"))
    assert costing.device == "Some GPU"
    job = find_job(costing.jobs, "train_proxy", "cifar10", "resnet18", "0")
    assert costing.costs[job.outputs[0]] == (pytest.approx(job.stage.count_visits(costing.plan).visits * 50 / 100_000), SAME_MODEL)
    other = find_job(costing.jobs, "train_proxy", "cifar100", "resnet18", "0")
    assert costing.costs[other.outputs[0]].seconds == pytest.approx(costing.costs[job.outputs[0]].seconds)  # equal shapes, equal pace
    size = count_model(row["model"], "small", (3, 32, 32), 10).multiply_adds
    assert costing.multiply_adds_per_s == pytest.approx(size * 100_000 / 50)


def test_the_pace_is_that_of_the_device_that_worked_most():
    def row(device, wall_s, visits, dataset="digits"):
        provenance = {"device": device, "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:09+00:00"}
        training = {"wall_s": wall_s, "sample_visits": visits}
        model, recipe = {"title": "A", "library": "selectbench", "name": "a"}, {"stem": "small"}
        return {
            "provenance": provenance,
            "training": training,
            "selection": {},
            "model": model,
            "recipe": recipe,
            "run": {"dataset": dataset},
        }

    rows = [row("cpu", 2.0, 100), row("cpu", 4.0, 100), row("A", 1.0, 1000), row("B", 9.0, 3000), row("B", 9.0, 1, "elsewhere")]
    datasets = {"digits": {"input_shape": [1, 8, 8]}}
    cpu, gpu = measure_pace(rows, datasets, asks_gpu=False), measure_pace(rows, datasets, asks_gpu=True)
    assert (cpu.device, list(cpu.seconds_per_visit.values())) == ("cpu", [0.03])
    assert (gpu.device, list(gpu.seconds_per_visit.values())) == ("B", [0.003])
    assert measure_pace(rows[:2], datasets, asks_gpu=True) is None
    rows[3]["recipe"]["processes"] = 4
    assert list(measure_pace(rows, datasets, asks_gpu=True).seconds_per_visit.values()) == [pytest.approx(0.012)]


def test_multiply_adds_and_parameters_are_the_published_ones():
    resnet50 = count_model(*RESNET50)
    assert resnet50.multiply_adds == pytest.approx(4.09e9, rel=0.01)  # He et al. 2016 count 3.8e9 with the stride in the 1×1
    assert resnet50.parameters == pytest.approx(25.6e6, rel=0.01)
    assert resnet50.width == 2048
    vit = count_model({"library": "timm", "name": "vit_base_patch16_224"}, "standard", (3, 224, 224), 1000)
    assert vit.multiply_adds == pytest.approx(17.5e9, rel=0.02)


def test_kept_sizes_are_those_of_every_network_that_a_scale_trains(root):
    kept = KEPT.read_text(encoding="utf-8")
    assert kept == count_networks(list_networks(root)), "`python -m selectbench.costs.sizes` counts them again"
    assert size_model(PUBLISHED_MODEL) == count_model(*RESNET50)


def test_a_network_that_is_not_kept_is_counted():
    network = ImageNetwork({"library": "selectbench", "name": "convnet", "width": 3}, "small", (1, 8, 8), 7)
    assert '"width": 3}' not in KEPT.read_text(encoding="utf-8")
    assert size_model(network) == count_model(*network)


def describe_works(costing, job):
    """Return the output of a batch, the start and end of its recorded work, and its seconds."""
    works = costing.observed.list_works(job)
    return job.outputs[0], min(work.started for work in works), max(work.finished for work in works), sum(work.seconds for work in works)


def test_times_of_snakemake_tell_starts_and_jobs_without_records(project):
    costing = Costing(plan_scale(project, "tiny"))
    table = find_job(costing.jobs, "make_table", "rl_selector", "main").outputs[0]
    batch, begin, end, work = next(
        (batch, begin, end, work)
        for batch, begin, end, work in (describe_works(costing, job) for job in costing.jobs.values() if job.rule == "train_targets")
        if begin - 1 + work + 30 > end  # one job trained its runs
    )
    note_times(project, table, 100.0, 104.5)
    note_times(project, batch, begin - 1, begin - 1 + work + 30)
    costing = Costing(costing.plan)
    assert costing.costs[table] == (4.5, SNAKEMAKE)
    assert costing.observed.start_s == {"train_targets": pytest.approx(30)}
    assert costing.costs[batch] == (pytest.approx(work + 30), RECORDED)
    other = find_job(costing.jobs, "make_table", "rl_selector", "cross").outputs[0]
    assert costing.costs[other] == (4.5, KIND)
    note_times(project, batch, end - 1, end + 5)  # repeated when most of its runs were done: says nothing about start-up time
    assert Costing(costing.plan).observed.start_s == {}
    note_times(project, table, 100.0, 104.5, external_jobid="77")  # waited in a queue
    assert Costing(costing.plan).costs[table] == (None, None)
    long = f"results/tiny/{'x' * 300}.csv"
    assert read_times(long) is None


def test_notes_that_are_damaged_are_no_times(project):
    for content in ("", "[]", "{}", '{"starttime": "soon", "endtime": 1}', '{"starttime": null, "endtime": 1}'):
        path = project / ".snakemake/metadata" / urlsafe_b64encode(b"a").decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        assert read_times("a") is None


def test_runs_that_papers_share_are_counted_once(project):
    costing = Costing(plan_scale(project, "tiny"))
    plan = costing.plan
    parts = {paper: Costing(load_plan(project, {"scale": "tiny", "papers": [paper]}), costing.observed) for paper in plan.config.papers}
    totals = {paper: sum_costs(part, 0, 2) for paper, part in parts.items()}
    whole = sum_costs(costing, 0, 2)
    assert {paper: total.runs for paper, total in totals.items()} == {paper: len(plan.paper_runs(paper)) for paper in parts}
    assert whole.runs == len(plan.runs) < sum(total.runs for total in totals.values())
    assert whole.jobs == len(costing.jobs) < sum(total.jobs for total in totals.values())
    assert whole.hours == pytest.approx(sum(cost.seconds or 0 for cost in costing.costs.values()) / 3600)  # one thread per job
    assert max(total.hours for total in totals.values()) < whole.hours < sum(total.hours for total in totals.values())
    assert whole.disk < sum(total.disk for total in totals.values())
    assert whole.hours * 3600 / 2 <= whole.wall_s <= whole.hours * 3600
    assert whole.is_whole
    work = sum(measure_run(costing.observed.recorded.rows[run], TRAIN).seconds for run in plan.paper_runs("data_agent"))
    trained = [cost.seconds for name, cost in parts["data_agent"].costs.items() if "/batches/train/" in name]
    assert sum(trained) == pytest.approx(work)  # but not the other paper's runs in the same batches


def test_disk_is_what_lies_there_or_what_shapes_say(project):
    costing = Costing(plan_scale(project, "full"))
    plan, jobs, size = costing.plan, costing.jobs, costing.size_network
    data = find_job(jobs, "prepare_data", "cifar100")
    assert measure_bytes(plan, data) is None
    assert data.stage.estimate_bytes(plan, size) == 60_000 * 3 * 32 * 32
    assert find_job(jobs, "prepare_data", "imagenet1k").stage.estimate_bytes(plan, size) is None  # its images are not copied
    scores = find_job(jobs, "score_samples", "cifar10", "el2n", "0")
    assert scores.stage.estimate_bytes(plan, size) == 50_000 * 24
    subsets = find_job(jobs, "select_subsets", "cifar10", "el2n", "0")
    keeps = {run.keep for run in plan.runs.values() if (run.dataset, run.method, run.seed) == ("cifar10", "el2n", 0)}
    assert subsets.stage.estimate_bytes(plan, size) == 8 * sum(round(float(keep) * 50_000) for keep in keeps)
    proxy = find_job(jobs, "train_proxy", "cifar10", "resnet18", "0")
    network = count_model(plan.config.models["resnet18"], "small", (3, 32, 32), 10)
    assert proxy.stage.estimate_bytes(plan, size) == 4 * (11 * network.parameters + (2 * 512 + 3 * 10 + 200) * 50_000)
    for output in scores.outputs:
        (project / output).parent.mkdir(parents=True, exist_ok=True)
        (project / output).write_bytes(b"12345")
    assert measure_bytes(plan, scores) == 10


def test_estimates_are_held_against_what_was_recorded_then(project, monkeypatch):
    plan = plan_scale(project, "tiny")
    assert describe_last_estimate(Costing(plan)) is None
    monkeypatch.setattr("selectbench.costs.estimates.time.time", lambda: 1000.0)
    table, page = find_job(list_jobs(plan), "make_table", "rl_selector", "main").outputs[0], BuildPage().find_output(plan, "html")
    note_times(project, table, 10.0, 14.0)
    write_estimate(plan)
    assert "no job with an estimate has finished since" in describe_last_estimate(Costing(plan))
    note_times(project, table, 1001.0, 1006.0)
    note_times(project, page, 1001.0, 1002.0)
    line = describe_last_estimate(Costing(plan))
    assert line.endswith("1 job, estimated at 4 s of work, took 5 s: 20 % too low; 1 more had no estimate")
    batch = find_job(list_jobs(plan), "train_targets", "digits", "resnet8", "0").outputs[0]
    note_times(project, batch, 2000.0, 2005.0)  # its records are older: part of its work was done before
    assert describe_last_estimate(Costing(plan)) == line
    path = project / "results/tiny/estimate.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"schema": SCHEMA + 1}), encoding="utf-8")
    with pytest.raises(RecordError, match=rf"estimate.json: record layout {SCHEMA + 1} is of a newer version"):
        describe_last_estimate(Costing(plan))


def test_a_schedule_without_gpus_is_told(project):
    with pytest.raises(SelectbenchError, match="scale full needs GPUs, but none are available"):
        Costing(plan_scale(project, "full")).schedule(0, 8)


def test_commands_print_costs_and_schedules(project, capsys):
    main(["plan", "--scale", "tiny", "--cores", "2"])
    printed = capsys.readouterr().out
    assert re.search(r"^ +runs +jobs +CPU-hours +disk +wall time$", printed, flags=re.MULTILINE)
    plan = plan_scale(project, "tiny")
    counts = rf"{len(plan.runs):,} +{len(list_jobs(plan)):,}"
    assert re.search(rf"^all papers +{counts} +\d\.\d\d +\d+ MB +\d+ min$", printed, flags=re.MULTILINE)
    assert "No recorded costs, counted as zero: 1 build_front_page, 1 build_page, 3 collect_records" in printed
    main(["simulate", "--scale", "full", "--gpus", "8", "64"])
    rows = re.findall(
        r"^ +(8|64) +any +([\d,.]+ days) +([\d.]+) % +([\d,.]+ days) +([\d,.]+ days)$", capsys.readouterr().out, flags=re.MULTILINE
    )
    assert [row[0] for row in rows] == ["8", "64"]
    for _, makespan, use, path, bound in rows:
        days, longest, least = (float(text.removesuffix(" days").replace(",", "")) for text in (makespan, path, bound))
        assert max(longest, least) - 0.5 <= days
        assert (least - 0.5) / (days + 0.5) <= float(use) / 100 <= (least + 0.5) / (days - 0.5)  # days are rounded
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "--gpus", "many"])
    assert caught.value.code == 2
    assert "'many' is not a number of devices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "1.5 min"), (3600, "60 min"), (9 * 3600, "9.0 h"), (5 * 86400, "5.0 days")]
)
def test_times_read_well(seconds, text):
    assert format_seconds(seconds) == text


def test_sizes_read_well():
    assert [format_bytes(size) for size in (0, 999, 1500, 12_345_678, 3 * 10**12)] == ["0 B", "999 B", "1.5 kB", "12 MB", "3.0 TB"]


def test_causes_tell_code_from_parameters():
    before = {"code": "a", "epochs": 1, "runs": [{"id": "x", "sampler": {"name": "ucb", "code": "b"}}]}
    assert compare_specs(before, {**before, "code": "c"}) == "code changed"
    assert compare_specs(before, {**before, "runs": [{"id": "x", "sampler": {"name": "ucb", "code": "d"}}]}) == "code changed"
    assert compare_specs(before, {**before, "epochs": 2, "threads": 1, "code": "c"}) == "params changed (epochs, threads)"
    assert compare_specs(None, before) == "params changed"


def test_jobs_that_would_run_are_grouped_by_cause(project):
    plan = plan_scale(project, "smoke")
    jobs = list_jobs(plan)
    score, other, third = [job for job in jobs.values() if job.rule == "score_samples"][:3]
    batch = find_job(jobs, "train_targets", "digits", "resnet8", "0")
    spec, page = score.stage.specify(plan), BuildPage().find_output(plan, "html")
    note_times(project, score.outputs[0], 0.0, 1.0, params=[repr(json.dumps(spec | {"code": "other"}))])
    note_times(project, other.outputs[0], 0.0, 1.0, params=[repr(json.dumps(other.stage.specify(plan) | {"seed": 99}))])
    failed = find_job(jobs, "make_table", "rl_selector", "main")
    log = Path(failed.stage.find_log(plan))
    log.parent.mkdir(parents=True)
    log.write_text("error", encoding="utf-8")
    lines = ["output_file\tdate\trule\tlog-file(s)\tstatus\tplan"]
    for job, status in (
        *((score, "params changed"), (other, "params changed"), (third, "updated input files"), (batch, "ok")),
        *((failed, "missing"), (find_job(jobs, "make_table", "rl_selector", "cross"), "missing")),
    ):
        lines += [f"{output}\t-\t{job.rule}\t-\t{status}\tupdate pending" for output in job.outputs]
    lines += [f"{page}\t-\tbuild_page\t-\tok\tno update"]
    counts, runs = find_reasons(plan, lines)
    assert counts == {
        ("score_samples", "code changed"): 1,
        ("score_samples", "params changed (seed)"): 1,
        ("score_samples", "an input was updated"): 1,
        ("train_targets", "an input will be made again"): 1,
        ("make_table", "failed or was stopped before"): 1,
        ("make_table", "not made yet"): 1,
    }
    assert runs["train_targets", "an input will be made again"] == len(plan.batches["train"][f"{batch.stage.dataset}/{batch.stage.batch}"])
    assert explain_status(plan, score, "set of input files changed") == "the list of inputs changed"
    assert all(job.stage.specify(plan) for job in jobs.values())


def test_constants_of_the_published_rate_stand_in_the_documents(root):
    text = (root / "docs/costs.md").read_text(encoding="utf-8")
    assert "9,488" in text and round(costing_module.PUBLISHED_IMAGES_PER_S * 8) == 9488
