"""Tables drive the runs; the plan does not depend on the order of requests."""

import math
import shutil

import pytest

from selectbench.planning.config import as_list
from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import list_panel_runs, load_plan, pack_groups, take_paper
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.evaluate_texts import EvaluateTexts
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.judge_claims import JudgeClaims
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.select_subsets import SelectSubsets
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_selectors import TrainSelectors
from selectbench.stages.train_targets import TrainTargets


@pytest.fixture(scope="module")
def plan(root):
    return load_plan(root, {"scale": "tiny"})


def test_tables_share_runs_and_runs_no_axis_can_tell_apart_are_one(plan):
    ids = list(plan.runs)
    assert len(set(ids)) == len(ids)
    main, cross = (plan.tables["rl_selector", name] for name in ("main", "cross"))

    def runs(table, method, keep):
        (row,) = (row for row in table["panels"][0]["rows"] if row["id"] == method)
        return row["cells"][keep]["runs"]

    assert runs(main, "el2n", "0.6") == runs(cross, "el2n", "0.6")
    assert runs(main, "full", "1") == runs(cross, "full", "1")
    full = [run for run in ids if run.startswith("digits/none-to-resnet8/") and "/full/" in run]
    assert full == [f"digits/none-to-resnet8/equal_epochs/full/keep-1/seed-{seed}" for seed in range(5)]
    assert all("none-to" in run for run in ids if run.split("/")[3] in ("random", "random_balanced"))


def test_every_table_has_its_controls_first_and_drops_no_row(plan):
    for (paper, name), table in plan.tables.items():
        entry = plan.config.papers[paper]["tables"][name]
        present = [panel for panel in table["panels"] if panel["absent"] is None]
        stand_ins = {plan.config.scale["axes"]["dataset"][dataset] for dataset in entry["where"]["dataset"]}
        targets = {plan.config.scale["axes"]["model"][target] for target in as_list(entry["where"]["target"])}
        assert bool(present) == (stand_ins != {None} and targets != {None})
        for panel in present:
            controls = [row["id"] for row in panel["rows"] if row["control"]]
            assert controls == (["full", "random", "random_balanced"] if entry.get("controls", True) else [])
            assert [row["id"] for row in panel["rows"][: len(controls)]] == controls
            assert set(entry["where"]["method"]) <= {row["id"] for row in panel["rows"]}
            for row in panel["rows"]:
                assert row["planned"] == bool(plan.config.methods[row["id"]].get("planned"))
                assert all(bool(cell["runs"]) != row["planned"] for cell in row["cells"].values())
        asked = [entry["where"]["dataset"], *(as_list(names) for names in (entry["where"]["target"], entry["test_set"]))]
        if len(asked[1]) == len(asked[2]) == 1:
            assert len(table["panels"]) == len(asked[0])


def test_one_panel_a_target_and_test_set_and_one_line_for_what_a_scale_lacks(plan, root):
    families = plan.tables["rl_selector", "cross_families"]["panels"]
    assert [panel["id"] for panel in families[:2]] == ["digits-vit_micro", "digits-mixer_micro"]
    assert all("convnet-to-mixer_micro" in run for run in list_panel_runs(families[1]) if "/none-" not in run)
    absent = ["imagenet1k", "convnext_tiny", "efficientnet_b0", "mobilenetv3_large", "efficientnet_lite0"]
    assert [panel["id"] for panel in families[2:]] == absent
    assert families[3]["absent"] == "not mapped to a model at scale tiny"
    ood = plan.tables["rl_selector", "ood"]["panels"]
    assert [(panel["id"], panel["test_set"], panel["absent"] is None) for panel in ood] == [
        ("digits", "mnist_shift", True),
        ("imagenet_a", None, False),
        ("imagenet_r", None, False),
        ("imagenet_hard", None, False),
    ]
    assert (ood[1]["title"], ood[1]["absent"]) == ("ImageNet-A", "not mapped to a test set at scale tiny")
    full = load_plan(root, {"scale": "full"}).tables["rl_selector", "ood"]["panels"]
    assert [panel["id"] for panel in full if panel["rows"]] == [f"imagenet1k-imagenet_{name}" for name in ("a", "r", "hard")]
    assert full[0]["title"] == "ImageNet-1k, ResNet-18 → ResNet-50, tested on ImageNet-A"


def test_a_run_is_evaluated_on_the_test_sets_of_its_tables(plan):
    tests = {run.id: plan.run_test_sets(run) for run in plan.runs.values()}
    prefix = "digits/convnet-to-resnet8/equal_epochs"
    assert tests[f"{prefix}/el2n/keep-0.6/seed-0"] == ["corrupted", "mnist_shift", "test"]
    assert tests[f"{prefix}/el2n/keep-0.7/seed-0"] == ["test"]
    assert tests["digits_symmetric/convnet-to-convnet/equal_epochs/el2n/keep-0.3/seed-0"] == ["test"]
    assert PrepareData("digits").specify(plan)["test_sets"] == ["corrupted", "mnist_shift", "test"]
    assert PrepareData("digits_symmetric").specify(plan)["test_sets"] == ["test"]
    specs = [job.specify(plan)["runs"] for stage in (EvaluateTargets, EvaluateTexts) for job in stage.list_wanted(plan)]
    assert {run["id"]: run["test_sets"] for runs in specs for run in runs} == tests


def test_noisy_pools_use_recipes_and_encoders_of_what_they_are_made_of_and_streams_of_their_own(plan):
    clean, noisy = (TrainProxy(dataset, "convnet", "0").specify(plan) for dataset in ("digits", "digits_symmetric"))
    assert clean["recipe"] == noisy["recipe"]
    assert clean["dataset"] != noisy["dataset"]
    assert EmbedSamples("digits_symmetric", "0").specify(plan)["encoder_name"] == "digits_simclr"


def test_a_target_may_have_a_recipe_of_its_own(plan):
    assert plan.recipe_name("target", "digits", "vit_micro") == "digits_adamw"
    assert plan.recipe_name("target", "digits", "resnet8") == "digits"
    assert plan.recipe_name("proxy", "digits", "vit_micro") == "digits"


def test_a_paper_may_have_a_recipe_of_its_own_whose_runs_no_other_papers_are(root):
    plan = load_plan(root, {"scale": "full"})
    agent, others = (
        {run for paper, table in plan.tables if (paper == "data_agent") == is_agent for run in plan.table_runs(paper, table)}
        for is_agent in (True, False)
    )
    assert {run for run in agent & others if plan.runs[run].dataset in ("cifar10", "cifar100")} == set()
    for name in agent | others:
        run = plan.runs[name]
        own = name in agent and run.dataset.startswith("cifar")
        assert run.own_recipe == ("cifar_onecycle_200" if own else "")
        assert name == run.id and (f"-to-{run.target}-by-cifar_onecycle_200/" in name) == own
    for stage, declared in (("train", TrainTargets), ("evaluate", EvaluateTargets)):
        assert all(len({run.own_recipe for run in runs}) == 1 for runs in plan.batches[stage].values())
        batch = next(batch for batch, runs in plan.batches[stage].items() if runs[0].own_recipe)
        spec = declared.for_batch(batch).specify(plan)
        assert spec["recipe_name"] == "cifar_onecycle_200" and spec["recipe"]["schedule"] == "onecycle"
    assert TrainProxy("cifar10", "resnet18", "0").specify(plan)["recipe_name"] == "cifar_200"


def test_a_scale_may_run_some_tables_only(root):
    plan = load_plan(root, {"scale": "small_cpu"})
    assert list(plan.config.papers) == ["rl_selector", "data_agent"]
    named = {(paper, table) for paper, tables in plan.config.scale["tables"].items() for table in tables}
    assert {key for key in plan.tables if plan.table_runs(*key)} == named
    left_out = plan.tables["rl_selector", "ablation_metric"]["panels"]
    assert [(panel["absent"], panel["rows"]) for panel in left_out] == [("the table is left out at scale small_cpu", [])]
    assert JudgeClaims("rl_selector").specify(plan)["claims"]


def test_the_plan_of_one_paper_is_taken_from_that_of_all(root):
    whole = load_plan(root, {"scale": "decided"})
    for paper in whole.config.papers:
        part, alone = take_paper(whole, paper), load_plan(root, {"scale": "decided", "papers": [paper]})
        assert (part.runs, part.tables, part.claims, part.batches) == (alone.runs, alone.tables, alone.claims, alone.batches)
        assert list_jobs(part) == list_jobs(alone)


def test_options_are_embedded_where_heads_or_influences_read_them(plan, root):
    assert EmbedTexts("commonsenseqa").specify(plan)["matches"] and not EmbedTexts("tweets").specify(plan)["matches"]
    small = load_plan(root, {"scale": "small"})
    assert EmbedTexts("mmlu_test").specify(small)["matches"]  # LESS warms a head up
    assert not EmbedTexts("commonsenseqa").specify(load_plan(root, {"scale": "small", "papers": ["data_agent"]}))["matches"]


def test_batches_hold_each_run_once_and_whole_groups_of_one_data_set_and_target(plan):
    for stage, named in plan.batches.items():
        assert sorted(run.id for runs in named.values() for run in runs) == sorted(plan.runs)
        size = plan.config.scale["batch"][stage]
        for runs in named.values():
            assert len(runs) <= size
            assert len({(run.dataset, run.target, run.regime) for run in runs}) == 1
    groups = [[1, 2], [3], [4, 5, 6, 7, 8], [9]]
    assert pack_groups(groups, 3) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert pack_groups(groups, 100) == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert groups[0] == [1, 2]


def test_reported_numbers_keep_their_evidence(plan):
    cross = plan.tables["rl_selector", "cross"]["panels"][0]
    reported = {(row["id"], keep): cell["reported"] for row in cross["rows"] for keep, cell in row["cells"].items()}
    assert reported["el2n", "0.6"] == {"value": 90.32, "evidence": "paper-table", "note": ""}
    assert reported["full", "1"]["value"] == 92.34
    assert reported["random", "0.6"] is None


def test_both_regimes_can_be_asked_for(root, tmp_path):
    copy_configuration(root, tmp_path)
    path = tmp_path / "config/papers/rl_selector.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("regime: equal_epochs", "regime: equal_steps", 1), encoding="utf-8")
    plan = load_plan(tmp_path)
    regimes = {(run.method, run.regime) for run in plan.runs.values()}
    assert ("el2n", "equal_steps") in regimes
    assert ("el2n", "equal_epochs") in regimes  # the cross table still needs it
    assert {regime for method, regime in regimes if method == "full"} == {"equal_epochs"}  # on full data they are the same


def test_a_method_no_table_names_gets_a_row_in_every_table(root, tmp_path):
    copy_configuration(root, tmp_path)
    assert not any(row["id"] == "tdds" for row in rows_of(load_plan(root), "cross"))
    path = tmp_path / "config/papers/rl_selector.yaml"
    text = path.read_text(encoding="utf-8")
    assert " tdds," in text
    path.write_text(text.replace(" tdds,", ""), encoding="utf-8")
    plan = load_plan(tmp_path)
    for name in ("main", "cross", "ood"):
        (row,) = (row for row in rows_of(plan, name) if row["id"] == "tdds")
        assert row["title"] == "TDDS (added)"
        assert all(cell["runs"] for cell in row["cells"].values())
    assert not any(row["id"] == "tdds" for row in rows_of(plan, "others"))


def test_claims_on_unbuilt_methods_are_visible_and_undecided(root, tmp_path):
    copy_configuration(root, tmp_path)
    methods, paper = tmp_path / "config/methods.yaml", tmp_path / "config/papers/rl_selector.yaml"
    methods.write_text(methods.read_text(encoding="utf-8") + "phantom: {title: Phantom, planned: true}\n", encoding="utf-8")
    text = paper.read_text(encoding="utf-8").replace("ssp, rl_selector", "ssp, phantom, rl_selector")
    text = text.replace("method: [rl_selector_tuned], against: [full], keep: [0.9]", "method: [phantom], against: [full], keep: [0.9]")
    paper.write_text(text.replace("cg_score, ssp]\n      metric: top1", "cg_score, ssp, phantom]\n      metric: top1"), encoding="utf-8")
    claims = {claim["id"]: claim for claim in load_plan(tmp_path).claims["rl_selector"]}
    assert claims["ninety_beats_full"]["unavailable"] == "not built yet: Phantom"
    assert claims["beats_baselines"]["not_compared"] == ["Phantom"]
    assert [len(claims[f"{name}_beats_random"]["comparisons"]) for name in ("el2n", "cg_score")] == [5, 5]
    assert len(claims["selection_saves_time"]["comparisons"]) == 5 * 9


def test_variants_run_their_file_with_parameters_of_their_own_and_share_its_streams(plan):
    base, variant = (TrainSelectors("digits", "convnet", name, "0").specify(plan) for name in ("rl_selector", "rl_selector_threshold"))
    assert (variant["method"], variant["parameters"]) == ("rl_selector", {"binarise": "threshold"})
    assert variant["selection_seed"] == base["selection_seed"]
    assert variant["state"] != base["state"]
    assert "rl_selector_threshold" in plan.config.list_learned()
    assert not any(row["id"] == "rl_selector_threshold" for row in rows_of(plan, "main"))
    assert not any(row["id"] == "k_center" for row in rows_of(plan, "ablation_reward"))


def test_a_table_may_take_fewer_seeds(plan):
    cells = next(row for row in rows_of(plan, "ablation_reward") if row["id"] == "rl_selector_scalar")["cells"]
    assert [len(cell["runs"]) for cell in cells.values()] == [3, 3]


def test_seeds_pair_methods_and_separate_selections(plan):
    specs = [SelectSubsets("digits", "convnet", method, "0").specify(plan) for method in ("el2n", "grand")]
    assert specs[0]["selection_seed"] != specs[1]["selection_seed"]
    assert SelectSubsets("digits", "convnet", "el2n", "1").specify(plan)["selection_seed"] != specs[0]["selection_seed"]


def test_dynamic_methods_have_a_sampler_and_no_subset(plan):
    jobs = [*TrainTargets.list_wanted(plan), *FinetuneTargets.list_wanted(plan)]
    described = {run["id"]: run for job in jobs for run in job.specify(plan)["runs"]}
    run = described["digits/none-to-convnet/equal_epochs/data_agent_difficulty/keep-0.5/seed-1"]
    assert run["subset"] is None
    assert (run["sampler"]["name"], run["sampler"]["parameters"]) == ("data_agent", {"reward": "difficulty"})
    whole = described["digits/none-to-convnet/equal_epochs/data_agent/keep-0.5/seed-1"]["sampler"]
    other = described["digits/none-to-convnet/equal_epochs/data_agent/keep-0.5/seed-2"]["sampler"]
    assert run["sampler"]["seed"] == whole["seed"] != other["seed"]  # variants share the streams of their file
    assert run["sampler"]["code"] == whole["code"]
    static = described["digits/convnet-to-convnet/equal_epochs/el2n/keep-0.5/seed-1"]
    assert static["sampler"] is None and static["subset"].endswith("subsets/digits/convnet/el2n/seed-1.npz")
    assert not any("data_agent" in name for job in jobs for name in job.list_input_paths(plan)["subsets"])
    assert "data_agent" not in plan.config.list_learned()


def test_a_new_sampler_gets_rows_beside_other_dynamic_methods_only(root, tmp_path):
    copy_configuration(root, tmp_path)
    path = tmp_path / "config/papers/data_agent.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("        - top_loss\n", "").replace("top_loss, ", ""), encoding="utf-8")
    plan = load_plan(tmp_path)
    shown = {
        table for (_, table), spec in plan.tables.items() for panel in spec["panels"] for row in panel["rows"] if row["id"] == "top_loss"
    }
    assert shown == {"dynamic", "cost"}


def test_claims_may_allow_a_margin_or_ask_for_a_factor(plan):
    claims = {claim["id"]: claim["comparisons"] for claim in plan.claims["data_agent"]}
    (lossless,), (half,), saves = claims["lossless"], claims["half_the_cost"], claims["saves_time"]
    assert (lossless["allowance"], lossless["higher_is_better"]) == (0.5, True)
    assert lossless["label"] == "digits: Data Agent at 50 % against full data"
    assert half["allowance"] == pytest.approx(-math.log(2)) and half["label"].endswith(" against full data")
    assert [comparison["allowance"] for comparison in saves] == [0.0] * 3


def test_reported_numbers_may_be_of_one_target(root):
    panels = load_plan(root, {"scale": "full"}).tables["data_agent", "transformers"]["panels"]
    reported = {
        panel["id"]: next(row for row in panel["rows"] if row["id"] == "data_agent")["cells"]["0.6"]["reported"] for panel in panels
    }
    assert {name: found["value"] for name, found in reported.items()} == {"imagenet1k-swin_tiny": 79.8, "imagenet1k-vit_base": 81.9}


def copy_configuration(root, target) -> None:
    for part in ("config", "workflow/schemas"):
        shutil.copytree(root / part, target / part)


def rows_of(plan, table) -> list[dict]:
    return plan.tables["rl_selector", table]["panels"][0]["rows"]


def test_methods_that_another_arithmetic_changes_need_five_seeds(plan):
    claims = {claim["id"]: claim for claims in plan.claims.values() for claim in claims}
    (stable,) = {item.get("least_seeds") for item in claims["el2n_beats_random"]["comparisons"]}
    (changed,) = {item.get("least_seeds") for item in claims["agent_beats_static"]["comparisons"]}
    assert (stable, changed) == (None, 5)


def test_a_measured_claim_is_not_asked_where_its_table_is_not_there(plan, root):
    claims = {claim["id"]: claim for claim in plan.claims["cluster_mdp"]}
    assert "measured" not in claims["proxy_predicts"] and not claims["proxy_predicts"]["comparisons"]
    smoke = {claim["id"]: claim for claim in load_plan(root, {"scale": "smoke"}).claims["cluster_mdp"]}
    assert smoke["proxy_predicts"]["measured"]["statistic"] == "spearman"
