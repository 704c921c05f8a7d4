"""Every mistake in the configuration gives a one-line error with the file, the key and the closest valid value."""

import shutil

import pytest
import yaml

from selectbench.errors import ConfigError
from selectbench.planning.config import load_config, read_yaml
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
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), MISTAKES, ids=[mistake[2][:30] for mistake in MISTAKES])
def test_a_mistake_is_one_clear_line(copy, name, old, new, message):
    replace_in(copy, name, old, new)
    with pytest.raises(ConfigError) as caught:
        load_plan(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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
