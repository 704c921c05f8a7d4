"""Deviations of published code that change numbers, shown on digits: training nets and reading out their signals."""

import copy
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import selectbench as sb
from selectbench.artefacts.cells import fill_cell
from selectbench.data.splits import ArraySplit
from selectbench.models.factory import build_model, features_and_logits
from selectbench.records.records import TRAIN, record_path
from selectbench.seeds import isolated_torch_rng
from selectbench.stages._images import make_family
from selectbench.stages._targets import train_target
from selectbench.training.augment import Augment
from selectbench.training.choices import SubsetChoice
from selectbench.training.engine import Checkpoint, predict, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.evaluation import measure_test
from selectbench.training.pools import open_pool, supervised_loss
from selectbench.training.recipes import Recipe, count_steps

NET = {"library": "selectbench", "name": "convnet", "width": 8}
RECIPE = Recipe(
    epochs=1,
    batch_size=64,
    optimiser="sgd",
    learning_rate=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0,
    augment=Augment(crop_padding=0, flip=False, cutout=0),
    stem="small",
    precision="fp32",
    track_test=True,
)
TAIL = 8
NUM_POOL = 16 * 64 + TAIL  # so that batches of 64 leave a last batch of 8


def open_digits(folder, chosen: slice):
    digits = load_digits()
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.round(digits.images[chosen, None] * 255 / 16).astype(np.uint8))
    np.save(folder / "labels.npy", digits.target[chosen].astype(np.int64))
    return open_pool(ArraySplit(folder), [0.305], [0.376], torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny nets gain nothing from more threads, which wait for each other on busy processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return open_digits(tmp_path_factory.mktemp("digits") / "pool", slice(0, NUM_POOL))


@pytest.fixture(scope="module")
def test_halves(tmp_path_factory):
    """The last 397 digits, by other writers, split into even and odd positions."""
    folder = tmp_path_factory.mktemp("digits")
    return [open_digits(folder / str(start), slice(1400 + start, None, 2)) for start in (0, 1)]


@pytest.fixture(scope="module")
def proxy(pool):
    return train(pool, np.arange(NUM_POOL), RECIPE, seed=0)[0]


def train(pool, ids, recipe, seed, regime="equal_epochs", on_epoch_end=lambda *_: None):
    stream = ("test", seed)
    with isolated_torch_rng(seed):
        model = build_model(NET, "small", (1, 8, 8), 10)
    progress = train_model(
        model,
        pool,
        visit_subset(ids, len(pool), recipe, regime),
        recipe,
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream),
        on_epoch_end=on_epoch_end,
        checkpoint=Checkpoint(pool.split.folder / "never.pt", "key", every_s=math.inf),
    )
    return model, progress


def read_out(model, pool, batch_size=512) -> tuple[np.ndarray, np.ndarray]:
    """Our read-out: features (N, d) and logits (N, C)."""
    _, features, logits = zip(*predict(model, pool, batch_size), strict=True)
    return torch.cat(features).numpy(), torch.cat(logits).numpy()


def last_layer_norms_with_mean_reduction(layer, features, labels, batch_size) -> np.ndarray:
    """Gradient norms of each sample from one backward pass per batch, through the mean loss of the batch."""
    norms = []
    for rows, targets in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        logits = layer(rows)
        (residuals,) = torch.autograd.grad(nn.functional.cross_entropy(logits, targets), logits)
        weights = residuals[:, :, None] * rows[:, None, :]
        norms.append(torch.cat([weights.flatten(1), residuals], dim=1).norm(dim=1))
    return torch.cat(norms).detach().numpy()


def last_layer_norms_one_by_one(layer, features, labels) -> np.ndarray:
    """The definition: a backward pass to the layer's parameters for every sample."""
    norms = []
    for row, target in zip(features, labels, strict=True):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(layer(row), target), list(layer.parameters()))
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
    return np.array(norms)


def test_a_mean_over_the_batch_inflates_the_last_partial_batch(pool, proxy):
    """GraNd: the samples of the last partial batch score 64/8 times too high, and all of them enter the top 20."""
    layer, batch = proxy.get_classifier(), 64
    features, _ = read_out(proxy, pool)
    true = last_layer_norms_one_by_one(layer, torch.from_numpy(features), pool.labels)
    deviating = last_layer_norms_with_mean_reduction(layer, torch.from_numpy(features), pool.labels, batch)
    np.testing.assert_allclose(true[:-TAIL] / deviating[:-TAIL], batch, rtol=1e-3)
    np.testing.assert_allclose(true[-TAIL:] / deviating[-TAIL:], TAIL, rtol=1e-3)
    tail = np.arange(NUM_POOL - TAIL, NUM_POOL)
    assert np.isin(tail, sb.take(deviating, 20 / NUM_POOL).ids).sum() == TAIL
    assert np.isin(tail, sb.take(true, 20 / NUM_POOL).ids).sum() <= 1
    for size in (7, batch, NUM_POOL):
        features, logits = read_out(proxy, pool, size)
        ours = sb.score("grand", sb.Signals(labels=pool.labels.numpy(), features=features, logits=logits))
        np.testing.assert_allclose(ours, true, rtol=1e-4)


@torch.no_grad()
def read_out_in_training_mode(model, pool, order, batch_size) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation with the statistics of each batch, as in a net left in training mode."""
    model = copy.deepcopy(model).train()
    features, logits = np.empty((len(pool), 16), dtype=np.float32), np.empty((len(pool), 10), dtype=np.float32)
    for positions in np.array_split(order, len(order) // batch_size):
        rows = features_and_logits(model, pool.normalise(pool.load(positions)))
        features[positions], logits[positions] = (part.numpy() for part in rows)
    return features, logits


def test_training_mode_makes_a_sample_s_features_depend_on_its_batch(pool):
    """Moderate-DS: with the same net and pool, the order and size of batches alone change most of the subset."""
    labels = pool.labels.numpy()
    model, _ = train(pool, np.arange(NUM_POOL), replace(RECIPE, epochs=4), seed=0)

    def keep_moderate(features):
        return set(sb.select("moderate", sb.Signals(labels=labels, features=features), 0.2).ids.tolist())

    def accuracy(logits):
        return (logits.argmax(axis=1) == labels).mean()

    canonical, by_class = np.arange(NUM_POOL), np.argsort(labels, kind="stable")
    deviating = [read_out_in_training_mode(model, pool, *how) for how in ((canonical, 64), (canonical, 16), (by_class, 64))]
    kept = [keep_moderate(features) for features, _ in deviating]
    num_kept = round(0.2 * NUM_POOL)
    assert all(len(kept[0] & other) < 0.6 * num_kept for other in kept[1:])
    assert accuracy(deviating[0][1]) - accuracy(deviating[2][1]) > 0.5
    with torch.no_grad():
        alone = [features_and_logits(model.eval(), pool.normalise(pool.load(np.array([i])))) for i in range(0, NUM_POOL, 10)]
    ours = [read_out(model, pool, size) for size in (512, 64, 7)]
    for features, logits in ours:
        np.testing.assert_allclose(features[::10], torch.cat([f for f, _ in alone]).numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits[::10], torch.cat([z for _, z in alone]).numpy(), rtol=1e-4, atol=1e-4)
        assert len(keep_moderate(features) & keep_moderate(ours[0][0])) >= num_kept - 2  # rounding may swap equal ranks
    assert len(keep_moderate(ours[0][0]) & kept[0]) < 0.6 * num_kept


def test_the_training_budget_moves_accuracy_by_more_than_the_method(tmp_path, test_halves):
    """10 % kept: a tenth of the steps (equal epochs) or all of them. Such numbers must not share a table."""
    pool, recipe = open_digits(tmp_path / "pool", slice(0, 600)), replace(RECIPE, epochs=4, batch_size=20)
    signals = sb.Signals(labels=pool.labels.numpy(), features=pool.images.numpy().reshape(600, -1) / 255)
    steps, accuracy = {}, {}
    for regime in ("equal_epochs", "equal_steps"):
        for method in ("random", "herding", "moderate"):
            trained = [train(pool, sb.select(method, signals, 0.1, seed=seed).ids, recipe, seed, regime) for seed in (0, 1)]
            steps[regime] = {progress.step for _, progress in trained}
            accuracy[regime, method] = np.mean([measure_test(model, half)["top1"] for model, _ in trained for half in test_halves])
        assert steps[regime] == {count_steps(60, 600, recipe, regime)}
    assert steps == {"equal_epochs": {4 * 60 // 20}, "equal_steps": {4 * 600 // 20}}
    few, many = ([accuracy[regime, method] for method in ("random", "herding", "moderate")] for regime in steps)
    budget = accuracy["equal_steps", "random"] - accuracy["equal_epochs", "random"]
    assert budget > 2 * (max(many) - min(many))
    assert min(many) > max(few)  # no choice of method makes up for the steps
    gains = [accuracy[regime, "herding"] - accuracy[regime, "random"] for regime in steps]
    assert gains[0] > gains[1] + 3  # and the apparent gain of a method depends on them


OVERHEATED = replace(RECIPE, epochs=20, batch_size=20, learning_rate=0.3)


def test_the_best_epoch_on_the_test_set_is_better_only_on_the_samples_that_chose_it(pool, test_halves):
    """Each half of the test set chooses an epoch, which beats the last epoch on that half and is no better on the other."""
    signals, seen, unseen = sb.Signals(labels=pool.labels.numpy()), [], []
    for seed in range(6):
        curves = [[], []]

        def track(_epoch, model, _progress, curves=curves):
            for curve, half in zip(curves, test_halves, strict=True):
                curve.append(measure_test(model, half)["top1"])

        train(pool, sb.select("random", signals, 0.1, seed=seed).ids, OVERHEATED, seed, on_epoch_end=track)
        for choosing, other in (curves, curves[::-1]):
            best = int(np.argmax(choosing))
            seen.append(choosing[best] - choosing[-1])
            unseen.append(other[best] - other[-1])
    assert np.mean(seen) > 0.75
    assert np.mean(unseen) < np.mean(seen) - 0.75


def test_records_report_the_last_epoch_and_name_the_best_apart(pool, test_halves, tmp_path):
    keep, test, seed = "0.1", test_halves[0], 3
    ids = sb.select("random", sb.Signals(labels=pool.labels.numpy()), keep, seed=seed).ids
    choice = SubsetChoice(ids, {"cost": {}, "sha256": "", "class_counts": []}, seed)
    spec = {
        **{"folder": tmp_path, "role": "target", "dataset": "digits", "regime": "equal_epochs", "threads": 1, "gpu": 0},
        **{"model_name": "convnet", "model": NET, "input_shape": [1, 8, 8], "num_classes": 10},
        "recipe": asdict(replace(OVERHEATED, schedule="constant")),
    }
    run = {"id": "run", "seed": seed, "keep": keep}
    record, _ = train_target(make_family(spec, tmp_path), spec, run, choice, pool, test, None, "key")
    curve = record["training"]["test_top1_by_epoch"]
    assert record["best_epoch"] == {"epoch": 1 + curve.index(max(curve)), "top1": max(curve)}
    saved = build_model(NET, "small", (1, 8, 8), 10).to(memory_format=torch.channels_last)
    saved.load_state_dict(torch.load(record_path(tmp_path, "run", TRAIN).with_name("model.pt"), weights_only=True))
    evaluated = measure_test(saved, test)
    assert evaluated["top1"] == curve[-1] < max(curve)
    cell = fill_cell({"run": {**record, "status": "ok", "test": {"test": evaluated}}}, ["run"], None, "top1", "test")
    assert (cell["mean"], cell["best_epoch"]) == (curve[-1], max(curve))
