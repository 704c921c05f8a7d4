"""Every mistake in the configuration gives a one-line error with the file, the key and the closest valid value."""

import shutil

import pytest
import yaml

from selectbench.errors import ConfigError
from selectbench.planning.config import ONE_LINE, load_config, read_yaml
from selectbench.planning.plan import load_plan
from selectbench.planning.runs import format_keep


@pytest.fixture
def copy(root, tmp_path):
    shutil.copytree(root / "config", tmp_path / "config")
    shutil.copytree(root / "workflow/schemas", tmp_path / "workflow/schemas")
    return tmp_path


def replace_in(folder, name, old, new):
    path = folder / "config" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


MISTAKES = [
    ("config.yaml", "scale: tiny", "scale: tyni", "config/config.yaml: scale: unknown 'tyni'; did you mean 'tiny'?"),
    ("config.yaml", "scale: tiny", "sacle: tiny", "config/config.yaml: sacle: unknown key; did you mean 'scale'?"),
    ("config.yaml", "partial: false\n", "", "config/config.yaml: the key 'partial' is missing"),
    ("config.yaml", "partial: false", "partial: perhaps", "config/config.yaml: partial: 'perhaps' is not of type 'boolean'"),
    ("methods.yaml", "{reward: difficulty}", "{reward: dificulty}", "data_agent_difficulty.parameters: reward: unknown 'dificulty'; did you mean 'difficulty'?"),
    ("methods.yaml", "method: infobatch,", "method: infobach,", "infobatch_unannealed.method: unknown 'infobach'; did you mean 'infobatch'?"),
    ("papers/data_agent.yaml", "margin: 0.5", "margn: 0.5", "claims.lossless.compare.margn: unknown key; did you mean 'margin'?"),
    ("config.yaml", "[rl_selector,", "[rl_selektor,", "config/config.yaml: papers: unknown 'rl_selektor'; did you mean 'rl_selector'?"),
    ("config.yaml", "scale: tiny", "scale: tiny\nscale: full", "config/config.yaml: not valid YAML in line 4: duplicate key 'scale' (first in line 3)"),
    ("config.yaml", "scale: tiny", "scale: [tiny", "config/config.yaml: not valid YAML in line"),
    ("methods.yaml", "el2n: {", "el2m: {", "config/methods.yaml: el2m: no such method; did you mean 'el2n'?"),
    ("methods.yaml", "until: 0.2", "untill: 0.2", "config/methods.yaml: el2n_single.parameters: method 'el2n' has no parameter 'untill'; did you mean 'until'?"),
    ("methods.yaml", "until: 0.2", "until: 3", "config/methods.yaml: el2n_single.parameters: until: 3 is outside (0, 1]"),
    ("methods.yaml", "title: EL2N", "titel: EL2N", "config/methods.yaml: el2n.titel: unknown key; did you mean 'title'?"),
    ("methods.yaml", "grand: {title: GraNd (last layer), parameters: {replicates: true}}", "grand: {title: GraNd, planned: true}", "grand.planned: the method is built"),
    ("models.yaml", "library: timm, name: resnet50", "library: tim, name: resnet50", "config/models.yaml: resnet50.library: unknown 'tim'; did you mean 'timm'?"),
    ("models.yaml", "heads: 4, ", "", "config/models.yaml: vit_micro: the key 'heads' is missing"),
    ("models.yaml", "name: mixer, width: 32, depth: 2, ", "name: mixer, width: 32, ", "config/models.yaml: mixer_micro: the key 'depth' is missing"),
    ("models.yaml", "name: resnet8, width: 8", "name: resnet8, width: 8, patch: 2", "config/models.yaml: resnet8.patch: the key does not go with the others"),
    ("models.yaml", "name: resnet18, small", "name: resnet18, width: 8, small", "config/models.yaml: resnet18.width: the key does not go with the others"),
    ("models.yaml", "{kernel_size: 3, stride: 1}", "{kernel: 3}", "resnet18.small.convolutions.conv1.kernel: unknown key; did you mean 'kernel_size'?"),
    ("models.yaml", "drop: [maxpool]", "dropp: [maxpool]", "resnet18.small.dropp: unknown key; did you mean 'drop'?"),
    ("recipes.yaml", "optimiser: sgd", "optimiser: sdg", "config/recipes.yaml: digits.optimiser: unknown 'sdg'; did you mean 'sgd'?"),
    ("recipes.yaml", "optimiser: sgd", "optimiser: adamw", "config/recipes.yaml: digits.momentum: the key does not go with the others"),
    ("recipes.yaml", "  momentum: 0.9\n", "", "config/recipes.yaml: digits: the key 'momentum' is missing"),
    ("recipes.yaml", "    distribution: eff", "    distribtion: eff", "cifar_lite0_warm.pretrained.distribtion: unknown key; did you mean 'distribution'?"),
    ("recipes.yaml", "naming: efficientnet_lite0", "naming: efficientnet_lite", "pretrained.naming: unknown 'efficientnet_lite'; did you mean 'efficientnet_lite0'?"),
    ("recipes.yaml", "schedule: linear", "schedule: liner", "config/recipes.yaml: digits.schedule: unknown 'liner'; did you mean 'linear'?"),
    ("recipes.yaml", "learning_rate: 0.1", "learning_rate: .nan", "config/recipes.yaml: digits.learning_rate: nan is not of type 'number'"),
    ("recipes.yaml", "epochs: 12", "epochs: 12.0", "config/recipes.yaml: digits.epochs: 12.0 is not of type 'integer'"),
    ("methods.yaml", "until: 0.2", "until: .nan", "config/methods.yaml: el2n_single.parameters: until: nan is not a number"),
    ("papers/rl_selector.yaml", "[0.2, 0.4, 0.6, 0.8, 0.9]", "['1e-99999999']", "tables.main.where.keep: '1e-99999999' is not a number"),
    ("recipes.yaml", "digits:\n", "7: {}\ndigits:\n", "config/recipes.yaml: not valid YAML in line 2: a key '7' is not text: put it in quotes"),
    ("datasets.yaml", "digits:\n", "Digits:\n", "config/datasets.yaml: Digits: no id: it should match ^[a-z][a-z0-9_]*$"),
    ("reported/rl_selector.csv", "90.32", "inf", "config/reported/rl_selector.csv: line 2: should hold 8 values, of which 'value' is a finite"),
    ("recipes.yaml", "epochs: 12", "epochs: 0", "config/recipes.yaml: digits.epochs: 0 is less than the minimum of 1"),
    ("recipes.yaml", "  record_at: [0.1, 0.2, 1.0]\n", "", "config/recipes.yaml: digits: the key 'record_at' is missing, and proxies on digits need it"),
    ("scale/tiny.yaml", "cifar10: digits", "cifar10: digit", "config/scale/tiny.yaml: axes.dataset.cifar10: unknown 'digit'; did you mean 'digits'?"),
    ("scale/tiny.yaml", "compare_reported: false", "compare_reported: false\nless_data: smok", "config/scale/tiny.yaml: less_data: unknown 'smok'; did you mean 'smoke'?"),
    ("scale/tiny.yaml", "compare_reported: false", "compare_reported: false\nless_data: tiny", "config/scale/tiny.yaml: less_data: unknown 'tiny'"),
    ("scale/tiny.yaml", "resnet18: convnet", "resnet18: convet", "axes.model.resnet18: unknown 'convet'; did you mean 'convnet'?"),
    ("scale/tiny.yaml", "digits: digits_simclr,", "digits: digits_simclear,", "encoders.digits: unknown 'digits_simclear'; did you mean 'digits_simclr'?"),
    ("scale/tiny.yaml", "encoders: {digits: digits_simclr, ", "encoders: {", "encoders: the key 'digits' is missing"),
    ("methods.yaml", "method: rl_selector, parameters: {metric: squared}", "method: rl_selecter, parameters: {metric: squared}", "rl_selector_squared.method: unknown 'rl_selecter'; did you mean 'rl_selector'?"),
    ("methods.yaml", "parameters: {metric: squared}", "parameters: {metric: squarred}", "rl_selector_squared.parameters: metric: unknown 'squarred'; did you mean 'squared'?"),
    ("scale/tiny.yaml", "target_lm: minilm_head", "target_lm: convnet", "axes.model: convnet cannot be trained on tweets (texts); choose a model from config/language_models.yaml"),
    ("recipes.yaml", "head: # a linear head on frozen embeddings", "head:\n  stem: small", "recipes.yaml: head.stem: tweets holds texts"),
    ("methods.yaml", "method: climb_disc, parameters: *few", "method: climb_dics, parameters: *few", "climb_disc_few.method: unknown 'climb_dics'; did you mean 'climb_disc'?"),
    ("methods.yaml", "&few {clusters: 12, trainings: 60,", "&few {clusters: 12, training: 60,", "random_few.parameters: agent 'random_clusters' has no parameter 'training'; did you mean 'trainings'?"),
    ("corpora.yaml", "task: choice", "task: choise", "openbookqa.task: unknown 'choise'; did you mean 'choice'?"),
    ("language_models.yaml", "kind: classifier", "kind: clasifier", "minilm.kind: unknown 'clasifier'; did you mean 'classifier'?"),
    ("language_models.yaml", "minilm_head:", "resnet18:", "config/language_models.yaml: resnet18: the id is defined in another file already"),
    ("scale/tiny.yaml", "selector: digits_selector, ", "", "recipes.digits: the key 'selector' is missing"),
    ("encoders.yaml", "model: convnet", "model: convnot", "digits_simclr.model: unknown 'convnot'; did you mean 'convnet'?"),
    ("encoders.yaml", "temperature: 0.5", "temprature: 0.5", "digits_simclr.temprature: unknown key; did you mean 'temperature'?"),
    ("recipes.yaml", "  replicates: {early: {number: 10, epochs: 4}, whole: {number: 10}}\ndigits_selector", "digits_selector", "digits: the key 'replicates' is missing"),
    ("recipes.yaml", "early: {number: 10, epochs: 4}", "early: {number: 10, epochs: 13}", "config/recipes.yaml: digits.replicates.early.epochs: 13 is more than its 12 epochs"),
    ("scale/tiny.yaml", "proxy: digits", "proxy: digts", "recipes.digits.proxy: unknown 'digts'; did you mean 'digits'?"),
    ("scale/tiny.yaml", "seeds: [0, 1, 2, 3, 4]", "seeds: [0, 0]", "config/scale/tiny.yaml: seeds: [0, 0] has non-unique elements"),
    ("scale/tiny.yaml", "seeds: [0", "tables: {rl_selecter: [main]}\nseeds: [0", "config/scale/tiny.yaml: tables: names none of the papers rl_selector, data_agent"),
    ("scale/tiny.yaml", "seeds: [0", "tables: {rl_selector: [mian]}\nseeds: [0", "config/scale/tiny.yaml: tables.rl_selector: unknown 'mian'; did you mean 'main'?"),
    ("scale/tiny.yaml", "seeds: [0", "tables: {rl_selector: [main], data_agnet: []}\nseeds: [0", "tables: unknown 'data_agnet'; did you mean 'data_agent'?"),
    ("papers/rl_selector.yaml", "[0.2, 0.4, 0.6, 0.8, 0.9]", "[0, 0.4]", "config/papers/rl_selector.yaml: tables.main.where.keep: 0 is outside (0, 1]"),
    ("papers/rl_selector.yaml", "[0.2, 0.4, 0.6, 0.8, 0.9]", "[1.2]", "tables.main.where.keep: 1.2 is outside (0, 1]"),
    ("papers/rl_selector.yaml", "[0.2, 0.4, 0.6, 0.8, 0.9]", "[half]", "tables.main.where.keep: 'half' is not a number"),
    ("papers/rl_selector.yaml", "method: [el2n, grand", "method: [el2, grand", "tables.main.where.method: unknown 'el2'; did you mean 'el2n'?"),
    ("papers/rl_selector.yaml", "dataset: [cifar10, cifar100", "dataset: [cifar, cifar100", "tables.main.where.dataset: unknown 'cifar'; did you mean 'cifar10'?"),
    ("papers/rl_selector.yaml", "proxy: resnet18", "proxy: resnet81", "tables.main.where.proxy: unknown 'resnet81'; did you mean 'resnet18'?"),
    ("papers/rl_selector.yaml", "    test_set: corrupted", "    test_set: corupted", "tables.corrupted.test_set: unknown 'corupted'; did you mean 'corrupted'?"),
    ("papers/rl_selector.yaml", "test_set: [shift, imagenet_a", "test_set: [shfit, imagenet_a", "tables.ood.test_set: unknown 'shfit'; did you mean 'shift'?"),
    ("papers/rl_selector.yaml", "target: [vit_small,", "target: [vit_smal,", "tables.cross_families.where.target: unknown 'vit_smal'; did you mean 'vit_small'?"),
    ("scale/tiny.yaml", "vit_micro: digits_adamw,", "vit_micro: digits_adam,", "recipes.digits.target_of.vit_micro: unknown 'digits_adam'; did you mean 'digits_adamw'?"),
    ("scale/tiny.yaml", "target: digits, target_of", "target: digits, target_in: {data_agnt: digits}, target_of", "recipes.digits.target_in: unknown 'data_agnt'; did you mean 'data_agent'?"),
    ("scale/tiny.yaml", "target: digits, target_of", "target: digits, target_in: {data_agent: digts}, target_of", "recipes.digits.target_in.data_agent: unknown 'digts'; did you mean 'digits'?"),
    ("papers/rl_selector.yaml", "kind: cost\n", "kind: costs\n", "figures.cost.kind: unknown 'costs'; did you mean 'cost'?"),
    ("papers/rl_selector.yaml", "table: cross", "table: crosss", "claims.transfers.table: unknown 'crosss'; did you mean 'cross'?"),
    ("papers/rl_selector.yaml", "than: 0.8", "than: 0.9", "claims.transfer_loses_more_at_low_fractions.compare.than: table 'transfer' has no keep fraction 0.9"),
    ("papers/rl_selector.yaml", "keep: [0.6, 0.8], metric: top1, spread", "keep: [0.6], metric: top1, spread", "claims.a2c_most_stable.compare.spread: a spread over keep fractions needs at least two of them, not 1"),
    ("papers/rl_selector.yaml", "test_set: [shift], metric", "test_set: [shifts], metric", "claims.ninety_survives_shift.compare.test_set: unknown 'shifts'; did you mean 'shift'?"),
    ("papers/rl_selector.yaml", ", metric: keep_error, bound: 1", ", metric: keep_error", "claims.keeps_the_wanted_fraction.compare: give either against, the methods to compare with, or bound"),
    ("papers/rl_selector.yaml", "equivalence: {top1: 1.0", "equivalence: {top_1: 1.0", "equivalence: unknown 'top_1'; did you mean 'top1'?"),
    ("papers/data_agent.yaml", "together: {method: [data_agent]", "together: {method: [data_agnet]", "half_the_cost_lossless.together.method: unknown 'data_agnet'; did you mean 'data_agent'?"),
    ("methods.yaml", "el2n: {title", "el2n: {twin: grandd, title", "config/methods.yaml: el2n.twin: unknown 'grandd'; did you mean 'grand'?"),
    ("papers/rl_selector.yaml", "keep: [0.9], metric", "keep: [0.33], metric", "claims.ninety_beats_full.compare.keep: table 'cross' has no keep fraction 0.33"),
    ("papers/rl_selector.yaml", "[el2n, grand, forgetting, herding, moderate, moso, glister, cg_score, ssp], against: [full], keep", "[tdss], against: [full], keep", "claims.baselines_lose_nothing_at_90.compare.method: unknown 'tdss'; did you mean 'tdds'?"),
    ("reported/rl_selector.csv", "90.32", "9O.32", "config/reported/rl_selector.csv: line 2: "),
    ("datasets.yaml", "classes: 10", "clases: 10", "config/datasets.yaml: digits.clases: unknown key; did you mean 'classes'?"),
    ("recipes.yaml", "record_at: [0.1, 0.2, 1.0]", "record_at: [0.2, 0.1, 1.0]", "digits.record_at: [0.2, 0.1, 1.0] does not ascend; write [0.1, 0.2, 1.0]"),
    ("recipes.yaml", "record_at: [0.1, 0.2, 1.0]", "record_at: [0.1, 0.1, 1.0]", "digits.record_at: [0.1, 0.1, 1.0] does not ascend; write [0.1, 1.0]"),
    ("recipes.yaml", "record_at: [0.1, 0.2, 1.0]", "record_at: [0.1, 0.2]", "config/recipes.yaml: digits.record_at: ends with 0.2; the last share must be 1"),
    ("recipes.yaml", "align_at: [0.1, 0.2,", "align_at: [0.2, 0.1,", "digits.align_at: [0.2, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] does not ascend"),
    ("recipes.yaml", "learning_rate: 0.1", "learning_rate: 1.0e+300", "config/recipes.yaml: digits.learning_rate: 1e+300 is greater than the maximum of 1e+38"),
    ("recipes.yaml", "weight_decay: 0.0005", "weight_decay: 1.0e+300", "config/recipes.yaml: digits.weight_decay: 1e+300 is greater than the maximum of 1e+38"),
    ("recipes.yaml", "warmup_epochs: 2", "warmup_epochs: 12.5", "config/recipes.yaml: digits.warmup_epochs: 12.5 is more than its 12 epochs"),
    ("recipes.yaml", "momentum: 0.9", "momentum: 0", "config/recipes.yaml: digits.nesterov: true needs a momentum above 0; write false"),
    ("recipes.yaml", "track_test: false", "track_test: false\n  processes: 1000000", "digits.processes: 1000000 is greater than the maximum of 1024"),
    ("recipes.yaml", "track_test: false", "track_test: false\n  processes: 65", "config/recipes.yaml: digits.processes: 65 is more than the 64 samples of a batch"),
    ("recipes.yaml", "crop_padding: 0", "crop_padding: 8", "digits.augment.crop_padding: 8 is not below the 8 pixels of an image"),
    ("recipes.yaml", "cutout: 0", "cutout: 9", "digits.augment.cutout: 9 is more than the 8 pixels of an image"),
    ("recipes.yaml", "epochs: 12", "epochs: 1000000000000000000000", "digits.epochs: 1000000000000000000000 is greater than the maximum of 1000000"),
    ("encoders.yaml", "warmup_epochs: 1", "warmup_epochs: 31", "config/encoders.yaml: digits_simclr.warmup_epochs: 31 is more than its 30 epochs"),
    ("encoders.yaml", "momentum: 0.9", "momentum: 0", "config/encoders.yaml: digits_simclr.nesterov: true needs a momentum above 0"),
    ("models.yaml", "heads: 4", "heads: 5", "config/models.yaml: vit_micro.heads: 5 does not divide the width of 32"),
    ("models.yaml", "heads: 4, patch: 2", "heads: 4, patch: 3", "config/models.yaml: vit_micro.patch: patches of 3×3 do not tile images of 8×8 pixels"),
    ("models.yaml", "name: resnet8,", "name: resnt8,", "config/models.yaml: resnet8.name: unknown 'resnt8'; did you mean 'resnet8'?"),
    ("methods.yaml", "el2n: {title", "el2n: {twin: random, title", "config/methods.yaml: el2n.twin: random runs random; a twin runs the method's own file, el2n"),
    ("methods.yaml", "twin: rl_selector_untrained", "twin: rl_selector_tuned", "rl_selector.twin: rl_selector_tuned has a twin itself; name a method that never learns"),
    ("methods.yaml", "el2n: {title: EL2N", 'el2n: {title: "EL\\n2N"', "config/methods.yaml: el2n.title: 'EL\\n2N' should be one line"),
    ("datasets.yaml", "kind: id", "kind: shift", "digits.test_sets: 0 of its test sets have the kind 'id'"),
    ("scale/tiny.yaml", "{test: test,", "{test: tets,", "config/scale/tiny.yaml: axes.test_set.test: unknown 'tets'; did you mean 'test'?"),
    ("scale/tiny.yaml", "cifar100: null", "cifar100: digits", "tables.main: dataset: 'cifar10' and 'cifar100' are both 'digits' at scale tiny; map one of them to something else or to null"),
    ("scale/tiny.yaml", "reference_models: {tweets: ngram, ", "reference_models: {", "config/scale/tiny.yaml: reference_models: the key 'tweets' is missing"),
    ("scale/tiny.yaml", "reference_models: {tweets: ngram, ", "reference_models: {tweets: convnet, ", "reference_models.tweets: unknown 'convnet'"),
    ("scale/tiny.yaml", "tweets: minilm_sentence", "tweets: digits_simclr", "encoders.tweets: digits_simclr does not embed texts"),
    ("scale/tiny.yaml", "repeats: 3", "repeats: 1000000000000", "config/scale/tiny.yaml: repeats: 1000000000000 is greater than the maximum of 1000"),
    ("scale/tiny.yaml", "seeds: [0,", "seeds: [0.0,", "config/scale/tiny.yaml: seeds.0: 0.0 is not of type 'integer'"),
    ("scale/tiny.yaml", "seeds: [0,", "seeds: [true,", "config/scale/tiny.yaml: seeds.0: True is not of type 'integer'"),
    ("papers/rl_selector.yaml", "dataset: [cifar10, cifar100,", "dataset: [cifar10, cifar10,", "non-unique elements: 'cifar10' occurs twice"),
    ("papers/rl_selector.yaml", "[0.2, 0.4, 0.6, 0.8, 0.9]", "[0.2, 1/5]", "tables.main.where.keep: 0.2 and 1/5 are the same keep fraction"),
    ("papers/rl_selector.yaml", "  main_quota:", "  main/quota:", "config/papers/rl_selector.yaml: tables: 'main/quota' should match ^[a-z0-9_]+$"),
    ("papers/rl_selector.yaml", "kind: cost_to_reach\n", "kind: grid\n", "tables.price.targets: the key does not go with the others"),
    ("papers/rl_selector.yaml", "against: [rl_selector_transfer]", "against: [rl_selector_tuned]", "compare.against: 'rl_selector_tuned' is compared with itself; remove it on one side"),
    ("papers/rl_selector.yaml", "keep: [0.2], than: 0.8", "keep: [0.2, 0.8], than: 0.8", "compare.than: 0.8 is among the keep fractions that are compared with it"),
    ("papers/rl_selector.yaml", "keep: [0.2], than: 0.8", "spread: true, than: 0.8", "compare.than: does not go with spread; remove one of them"),
    ("papers/rl_selector.yaml", "metric: keep_error, bound: 1", "metric: keep_error, bound: 1, factor: 2", "compare.factor: does not go with bound; remove one of them"),
    ("papers/rl_selector.yaml", "metric: top1, margin: 1.0", "metric: top1, margin: 1.0, factor: 2", "compare.factor: does not go with margin; remove one of them"),
    ("papers/rl_selector.yaml", "metric: top1, margin: 1.0", "metric: top1, factor: 2", "compare.factor: top1 is no cost; give a margin"),
    ("papers/rl_selector.yaml", "metric: total_visits, factor: 1.4", "metric: total_visits, margin: 1.4", "compare.margin: costs are compared by their ratio; give a factor"),
    ("papers/rl_selector.yaml", "    quantity: regret\n", "", "figures.regret: the key 'quantity' is missing"),
    ("papers/rl_selector.yaml", "    kind: cost\n", "    kind: cost\n    keep: 0.6\n", "figures.cost.keep: the key does not go with the others"),
    ("papers/rl_selector.yaml", "    proposition: outputs\n", "    proposition: output\n", "figures.covered_outputs.proposition: unknown 'output'; did you mean 'outputs'?"),
    ("papers/cluster_mdp.yaml", "statistic: spearman", "statistic: spearmann", "claims.proxy_predicts.measured.statistic: unknown 'spearmann'; did you mean 'spearman'?"),
    ("papers/cluster_mdp.yaml", "    keep: 0.05\n", "    keep: 0.06\n", "figures.break_even.keep: its table has no keep fraction 0.06"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), MISTAKES, ids=[mistake[2][:30] for mistake in MISTAKES])
def test_a_mistake_is_one_clear_line(copy, name, old, new, message):
    replace_in(copy, name, old, new)
    with pytest.raises(ConfigError) as caught:
        load_plan(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("~/runs", "begins with ~, which is not replaced by a home folder here; write '/home/me/runs'"),
        ("$SCRATCH/runs", "has a $, and variables are not replaced here; write '/scratch/me/runs'"),
        ("$NOWHERE/runs", "has a $, and variables are not replaced here; write the folder itself"),
        ("a{b}c", "has braces, which stand for wildcards in Snakemake; write 'abc'"),
        ("-rf", "begins with a hyphen, as options of commands do; write 'rf'"),
        ("results/", "is another spelling of 'results'; write that"),
        ("./results", "is another spelling of 'results'; write that"),
        ("a\nb", "is no name of a folder; write 'results'"),
        ("x" * 256, "is no name of a folder; write 'results'"),
        ("/", "holds the project itself; name a folder for nothing else, such as 'results'"),
        ("..", "holds the project itself; name a folder for nothing else, such as 'results'"),
        ("src", "lies in src, which is part of the project; name a folder for nothing else, such as 'results'"),
        (".git/results", "lies in .git, which is part of the project; name a folder for nothing else, such as 'results'"),
        ("link/results", "lies in config, which is part of the project; name a folder for nothing else, such as 'results'"),
    ],
)
def test_folders_of_results_are_named_as_they_are(copy, monkeypatch, folder, problem):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.delenv("NOWHERE", raising=False)
    (copy / "link").symlink_to("config")
    for key in ("results", "resources"):
        with pytest.raises(ConfigError) as caught:
            load_config(copy, {key: folder})
        assert str(caught.value).startswith(f"config/config.yaml: {key}: ")
        assert problem.replace("'results'", repr(key)) in str(caught.value) or problem in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folders", [("resources", "resources"), ("resources/digits", "resources"), ("results", "results/data")])
def test_results_and_resources_have_folders_of_their_own(copy, folders):
    results, resources = folders
    with pytest.raises(ConfigError, match="config/config.yaml: resources: .* are one folder, or one holds the other; give each its own"):
        load_config(copy, {"results": results, "resources": resources})


@pytest.mark.parametrize("folder", ["my results/ü", 'it\'s "theirs"', "../elsewhere", "a~b", "[x] *"])
def test_other_folders_of_results_are_accepted(copy, folder):
    assert load_config(copy, {"results": folder}).main["results"] == folder


def test_the_name_of_a_file_is_an_id(copy):
    (copy / "config/scale/tiny.yaml").rename(copy / "config/scale/My tiny.yaml")
    with pytest.raises(ConfigError, match="config/scale/My tiny.yaml: rename it: ids have lower-case letters, digits and underscores"):
        load_config(copy, {"scale": "My tiny"})


def test_schemas_name_what_the_code_has(root):
    """Names in schemas that planning cannot ask the code for, because the code imports torch."""
    from selectbench.models.small import SMALL_NETS

    models = yaml.safe_load((root / "workflow/schemas/models.schema.yaml").read_text(encoding="utf-8"))
    (named,) = (names for rule in find_all(models, "name") if isinstance(rule, dict) and (names := rule.get("enum")) and "convnet" in names)
    assert sorted(named) == sorted(SMALL_NETS)
    for schema in ("language_models", "methods", "models", "paper", "scale"):
        text = yaml.safe_load((root / f"workflow/schemas/{schema}.schema.yaml").read_text(encoding="utf-8"))
        assert ONE_LINE in find_all(text, "pattern")


def find_all(value, key):
    """Return all values of a key, at any depth."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [found for name, child in inner for found in ([child] if name == key else []) + find_all(child, key)]


def test_a_missing_file_is_named(copy):
    (copy / "config/recipes.yaml").unlink()
    with pytest.raises(ConfigError, match="config/recipes.yaml: no such file"):
        load_config(copy)


def test_yaml_that_is_no_mapping_is_named(tmp_path):
    (tmp_path / "x.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="x.yaml: holds a list instead of keys and values"):
        read_yaml(tmp_path / "x.yaml", "x.yaml")


@pytest.mark.parametrize("schema", ["config", "datasets", "methods", "models", "paper", "recipes", "scale"])
def test_every_key_of_every_schema_is_described(root, schema):
    content = yaml.safe_load((root / f"workflow/schemas/{schema}.schema.yaml").read_text(encoding="utf-8"))

    def check(node, path):
        if not isinstance(node, dict):
            return
        for key, inner in node.get("properties", {}).items():
            if isinstance(inner, dict) and "const" not in inner:
                assert inner.get("description"), f"{path}.{key}"
                check(inner, f"{path}.{key}")
        for part in ("items", "additionalProperties"):
            if isinstance(node.get(part), dict):
                assert node[part].get("description"), f"{path}.{part}"
                check(node[part], f"{path}.{part}")
        if node.get("type") == "object" and "properties" in node:
            assert node.get("additionalProperties") is False, path

    check(content, schema)


def test_overrides_replace_values(root):
    assert load_config(root, {"scale": "full"}).main["scale"] == "full"
    with pytest.raises(ConfigError, match="did you mean 'scale'"):
        load_config(root, {"scal": "full"})


def test_keep_fractions_have_one_spelling():
    assert [format_keep(keep) for keep in (0.3, "0.30", 1, 1.0, "1/4")] == ["0.3", "0.3", "1", "1", "0.25"]
