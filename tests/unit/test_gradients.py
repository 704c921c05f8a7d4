import numpy as np
import pytest
import torch
from torch import nn

import selectbench as sb
from selectbench.models.factory import build_model, features_and_logits
from selectbench.training import devices
from selectbench.training.gradients import average_gradient, measure_alignments, measure_norms

NETS = [
    ({"library": "selectbench", "name": "convnet", "width": 4}, (1, 8, 8), 40),
    ({"library": "selectbench", "name": "resnet8", "width": 4}, (3, 8, 8), 40),
    ({"library": "selectbench", "name": "vit", "width": 8, "depth": 2, "heads": 2, "patch": 2}, (1, 8, 8), 40),
    ({"library": "selectbench", "name": "mixer", "width": 8, "depth": 2, "patch": 2}, (1, 8, 8), 40),
    ({"library": "timm", "name": "resnet18", "small": {"drop": ["maxpool"]}}, (3, 16, 16), 5),
]


def make_case(entry, shape, num):
    """A net with non-initial batch statistics, in double precision and evaluation mode, and samples for it."""
    torch.manual_seed(0)
    model = build_model(entry, "small", shape, 5).double()
    images, labels = torch.randn(num, *shape, dtype=torch.float64), torch.arange(num) % 5
    with torch.no_grad():
        model(images)
    return model.eval(), images, labels


def batches_of(images, labels, size):
    return lambda: ((images[start : start + size], labels[start : start + size]) for start in range(0, len(labels), size))


def loop_gradients(model, images, labels):
    parameters = [value for value in model.parameters() if value.requires_grad]
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        rows.append(torch.cat([value.flatten() for value in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


@pytest.mark.parametrize(("entry", "shape", "num"), NETS)
def test_norms_and_alignments_equal_a_loop_over_samples(entry, shape, num):
    model, images, labels = make_case(entry, shape, num)
    rows = loop_gradients(model, images, labels)
    batches = batches_of(images, labels, 16)
    torch.testing.assert_close(measure_norms(model, batches), rows.norm(dim=1), rtol=1e-10, atol=0)
    torch.testing.assert_close(measure_alignments(model, batches), rows @ rows.mean(dim=0), rtol=1e-8, atol=1e-12)
    flat = torch.cat([value.flatten() for value in average_gradient(model, batches).values()])
    torch.testing.assert_close(flat, rows.mean(dim=0), rtol=1e-8, atol=1e-12)


def test_the_batch_size_changes_nothing(monkeypatch):
    model, images, labels = make_case(*NETS[0])
    whole = [measure(model, batches_of(images, labels, 40)) for measure in (measure_norms, measure_alignments)]
    for size in (1, 7, 32):
        for measure, expected in zip((measure_norms, measure_alignments), whole, strict=True):
            torch.testing.assert_close(measure(model, batches_of(images, labels, size)), expected, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(devices, "_LEAST_SPARE", 1)
    torch.testing.assert_close(measure_norms(model, batches_of(images, labels, 40)), whole[0], rtol=1e-9, atol=0)


def test_the_mean_alignment_is_the_squared_norm_of_the_mean_gradient():
    model, images, labels = make_case(*NETS[1])
    batches = batches_of(images, labels, 40)
    squared = sum(value.square().sum() for value in average_gradient(model, batches).values())
    torch.testing.assert_close(measure_alignments(model, batches).mean(), squared, rtol=1e-9, atol=0)


def test_an_alignment_is_the_change_of_the_mean_loss_by_a_step_on_the_sample():
    model, images, labels = make_case(*NETS[0])
    alignment = measure_alignments(model, batches_of(images, labels, 40))[3].item()
    step = 1e-5
    gradient = torch.autograd.grad(nn.functional.cross_entropy(model(images[3:4]), labels[3:4]), list(model.parameters()))
    before = nn.functional.cross_entropy(model(images), labels).item()
    with torch.no_grad():
        for value, slope in zip(model.parameters(), gradient, strict=True):
            value -= step * slope
    after = nn.functional.cross_entropy(model(images), labels).item()
    assert (before - after) / step == pytest.approx(alignment, rel=1e-3)


def test_with_only_the_head_trainable_the_norm_is_the_closed_form():
    model, images, labels = make_case(*NETS[0])
    for value in model.body.parameters():
        value.requires_grad_(False)
    features, logits = (value.detach().numpy() for value in features_and_logits(model, images))
    closed = sb.score("grand", sb.Signals(labels=labels.numpy(), features=features, logits=logits))
    np.testing.assert_allclose(measure_norms(model, batches_of(images, labels, 16)).numpy(), closed, rtol=1e-9)


@pytest.mark.parametrize("measure", [measure_norms, measure_alignments])
def test_training_mode_is_refused(measure):
    model, images, labels = make_case(*NETS[0])
    model.body[1].train()
    with pytest.raises(sb.SelectbenchError, match=r"gradients: module 'body\.1' is in training mode"):
        measure(model, batches_of(images, labels, 40))


def test_parameters_keep_their_state():
    model, images, labels = make_case(*NETS[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_norms(model, batches_of(images, labels, 40))
    measure_alignments(model, batches_of(images, labels, 40))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in model.parameters())
