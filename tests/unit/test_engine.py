from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch import nn

from selectbench.data.splits import ArraySplit
from selectbench.models.factory import build_model
from selectbench.seeds import isolated_torch_rng
from selectbench.training.augment import Augment, crop_images, cut_squares
from selectbench.training.engine import Checkpoint, TrainingDivergedError, join_predictions, predict, train_model
from selectbench.training.epochs import Progress, visit_subset
from selectbench.training.evaluation import measure_test
from selectbench.training.pools import load_training_batch, open_pool, supervised_loss
from selectbench.training.recipes import Recipe, count_batches, count_steps, learning_rate_at, split_batches

RECIPE = Recipe(
    epochs=4,
    batch_size=16,
    optimiser="sgd",
    learning_rate=0.05,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.1,
    augment=Augment(crop_padding=1, flip=True, cutout=2),
    stem="small",
    precision="bf16",
    track_test=False,
)
NET = {"library": "selectbench", "name": "convnet", "width": 4}


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (70, 3, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", rng.integers(0, 3, 70))
    return open_pool(ArraySplit(tmp_path), [0.5] * 3, [0.25] * 3, torch.device("cpu"))


def make_model(seed: int = 0) -> torch.nn.Module:
    with isolated_torch_rng(seed):
        return build_model(NET, "small", (3, 8, 8), 3)


class Interrupted(Exception):
    pass


def train(pool, tmp_path, ids=None, recipe=RECIPE, regime="equal_epochs", stop_after=None, key="key"):
    """Train a fresh model; raise after ``stop_after`` epochs like a kill, once the epoch's state is saved."""
    model, seen = make_model(), []

    def on_epoch_end(epoch, model, progress):
        seen.append(epoch)
        progress.extra.setdefault("seen", []).append(epoch)
        if stop_after is not None and epoch > stop_after:
            raise Interrupted

    ids = np.arange(70) if ids is None else ids
    checkpoint = Checkpoint(tmp_path / "state.pt", key, every_s=-1)
    stream = ("test", 0)
    progress = train_model(
        model,
        pool,
        visit_subset(ids, len(pool), recipe, regime),
        recipe,
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream),
        on_epoch_end=on_epoch_end,
        checkpoint=checkpoint,
    )
    return model, progress, seen


def same_weights(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_batches_never_end_with_a_single_sample():
    assert [count_batches(num, 16) for num in (1, 15, 16, 17, 18, 32, 33, 34)] == [1, 1, 1, 1, 2, 2, 2, 3]
    for num in (1, 17, 33, 50):
        batches = list(split_batches(np.arange(num), 16))
        assert len(batches) == count_batches(num, 16)
        assert np.concatenate(batches).tolist() == list(range(num))
        assert all(len(batch) > 1 for batch in batches) or num == 1


def test_regimes_state_their_steps(pool, tmp_path):
    ids = np.arange(20)
    _, epochs, _ = train(pool, tmp_path, ids)
    assert (epochs.epoch, epochs.step, epochs.sample_visits) == (4, 8, 80)
    _, steps, _ = train(pool, tmp_path, ids, regime="equal_steps")
    assert steps.step == 4 * 5 == count_steps(20, 70, RECIPE, "equal_steps")
    assert (steps.epoch, steps.sample_visits) == (10, 200)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_an_interrupted_training_ends_bit_identical(pool, tmp_path, optimiser):
    recipe = replace(RECIPE, optimiser=optimiser)
    whole, progress, _ = train(pool, tmp_path / "a", recipe=recipe)
    with pytest.raises(Interrupted):
        train(pool, tmp_path / "b", recipe=recipe, stop_after=2)
    resumed, again, seen = train(pool, tmp_path / "b", recipe=recipe)
    assert seen == [3, 4]
    assert same_weights(whole, resumed)
    assert again.extra["seen"] == progress.extra["seen"] == [1, 2, 3, 4]
    assert (again.step, again.sample_visits, again.final_loss) == (progress.step, progress.sample_visits, progress.final_loss)


def test_a_state_of_another_key_or_a_broken_one_is_not_used(pool, tmp_path):
    whole, _, _ = train(pool, tmp_path / "a")
    with pytest.raises(Interrupted):
        train(pool, tmp_path / "b", stop_after=2, key="other")
    fresh, _, seen = train(pool, tmp_path / "b")
    assert seen == [1, 2, 3, 4]
    assert same_weights(whole, fresh)
    Path(tmp_path / "b" / "state.pt").write_bytes(b"half a file")
    assert train(pool, tmp_path / "b")[2] == [1, 2, 3, 4]


def test_a_state_leaves_out_weights_that_are_not_trained_and_they_stay(tmp_path):
    def build():
        model = nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300), nn.Linear(300, 2))
        model[0].requires_grad_(False)
        return model, torch.optim.SGD([values for values in model.parameters() if values.requires_grad], lr=0.1)

    (saved, optimiser), (other, other_optimiser) = build(), build()
    saved[1].running_mean += 3
    checkpoint = Checkpoint(tmp_path / "state.pt", "key")
    checkpoint.save(saved, optimiser, Progress(epoch=4))
    assert checkpoint.path.stat().st_size < 300 * 300 * 4 / 10
    own = other[0].weight.clone()
    assert checkpoint.restore(other, other_optimiser).epoch == 4
    assert torch.equal(other[0].weight, own) and not torch.equal(own, saved[0].weight)
    assert all(torch.equal(other.state_dict()[name], values) for name, values in saved.state_dict().items() if not name.startswith("0."))


def test_order_and_crops_of_common_samples_are_shared_between_subsets(pool):
    def batch(ids):
        return load_training_batch(pool, ids, RECIPE.augment, ("stream", 0))

    some, more = np.array([3, 40, 12]), np.array([40, 5, 3, 60, 12])
    assert torch.equal(batch(some), batch(more)[[2, 0, 4]])
    assert not torch.equal(batch(some), load_training_batch(pool, some, RECIPE.augment, ("stream", 1)))


def test_global_random_states_are_left_alone(pool, tmp_path):
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    train(pool, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def draws(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_crops_and_holes_equal_a_loop():
    images = torch.arange(2 * 3 * 5 * 5, dtype=torch.uint8).reshape(2, 3, 5, 5)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    cropped = crop_images(images, 2, draws(0.0, 0.99), draws(0.5, 0.25))
    assert torch.equal(cropped[0], padded[0, :, 0:5, 2:7])
    assert torch.equal(cropped[1], padded[1, :, 4:9, 1:6])
    holes = cut_squares(torch.ones(2, 1, 5, 5), 2, draws(0.0, 0.5), draws(0.0, 0.5))
    expected = torch.ones(2, 1, 5, 5)
    expected[0, :, :1, :1] = 0
    expected[1, :, 1:3, 1:3] = 0
    assert torch.equal(holes, expected)


@pytest.mark.parametrize(("size", "padding"), [(5, 2), (5, 4), (3, 4), (2, 3), (1, 2)])
def test_reflected_crops_show_the_image_mirrored_at_its_edge(size, padding):
    images = torch.arange(2 * 3 * size * size, dtype=torch.uint8).reshape(2, 3, size, size)
    mirrored = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="reflect")
    cropped = crop_images(images, padding, draws(0.0, 0.99), draws(0.5, 0.0), "reflect").numpy()
    np.testing.assert_array_equal(cropped[0], mirrored[0, :, :size, padding : padding + size])
    np.testing.assert_array_equal(cropped[1], mirrored[1, :, 2 * padding :, :size])


def test_batches_are_filled_as_their_recipe_says(pool):
    positions, stream = np.arange(12), ("fill",)
    zeros, reflect = (
        load_training_batch(pool, positions, Augment(crop_padding=2, flip=False, cutout=0, crop_fill=fill), stream)
        for fill in ("zeros", "reflect")
    )
    assert not torch.equal(zeros, reflect)


@pytest.mark.parametrize(("epochs", "warmup", "total"), [(200, 60, 400), (10, 3, 70), (10, 5, 30)])
def test_one_cycle_is_that_of_torch(epochs, warmup, total):
    recipe = replace(RECIPE, schedule="onecycle", epochs=epochs, warmup_epochs=warmup, learning_rate=0.1)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=total, pct_start=warmup / epochs)
    expected = []
    for _ in range(total):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if len(expected) < total:
            oracle.step()
    np.testing.assert_allclose([learning_rate_at(step, total, recipe) for step in range(total)], expected, rtol=1e-9)


def test_one_cycle_ends_where_a_training_ends():
    recipe = replace(RECIPE, schedule="onecycle", epochs=4, warmup_epochs=1)
    for total in (1, 2, 3, 9):
        rates = [learning_rate_at(step, total, recipe) for step in (*range(total), total + 0.5)]
        assert all(0 < rate <= recipe.learning_rate for rate in rates)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "steps", "constant"])
def test_schedules_warm_up_and_fall(schedule):
    recipe = replace(RECIPE, schedule=schedule, epochs=30, warmup_epochs=3)
    rates = [learning_rate_at(step, 300, recipe) for step in range(300)]
    assert all(0 < rate <= recipe.learning_rate for rate in rates)
    assert rates[:30] == sorted(rates[:30])
    assert rates[30] == recipe.learning_rate
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert len(set(np.round(rates[30:], 12))) == {"cosine": 270, "linear": 270, "steps": 3, "constant": 1}[schedule]


def test_divergence_is_told(pool, tmp_path):
    with pytest.raises(TrainingDivergedError, match="the training loss is (nan|inf) after epoch"):
        train(pool, tmp_path, recipe=replace(RECIPE, learning_rate=1e30, warmup_epochs=0))


def test_predictions_do_not_depend_on_the_batch_size_or_on_training_mode(pool):
    model = make_model().train()
    whole = [torch.cat(parts) for parts in list(zip(*((f, z) for _, f, z in predict(model, pool, 70)), strict=True))]
    small = [torch.cat(parts) for parts in list(zip(*((f, z) for _, f, z in predict(model.train(), pool, 7)), strict=True))]
    for one, other in zip(whole, small, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole[1], model.get_classifier()(whole[0]))
    right = (whole[1].argmax(dim=1) == pool.labels).float().mean()
    assert measure_test(model, pool)["top1"] == pytest.approx(100 * right.item())


def test_joined_predictions_are_the_same_in_fewer_pieces(pool):
    model = make_model()
    pieces = list(predict(model, pool, 16))
    for most, count in ((1, len(pieces)), (2 * (pieces[0][1].nbytes + pieces[0][2].nbytes), 3), (1 << 30, 1)):
        joined = list(join_predictions(predict(model, pool, 16), most))
        assert len(joined) == count
        assert np.concatenate([np.arange(70)[where] for where, _, _ in joined]).tolist() == list(range(70))
        for column in (1, 2):
            assert torch.equal(torch.cat([piece[column] for piece in joined]), torch.cat([piece[column] for piece in pieces]))


def test_without_a_compiler_one_line_is_said_and_training_goes_on(pool, tmp_path, monkeypatch, capsys):
    def refuse(*_args, **_more):
        raise RuntimeError("no compiler\nand much more")

    plain, _, _ = train(pool, tmp_path / "a")
    monkeypatch.setattr(torch, "compile", refuse)
    model, _, _ = train(pool, tmp_path / "b", recipe=replace(RECIPE, compile=True))
    assert capsys.readouterr().err == "compile: no working compiler on cpu (no compiler); continuing uncompiled\n"
    assert same_weights(plain, model)


def test_the_fast_recipe_is_as_published_and_its_net_learns(tmp_path):
    """Page 2018, dawn.py: the rate rises from 0 to 0.4 over 5 of 24 epochs and falls to 0. A net of 1/16 the width learns digits."""
    root = Path(__file__).parents[2] / "config"
    recipes, models = (yaml.safe_load((root / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("recipes", "models"))
    fast = Recipe.from_config(recipes["cifar_fast"])
    steps = count_steps(50_000, 50_000, fast, "equal_epochs")
    assert count_steps(5_000, 50_000, fast, "equal_steps") == steps == 24 * 98
    rates = [learning_rate_at(step, steps, fast) for step in range(steps)]
    np.testing.assert_allclose(rates, np.interp(np.arange(steps) / 98, [0, 5, 24], [0, 0.4, 0]), atol=0.4 / (5 * 98))
    with torch.device("meta"):
        net = build_model(models["resnet9"], "small", (3, 32, 32), 10)
    assert sum(value.numel() for value in net.parameters()) == 6_573_130  # Page's 6,573,120 and ten biases of the head
    digits = load_digits()
    images = np.kron(np.round(digits.images[:600, None] * 255 / 16).astype(np.uint8), np.ones((1, 3, 2, 2), dtype=np.uint8))
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", digits.target[:600])
    pool = open_pool(ArraySplit(tmp_path), [0.305] * 3, [0.376] * 3, torch.device("cpu"))
    recipe = replace(
        fast,
        epochs=5,
        batch_size=25,
        warmup_epochs=1,
        learning_rate=0.1,
        augment=replace(fast.augment, crop_padding=1, flip=False, cutout=2),
    )
    with isolated_torch_rng(0):
        net = build_model({**models["resnet9"], "width": 4}, "small", (3, 16, 16), 10)
    train_model(
        net,
        pool,
        visit_subset(np.arange(500), 600, recipe, "equal_epochs"),
        recipe,
        stream=("fast",),
        batch_loss=supervised_loss(pool, recipe, ("fast",)),
        on_epoch_end=lambda *_: None,
        checkpoint=Checkpoint(tmp_path / "state.pt", "key"),
    )
    right = torch.cat([logits for _, _, logits in predict(net, pool)]).argmax(dim=1) == pool.labels
    assert right[500:].float().mean() > 0.5
