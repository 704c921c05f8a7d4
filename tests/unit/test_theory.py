import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import selectbench as sb
from selectbench.models.factory import build_model, features_and_logits
from selectbench.records.files import digest_file, read_sealed, write_sealed
from selectbench.records.records import find_maker
from selectbench.rl import propositions, theory
from selectbench.seeds import isolated_torch_rng
from selectbench.stages import measure_theory, train_proxy
from selectbench.training import devices


def make_pool(num=60, dimension=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    return rng.normal(size=(num, dimension)) + np.eye(classes, dimension)[labels], labels


def list_all_pairs(features, labels):
    pairs = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels)) if labels[i] == labels[j]]
    return pairs, np.array([np.linalg.norm(features[i] - features[j]) for i, j in pairs])


# Pairs


@pytest.mark.parametrize("num_pairs", [1, 50, 10_000])
def test_pairs_are_of_one_class_unique_and_ascending(num_pairs):
    features, labels = make_pool()
    every, distances = list_all_pairs(features, labels)
    i, j, far = theory.sample_pairs(features, labels, num_pairs, seed=1)
    assert len(i) == len(j) == len(far) == min(num_pairs, len(every))
    assert (labels[i] == labels[j]).all() and (i < j).all()
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)
    np.testing.assert_allclose(far, np.linalg.norm(features[i] - features[j], axis=1), rtol=1e-12)
    assert (np.diff(far) >= -1e-9).all()
    if num_pairs > len(every):
        np.testing.assert_allclose(np.sort(far), np.sort(distances), rtol=1e-12)


def test_one_pair_comes_from_each_share_of_the_ranking():
    features, labels = make_pool(90)
    _, distances = list_all_pairs(features, labels)
    for seed in range(3):
        _, _, far = theory.sample_pairs(features, labels, 40, seed)
        ranks = np.searchsorted(np.sort(distances), far * (1 + 1e-12), side="right") - 1
        bounds = np.arange(41) * len(distances) // 40
        assert (bounds[:-1] <= ranks).all() and (ranks < bounds[1:]).all()


def test_pairs_depend_on_the_seed_alone_and_large_classes_are_cut(monkeypatch):
    features, labels = make_pool()
    one, again, other = (theory.sample_pairs(features, labels, 30, seed)[2].tolist() for seed in (0, 0, 1))
    assert one == again != other
    monkeypatch.setattr(theory, "_MAX_PAIRS", 150)  # 10 samples of each of the three classes
    i, j, _ = theory.sample_pairs(features, labels, 10_000, 0)
    assert len(i) == 3 * 45
    assert (np.bincount(labels[np.unique([i, j])]) == 10).all()


def test_without_a_pair_there_is_one_clear_line():
    with pytest.raises(sb.SelectbenchError, match="pairs: cannot draw 5 of 0 same-class pairs"):
        theory.sample_pairs(np.eye(3), np.arange(3), 5, 0)


# Outputs, losses, gradients


def test_outputs_and_losses_by_hand():
    logits, labels = np.array([[0.0, 0.0], [3.0, -1.0], [0.0, 4.0]]), np.array([0, 0, 1])
    i, j = np.array([0, 0]), np.array([1, 2])
    np.testing.assert_allclose(theory.measure_outputs(logits, i, j), [np.sqrt(10), 4])
    losses = np.array([np.log(2), np.log1p(np.exp(-4)), np.log1p(np.exp(-4))])
    np.testing.assert_allclose(theory.measure_losses(logits, labels, i, j), losses[0] - losses[1:])


def make_net():
    """A net with non-initial batch statistics, in double precision and evaluation mode, and samples for it."""
    with isolated_torch_rng(0):
        model = build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 5).double()
        images, labels = torch.randn(30, 1, 8, 8, dtype=torch.float64), torch.arange(30) % 5
    with torch.no_grad():
        model(images)
    return model.eval(), images, labels


def test_differences_of_gradients_equal_a_loop(monkeypatch):
    model, images, labels = make_net()
    rows = torch.stack(
        [
            torch.cat([value.flatten() for value in torch.autograd.grad(loss, list(model.parameters()))])
            for loss in (nn.functional.cross_entropy(model(images[k : k + 1]), labels[k : k + 1]) for k in range(30))
        ]
    )
    i, j, _ = theory.sample_pairs(images.flatten(1).numpy(), labels.numpy(), 25, 0)
    expected = (rows[i] - rows[j]).norm(dim=1)
    relative = expected / (rows[i].norm(dim=1) + rows[j].norm(dim=1))
    for chunk in (1, 3_000_000):
        monkeypatch.setattr(devices, "_LEAST_SPARE", chunk)
        apart, share = theory.measure_gradients(model, lambda where: (images[where], labels[where]), i, j)
        np.testing.assert_allclose(apart, expected, rtol=1e-9)
        np.testing.assert_allclose(share, relative, rtol=1e-9)
    assert all(value.grad is None for value in model.parameters())


def test_a_twin_has_the_same_gradient_and_training_mode_is_refused():
    model, images, labels = make_net()
    images[5] = images[0]
    pair = np.array([0]), np.array([5])
    assert [float(values[0]) for values in theory.measure_gradients(model, lambda where: (images[where], labels[where]), *pair)] == [0, 0]
    with pytest.raises(sb.SelectbenchError, match="is in training mode"):
        theory.measure_gradients(model.train(), lambda where: (images[where], labels[where]), *pair)


def test_outputs_differ_by_at_most_the_heads_norm_times_the_distance():
    model, images, labels = make_net()
    features, logits = (value.detach().numpy() for value in features_and_logits(model, images))
    i, j, far = theory.sample_pairs(features, labels.numpy(), 1000, 0)
    ratio = theory.largest_ratio(far, theory.measure_outputs(logits, i, j))
    assert 0 < ratio <= torch.linalg.matrix_norm(model.head.weight.detach(), 2).item() * (1 + 1e-9)


# Regression and removal


def make_problem(num=80, dimension=6, classes=4, ridge=0.5, seed=0):
    features, labels = make_pool(num, dimension, classes, seed)
    signals = sb.Signals(labels=labels, features=features)
    other, other_labels = make_pool(40, dimension, classes, seed + 100)
    return theory.make_regressions(signals, sb.Signals(labels=other_labels, features=other), ridge, 99)


def fit_everything(problem):
    weights = np.ones(len(problem.labels))
    theta = theory.fit_regression(problem, weights)
    return theta, theory.factorise_hessian(problem, theta, weights)


@pytest.mark.parametrize("ridge", [1e-2, 1.0, 30.0])
def test_the_optimum_is_flat_and_that_of_scikit_learn(ridge):
    problem, _ = make_problem(ridge=ridge)
    weights = np.random.default_rng(0).uniform(0.2, 2.0, len(problem.labels))
    theta = theory.fit_regression(problem, weights)
    assert np.linalg.norm(theory.measure_gradient(problem, theta, weights)) < 1e-8
    reference = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-12, max_iter=10_000)
    reference.fit(problem.rows, problem.labels, sample_weight=weights)
    np.testing.assert_allclose(theta, reference.coef_, rtol=1e-4, atol=1e-4 * np.abs(theta).max())


def test_the_optimum_does_not_depend_on_the_start_or_on_a_stale_factor():
    problem, _ = make_problem(ridge=0.01)
    theta, _ = fit_everything(problem)
    weights, far = np.ones(len(problem.labels)), 5.0 * np.random.default_rng(0).normal(size=theta.shape)
    stale = theory.factorise_hessian(problem, far, weights)
    for start, factor in ((far, None), (far, stale), (None, stale)):
        np.testing.assert_allclose(theory.fit_regression(problem, weights, start, factor), theta, rtol=1e-7, atol=1e-8)


def test_the_hessian_is_the_derivative_of_the_gradient():
    problem, _ = make_problem()
    rng = np.random.default_rng(0)
    weights, theta = rng.uniform(0.5, 1.5, len(problem.labels)), rng.normal(size=(4, 7))
    factor = theory.factorise_hessian(problem, theta, weights)
    step = 1e-5 * rng.normal(size=theta.shape)
    change = theory.measure_gradient(problem, theta + step, weights) - theory.measure_gradient(problem, theta - step, weights)
    np.testing.assert_allclose(theory.solve_hessian(factor, change / 2), step, rtol=1e-6, atol=1e-12)


def test_influence_is_the_derivative_of_the_optimum_by_the_samples_weight():
    problem, _ = make_problem()
    theta, factor = fit_everything(problem)
    samples = np.array([0, 7, 41])
    predicted = theory.predict_removals(problem, theta, factor, samples)
    for move, sample in zip(predicted, samples, strict=True):
        weights = np.ones((2, len(problem.labels)))
        weights[:, sample] += [-1e-4, 1e-4]
        less, more = (theory.fit_regression(problem, row, theta, factor) for row in weights)
        np.testing.assert_allclose((less - more) / 2e-4, move, rtol=1e-3, atol=1e-3 * np.abs(move).max())


def test_leaving_out_equals_a_fit_from_scratch_without_the_sample():
    problem, held_out = make_problem()
    theta, _ = fit_everything(problem)
    samples = np.array([3, 20, 66])
    removals = theory.measure_removals(problem, held_out, samples)
    for place, sample in enumerate(samples):
        rest = np.delete(np.arange(len(problem.labels)), sample)
        fresh = theory.fit_regression(replace(problem, rows=problem.rows[rest], labels=problem.labels[rest]), np.ones(len(rest)))
        np.testing.assert_allclose(theta + removals.real[place], fresh, rtol=1e-7, atol=1e-9)
        change = theory.mean_loss(held_out, fresh) - theory.mean_loss(held_out, theta)
        assert removals.real_losses[place] == pytest.approx(change, abs=1e-10)
    assert theory.relative_error(removals.predicted, removals.real) < 0.2


def test_the_error_of_influence_falls_with_the_weight_of_one_sample():
    errors = []
    for num in (50, 200, 800):
        removals = theory.measure_removals(*make_problem(num=num, ridge=0.02 * num), np.arange(20))
        errors.append(theory.relative_error(removals.predicted, removals.real))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_leaving_out_a_sample_or_its_twin_is_the_same():
    features, labels = make_pool()
    twins = sb.Signals(labels=np.tile(labels, 2), features=np.tile(features, (2, 1)))
    removals = theory.measure_removals(*theory.make_regressions(twins, twins, 1.0, 99), np.array([4, 64]))
    np.testing.assert_allclose(removals.real[0], removals.real[1], rtol=1e-6, atol=1e-9)
    assert np.abs(removals.real[0]).max() > 1e-4


def test_rows_are_standardised_projected_and_end_in_a_constant():
    features, labels = make_pool(200, 8)
    features[:, 3] = 0.1
    pool = sb.Signals(labels=labels + 5, features=features)
    problem, same = theory.make_regressions(pool, pool, 1.0, 99)
    np.testing.assert_allclose(problem.rows[:, :8].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(problem.rows[:, :8].std(axis=0), [1, 1, 1, 0, 1, 1, 1, 1], atol=1e-9)
    assert (problem.rows[:, 8] == 1).all() and problem.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(same.rows, problem.rows)
    small, _ = theory.make_regressions(pool, pool, 1.0, 2)
    singular = np.linalg.svd(problem.rows[:, :8], compute_uv=False)
    np.testing.assert_allclose(np.sort(np.linalg.norm(small.rows[:, :2], axis=0)), np.sort(singular[:2]), rtol=1e-9)
    with pytest.raises(sb.SelectbenchError, match="held-out labels: some do not occur in the pool"):
        theory.make_regressions(pool, sb.Signals(labels=[0], features=np.ones((1, 8))), 1.0, 99)


# Statistics


def test_statistics_by_hand():
    x, y = np.arange(20.0), np.arange(20.0) + 1
    assert theory.decile_medians(x[::-1], y[::-1]) == (1.5, 19.5)
    assert theory.share_of_sum(np.array([1.0, 0.0]), np.array([4.0, 0.0])).tolist() == [0.25, 0.0]
    assert propositions.compare(x, y)["median_ratio"] == pytest.approx(1.5 / 19.5)
    assert propositions.compare(x, np.zeros(20))["median_ratio"] is None
    assert theory.largest_ratio(x, y) == 2.0
    assert theory.largest_ratio(np.zeros(3), np.ones(3)) is None
    assert theory.relative_error(np.array([1.0, 3.0, 5.0]), np.array([0.0, 2.0, 4.0])) == pytest.approx(0.375)
    assert theory.relative_error(np.ones(2), np.zeros(2)) is None


def test_points_are_thinned_to_400_along_x_and_rounded():
    x = np.random.default_rng(0).uniform(size=5000)
    entry = propositions.describe("x", "y", x, x / 3, {})
    assert entry["num"] == 5000 and len(entry["x"]) == len(entry["y"]) == 400
    assert entry["x"] == sorted(entry["x"])
    assert entry["x"][0] == float(f"{x.min():.6g}") and entry["x"][-1] == float(f"{x.max():.6g}")
    assert propositions.describe("x", "y", x[:7], x[:7], {})["x"] == [float(f"{value:.6g}") for value in np.sort(x[:7])]


def test_permuting_the_data_changes_no_statistic():
    features, labels = make_pool(120, 6)
    pool, held_out = sb.Signals(labels=labels, features=features), sb.Signals(labels=labels[::3], features=features[::3] + 0.1)
    order = np.random.default_rng(5).permutation(120)
    moved = sb.Signals(labels=labels[order], features=features[order])
    here, there = (propositions.measure_leaving_out(signals, held_out, 60, 3) for signals in (pool, moved))
    for name, entry in here.items():
        assert entry["statistic"] == pytest.approx(there[name]["statistic"], rel=1e-5), name
        np.testing.assert_allclose(entry["x"], there[name]["x"], rtol=2e-5, atol=1e-11)


def test_many_classes_and_large_ones_are_cut(monkeypatch):
    monkeypatch.setattr(propositions, "MAX_PER_CLASS", 5)
    features, labels = make_pool(400, 3, 12)[0][:, :3], np.arange(400) % 25
    train, test = propositions.cut_classes(*[sb.Signals(labels=labels, features=features)] * 2, seed=0)
    assert np.unique(train.labels, return_counts=True)[1].tolist() == [5] * 10
    assert set(test.labels) == set(train.labels) and len(test) == 160


# The stage


@pytest.fixture
def spec():
    recipe = {
        **{
            "epochs": 3,
            "batch_size": 32,
            "optimiser": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 0.0005,
        },
        **{"schedule": "linear", "warmup_epochs": 1, "label_smoothing": 0, "stem": "small", "precision": "fp32", "track_test": False},
        **{"augment": {"crop_padding": 0, "flip": False, "cutout": 0}, "record_at": [0.4, 1.0], "align_at": []},
    }
    model = {"library": "selectbench", "name": "convnet", "width": 4}
    return {
        **{"dataset": "toy", "input_shape": [1, 8, 8], "num_classes": 3, "threads": 1, "gpu": 0, "role": "proxy", "seed": 4, "pairs": 500},
        **{"id_test_set": "test", "model_name": "convnet", "model": model, "recipe": recipe, "code": "0"},
    }


@pytest.fixture
def proxy(tmp_path, monkeypatch, spec):
    """A prepared toy data set and the files of a proxy trained on it."""
    rng = np.random.default_rng(0)
    for split, num in (("pool", 150), ("test", 60)):
        labels = rng.integers(0, 3, num)
        images = np.clip(rng.normal(80 + 50 * labels[:, None, None, None], 40, (num, 1, 8, 8)), 0, 255).astype(np.uint8)
        (tmp_path / "prepared" / split).mkdir(parents=True)
        np.save(tmp_path / "prepared" / split / "images.npy", images)
        np.save(tmp_path / "prepared" / split / "labels.npy", labels)
    manifest = tmp_path / "prepared" / "manifest.json"
    write_sealed(manifest, {"mean": [0.5], "std": [0.25], "splits": {"pool": {"classes": None}, "test": {"classes": None}}})
    files = {"data": manifest, **{name: tmp_path / f"proxy.{end}" for name, end in (("signals", "npz"), ("weights", "pt"))}}
    run_main(monkeypatch, train_proxy, {**spec, "state": str(tmp_path / "state.pt")}, **files, record=tmp_path / "proxy.json")
    return files


def run_main(monkeypatch, stage, spec, **files):
    pairs = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["stage", "--spec", json.dumps(spec), *pairs])
    stage.main()


def test_the_stage_writes_every_proposition_and_the_same_ones_again(proxy, spec, tmp_path, monkeypatch):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    records = []
    for name in ("one.json", "two.json"):
        run_main(monkeypatch, measure_theory, spec, **proxy, record=tmp_path / name)
        records.append(json.loads((tmp_path / name).read_text()))
    one, two = records
    assert one["propositions"] == two["propositions"]
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()
    assert (one["status"], one["seed"], one["dataset"], one["context"]["at_epoch"]) == ("ok", 4, "toy", 3)
    assert set(one["propositions"]) == {
        *("outputs", "losses", "gradients", "gradients_relative"),
        *("removal_parameters", "removal_test_loss", "influence"),
    }
    for entry in one["propositions"].values():
        assert len(entry["x"]) == len(entry["y"]) <= 400
        assert entry["x_label"] and entry["y_label"] and np.isfinite(entry["x"] + entry["y"]).all()
        assert -1 <= entry["statistic"]["spearman"] <= 1
    assert one["propositions"]["influence"]["statistic"]["spearman"] > 0.9
    assert one["propositions"]["outputs"]["num"] == 500


def test_weights_that_are_not_the_last_are_refused(proxy, spec, tmp_path, monkeypatch):
    kept = torch.load(proxy["weights"], weights_only=True)
    torch.save(kept[:1], proxy["weights"])
    record = read_sealed(find_maker(proxy["weights"]))
    write_sealed(find_maker(proxy["weights"]), record | {"sha256": record["sha256"] | {"proxy.pt": digest_file(proxy["weights"])}})
    with pytest.raises(sb.SelectbenchError, match=r"the last weights are of epoch 1 of 3; record_at must end with 1\.0"):
        run_main(monkeypatch, measure_theory, spec, **proxy, record=tmp_path / "record.json")
