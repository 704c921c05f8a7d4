"""Training with a sampler: visits, the learning-rate schedule, and the identical result of a killed training."""

import numpy as np
import pytest
import torch
from training_fixtures import RECIPE, make_pool

from selectbench import dynamic
from selectbench.models.factory import build_model
from selectbench.records.checks import make_adapter
from selectbench.records.rows import Selection
from selectbench.seeds import isolated_torch_rng
from selectbench.stages._targets import make_sampler_choice
from selectbench.training.choices import SamplerChoice, SubsetChoice
from selectbench.training.dynamic_training import visit_dynamically
from selectbench.training.engine import Checkpoint, TrainingDivergedError, train_model
from selectbench.training.epochs import Progress
from selectbench.training.recipes import learning_rate_at

SAMPLERS = [name for name in dynamic.available_samplers() if name not in ("full", "no_training")]


class Interrupted(Exception):
    pass


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path, 70)


def train(pool, tmp_path, choice, recipe=RECIPE, stop_after=None):
    """Train a fresh model with a choice; raise after ``stop_after`` epochs, once the state of the previous one is saved."""
    with isolated_torch_rng(0):
        model = build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 3)

    def on_epoch_end(epoch, model, progress):
        if stop_after is not None and epoch > stop_after:
            raise Interrupted

    progress = train_model(
        model,
        pool,
        choice.visit(pool, recipe, "equal_epochs"),
        recipe,
        stream=("test", 0),
        batch_loss=choice.weigh_losses(pool, recipe, ("test", 0)),
        on_epoch_end=on_epoch_end,
        checkpoint=Checkpoint(tmp_path / "state.pt", "key", every_s=-1),
    )
    return model, progress


def make_choice(name, **parameters) -> SamplerChoice:
    return make_sampler_choice({"name": name, "seed": 3, "parameters": parameters}, 70, "0.5", 8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_visits_are_those_the_sampler_handed_out(pool, tmp_path, name):
    choice = make_choice(name)
    _, progress = train(pool, tmp_path, choice)
    kept = [row["kept"] for row in choice.sampler.trace]
    assert progress.epoch == len(kept) == choice.sampler.num_epochs == (5 if name == "full_fewer" else 8)
    assert progress.sample_visits == sum(kept) == choice.sampler.visits
    assert kept[0] == kept[-1] == 70  # warm-up, and the last eighth
    if name == "full_fewer":
        assert kept == [70] * 5 and sum(kept) == 2 * 70 + 6 * 35
    elif name != "infobatch":
        assert kept[1:-1] == [35] * 6
    if name != "infobatch":
        assert progress.sample_visits == choice.sampler.planned_visits
    assert [row["observed"] for row in choice.sampler.trace] == kept
    selection = choice.describe_selection()
    assert selection["wall_s"] == choice.sampler.overhead_s > 0
    assert selection["trajectory"]["epoch"] == list(range(1, len(kept) + 1)) and selection["trajectory"]["kept"] == kept
    assert selection.get("reached_keep") == (0.55 if name == "infobatch" else None)


def test_without_training_a_model_stays_as_it_starts_and_costs_nothing(pool, tmp_path):
    choice = make_choice("no_training")
    model, progress = train(pool, tmp_path, choice)
    with isolated_torch_rng(0):
        start = build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.state_dict().values(), start.state_dict().values(), strict=True))
    assert progress.epoch == progress.step == progress.sample_visits == choice.sampler.visits == len(choice.ids) == 0
    assert choice.sum_kept(np.ones(70)) == 0
    make_adapter(Selection).validate_python(choice.describe_selection())


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_killed_training_continues_with_its_sampler_and_ends_the_same(pool, tmp_path, name):
    whole, progress = train(pool, tmp_path / "whole", unbroken := make_choice(name))
    with pytest.raises(Interrupted):
        train(pool, tmp_path / "broken", make_choice(name), stop_after=4)
    resumed = make_choice(name)
    model, again = train(pool, tmp_path / "broken", resumed)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), model.state_dict().values(), strict=True))
    assert (again.step, again.sample_visits) == (progress.step, progress.sample_visits)
    assert np.array_equal(resumed.sampler.visit_counts, unbroken.sampler.visit_counts)


def test_keeping_all_is_training_on_all_data(pool, tmp_path):
    """With everything kept and all weights 1, a sampler changes nothing."""
    everything = make_sampler_choice({"name": "full", "seed": 3, "parameters": {}}, 70, "1", 8)
    plain = SubsetChoice(np.arange(70), {}, 0)
    one, first = train(pool, tmp_path / "one", everything)
    two, second = train(pool, tmp_path / "two", plain)
    assert (first.step, first.sample_visits) == (second.step, second.sample_visits)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_schedule_ends_with_the_training_and_falls_as_on_all_data():
    sampler = dynamic.make("random_dynamic", num_samples=70, keep=0.5, epochs=8)
    visits = visit_dynamically(sampler, RECIPE)
    assert visits.total_steps == 8 * 5
    steps = [visits.count_schedule(Progress(epoch=epoch), batch, 3) for epoch in range(8) for batch in range(3)]
    assert steps == sorted(steps) and steps[0] == 0
    assert steps[-1] == pytest.approx(40 - 5 / 3)
    on_all = [learning_rate_at(5 * epoch, 40, RECIPE) for epoch in range(8)]
    assert [learning_rate_at(steps[3 * epoch], 40, RECIPE) for epoch in range(8)] == pytest.approx(on_all)
    assert visits.is_over(Progress(epoch=8)) and not visits.is_over(Progress(epoch=7))


def test_fewer_epochs_have_the_whole_schedule():
    sampler = dynamic.make("full_fewer", num_samples=64, keep=0.25, epochs=8)  # 2 · 64 + 6 · 16 = 224 visits: 3.5 epochs of 4 batches
    visits = visit_dynamically(sampler, RECIPE)
    batches = [len(list(sampler)) // RECIPE.batch_size for _ in range(sampler.num_epochs)]
    assert batches == [4, 4, 4, 2]
    steps = [visits.count_schedule(Progress(epoch=epoch), batch, num) for epoch, num in enumerate(batches) for batch in range(num)]
    assert steps == pytest.approx([32 / 14 * step for step in range(14)])  # 14 of the 32 batches of 8 epochs
    assert visits.total_steps == 32
    assert visits.is_over(Progress(epoch=4)) and not visits.is_over(Progress(epoch=3))


def test_noise_is_counted_in_visits_an_epoch(pool, tmp_path):
    choice = make_choice("random_dynamic")
    train(pool, tmp_path, choice)
    noisy = np.isin(np.arange(70), [3, 5, 60])
    assert choice.sum_kept(noisy) == pytest.approx(choice.sampler.visit_counts[noisy].sum() / 8)
    assert choice.sum_kept(np.ones(70)) == pytest.approx((2 * 70 + 6 * 35) / 8)
    assert SubsetChoice(np.array([1, 3, 60]), {}, 0).sum_kept(noisy) == 2
    assert SubsetChoice(np.array([1, 3]), {}, 0).sum_kept(np.arange(70)) == 4


def test_a_loss_that_is_no_number_is_a_failed_run(pool, tmp_path):
    from dataclasses import replace

    with pytest.raises(TrainingDivergedError):
        train(pool, tmp_path, make_choice("top_loss"), replace(RECIPE, learning_rate=1e30, schedule="constant"))
