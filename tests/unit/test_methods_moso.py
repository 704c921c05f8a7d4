import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import selectbench as sb
from selectbench.training.gradients import measure_alignments

STEP_SIZE = 0.1


def make_problem(num=36, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    inputs = rng.normal(size=(num, 3)) + 1.2 * np.where(labels, 1.0, -1.0)[:, None]
    flipped = rng.random(num) < 0.1
    return torch.from_numpy(inputs), torch.from_numpy(np.where(flipped, 1 - labels, labels))


def descend(inputs, labels, steps, observe=lambda model: None):
    """Full-batch gradient descent of a logistic regression from zero."""
    model = nn.Linear(3, 2).double().eval()
    for value in model.parameters():
        nn.init.zeros_(value)
    for _ in range(steps):
        observe(model)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(model(inputs), labels), list(model.parameters()))
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value -= STEP_SIZE * gradient
    return model


def risk(model, inputs, labels):
    return nn.functional.cross_entropy(model(inputs), labels).item()


def correlate_with_leave_one_out(seed, steps):
    """Rank correlation of the score with the change of risk after retraining without each sample."""
    inputs, labels = make_problem(seed=seed)
    rows = []
    full = descend(inputs, labels, steps, lambda model: rows.append(measure_alignments(model, lambda: [(inputs, labels)]).numpy()))
    scores = sb.score("moso", sb.Signals(labels=labels.numpy(), alignments=np.stack(rows), step_sizes=np.full(steps, STEP_SIZE)))
    changes = []
    for sample in range(len(labels)):
        rest = np.delete(np.arange(len(labels)), sample)
        moved_out = descend(inputs[rest], labels[rest], steps)
        changes.append(risk(moved_out, inputs[rest], labels[rest]) - risk(full, inputs[rest], labels[rest]))
    return spearmanr(scores, changes).statistic


@pytest.mark.parametrize("seed", range(4))
def test_ranks_as_retraining_without_each_sample_does(seed):
    assert correlate_with_leave_one_out(seed, steps=1) > 0.99
    assert correlate_with_leave_one_out(seed, steps=3) > 0.97


def test_over_many_steps_it_no_longer_ranks_as_retraining_does():
    assert np.mean([correlate_with_leave_one_out(seed, steps=30) for seed in range(4)]) < 0.6


def test_checkpoints_weigh_by_their_step_size():
    alignments = np.array([[1.0, 2.0], [10.0, -10.0]])
    signals = sb.Signals(labels=[0, 1], alignments=alignments, step_sizes=[0.5, 0.1])
    np.testing.assert_allclose(sb.score("moso", signals), [(0.5 + 1.0) / 2, (1.0 - 1.0) / 2])


def test_the_term_left_out_is_of_order_one_over_n():
    inputs, labels = make_problem(num=200)
    model = descend(inputs, labels, 60)
    rows = []
    for sample in range(200):
        loss = nn.functional.cross_entropy(model(inputs[sample : sample + 1]), labels[sample : sample + 1])
        rows.append(torch.cat([value.flatten() for value in torch.autograd.grad(loss, list(model.parameters()))]))
    rows = torch.stack(rows)
    exact = ((rows.sum(dim=0) - rows) / 199 * rows).sum(dim=1)
    ours = measure_alignments(model, lambda: [(inputs, labels)])
    squares = rows.square().sum(dim=1)
    torch.testing.assert_close(200 / 199 * ours - exact, squares / 199, rtol=1e-8, atol=1e-12)


def test_adding_a_constant_changes_no_choice(signals):
    shifted = sb.Signals(labels=signals.labels, ids=signals.ids, alignments=signals.alignments - 50.0, step_sizes=signals.step_sizes)
    np.testing.assert_array_equal(sb.select("moso", shifted, 0.3).ids, sb.select("moso", signals, 0.3).ids)


def test_classes_get_equal_places_by_default(signals):
    kept = np.isin(signals.ids, sb.select("moso", signals, 0.3).ids)
    assert np.bincount(signals.labels[kept]).tolist() == [20, 20, 20, 1]


def test_every_alignment_needs_its_step_size():
    with pytest.raises(sb.SelectbenchError, match=r"step_sizes: shape \(3,\) should be \(2,\), one number for each row of alignments"):
        sb.Signals(labels=[0, 1], alignments=np.zeros((2, 2)), step_sizes=[1, 2, 3])
