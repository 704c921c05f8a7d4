import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from selectbench.data.splits import ArraySplit
from selectbench.methods.rl_selector import RLSelector
from selectbench.planning.config import read_yaml
from selectbench.rl.live import LiveEnvironment
from selectbench.rl.reward import Reward
from selectbench.stages import _selectors
from selectbench.stages._selectors import load_finished, select_subset
from selectbench.stages._training import build_from_spec
from selectbench.training.pools import open_pool
from selectbench.training.recipes import Recipe


@pytest.fixture
def pool(tmp_path):
    inputs, labels = load_digits(return_X_y=True)
    np.save(tmp_path / "images.npy", np.round(inputs[:300] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8))
    np.save(tmp_path / "labels.npy", labels[:300])
    return open_pool(ArraySplit(tmp_path), [0.3], [0.37], torch.device("cpu"))


@pytest.fixture
def spec(root):
    recipe = read_yaml(root / "config/recipes.yaml", "recipes")["digits_selector"] | {"epochs": 7}
    return {
        "dataset": "digits",
        "seed": 0,
        "selection_seed": 11,
        "recipe": recipe,
        "model_name": "convnet",
        "model": {"library": "selectbench", "name": "convnet", "width": 4},
        "input_shape": [1, 8, 8],
        "num_classes": 10,
    }


def select(spec, pool, folder, keep="0.4", **parameters):
    return select_subset(spec, RLSelector(tolerance=0.2, **parameters), pool, keep, folder / f"keep-{keep}.pt", "key")


def without_times(described):
    cost = {name: value for name, value in described["cost"].items() if name not in ("wall_s", "sources", "peak_memory_mb")}
    return described | {"cost": cost}


def test_a_live_target_trains_fills_its_table_and_pays(pool, spec):
    recipe = Recipe.from_config(spec["recipe"])
    model, _ = build_from_spec(spec, recipe.stem, ("x",), pool.device)
    before = [value.clone() for value in model.parameters()]
    environment = LiveEnvironment(
        model, pool, recipe, lambda features: features.sum(dim=1).numpy(), Reward(keep=0.5), tolerance=0.1, stream=("x",)
    )
    assert environment.epochs == 6
    environment.warm_up()
    assert environment.sample_visits == 300
    assert (environment.table.abs().sum(dim=1) > 0).all()
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    environment.begin_epoch()
    np.testing.assert_allclose(environment.cover.numpy(), environment.table.numpy().sum(axis=1), rtol=1e-5)
    states = environment.observe()
    assert not states.requires_grad
    frozen = [value.clone() for value in model.parameters()]
    environment.step(torch.zeros(len(states)))  # a weight of 0 leaves only momentum and decay
    assert environment.mask[environment._where].abs().sum() == 0
    assert all(torch.isfinite(value).all() for value in model.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(frozen, model.parameters(), strict=True))


def test_a_subset_has_exactly_k_ids_its_trajectory_and_its_cost(pool, spec, tmp_path):
    ids, described = select(spec, pool, tmp_path)
    assert len(set(ids)) == described["num_kept"] == 120
    assert sum(described["class_counts"]) == 120
    cost = described["cost"]
    assert cost["trajectory"]["epoch"] == [1, 2, 3, 4, 5, 6]
    chosen = cost["trajectory"]["chosen_epoch"] - 1
    assert abs(cost["trajectory"]["kept_fraction"][chosen] - 0.4) <= 0.2
    assert cost["sample_visits"] == cost["sources"]["agent"]["sample_visits"] == 7 * 300
    assert cost["wall_s"] > 0
    again, repeated = select(spec, pool, tmp_path / "again")
    assert again == ids
    assert without_times(repeated) == without_times(described)


@pytest.mark.parametrize("parameters", [{}, {"start": 0.6, "transfer_epochs": 3}], ids=["from scratch", "transfer"])
def test_an_interrupted_selection_ends_as_an_unbroken_one(pool, spec, tmp_path, monkeypatch, parameters):
    whole, described = select(spec, pool, tmp_path / "whole", **parameters)
    saved = []

    class Interrupted(Exception):
        pass

    def save_and_stop(path, content):
        original(path, content)
        saved.append(path.name)
        if len(saved) in stops:
            raise Interrupted

    stops = {3, 5}
    original, make_store = _selectors.save_state, _selectors.make_store
    monkeypatch.setattr(_selectors, "save_state", save_and_stop)
    monkeypatch.setattr(_selectors, "make_store", lambda path, key: make_store(path, key, every_s=-1.0))
    for _ in range(2):
        with pytest.raises(Interrupted):
            select(spec, pool, tmp_path / "broken", **parameters)
    ids, resumed = select(spec, pool, tmp_path / "broken", **parameters)
    assert len(saved) == (6 if not parameters else 9) + 1  # every epoch once, and the finished subset
    assert ids == whole
    assert without_times(resumed) == without_times(described)


def test_a_finished_subset_is_not_trained_again(pool, spec, tmp_path):
    finished = select(spec, pool, tmp_path)
    assert load_finished(tmp_path / "keep-0.4.pt", "key") == finished
    assert load_finished(tmp_path / "keep-0.4.pt", "another key") is None
    (tmp_path / "keep-0.4.pt").write_bytes(b"half")
    assert load_finished(tmp_path / "keep-0.4.pt", "key") is None


def test_a_mask_out_of_its_band_gives_the_k_largest_and_its_distance(pool, spec, tmp_path):
    method = RLSelector(tolerance=1e-9, terms="redundancy")
    ids, described = select_subset(spec, method, pool, "0.123", tmp_path / "x.pt", "key")
    assert described["failure"] is None
    assert len(set(ids)) == 37
    fractions = described["cost"]["trajectory"]["kept_fraction"]
    assert described["cost"]["distance"] == pytest.approx(min(abs(fraction - 0.123) for fraction in fractions), abs=2e-6)
    assert described["cost"]["trajectory"]["updates"] == [10 * epoch for epoch in range(1, 7)]  # five batches, two updates each


def test_a_thresholded_mask_out_of_its_band_is_described_as_failed(pool, spec, tmp_path):
    method = RLSelector(tolerance=1e-9, terms="redundancy", binarise="threshold")
    ids, described = select_subset(spec, method, pool, "0.123", tmp_path / "x.pt", "key")
    assert ids == []
    assert described["failure"].startswith("the policy never came within 1e-07 points of keep 0.123; nearest ")
    assert described["sha256"] is None
    assert len(described["cost"]["trajectory"]["kept_fraction"]) == 6
    assert described["cost"]["trajectory"]["chosen_epoch"] is None


def test_transfer_pays_for_both_trainings(pool, spec, tmp_path):
    _, described = select(spec, pool, tmp_path, start=0.6, transfer_epochs=3)
    assert described["cost"]["sample_visits"] == (7 + 3) * 300
    assert described["cost"]["trajectory"]["epoch"] == [1, 2, 3]
    assert described["cost"]["trajectory"]["updates"] == [70, 80, 90]  # those of the first training included


def test_threshold_keeps_what_the_mask_keeps(pool, spec, tmp_path):
    exact, one = select(spec, pool, tmp_path / "exact")
    above, other = select(spec, pool, tmp_path / "above", binarise="threshold")
    fraction = other["cost"]["trajectory"]["kept_fraction"][other["cost"]["trajectory"]["chosen_epoch"] - 1]
    assert len(above) == round(fraction * 300)
    assert set(above[: min(len(above), len(exact))]) == set(exact[: min(len(above), len(exact))])
    assert without_times(one)["cost"] == without_times(other)["cost"]


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_other_agents_walk_over_a_live_target(pool, spec, tmp_path, algorithm):
    spec["recipe"]["batch_size"] = 43  # seven batches: not a multiple of PPO's rollouts
    _, described = select_subset(spec, RLSelector(tolerance=0.99, algorithm=algorithm), pool, "0.4", tmp_path / "x.pt", "key")
    assert described["failure"] is None
    assert described["cost"]["sample_visits"] == 7 * 300
    assert described["cost"]["trajectory"]["epoch"] == [1, 2, 3, 4, 5, 6]
