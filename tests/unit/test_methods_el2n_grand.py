import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import selectbench as sb
from selectbench.models.factory import build_model, features_and_logits
from selectbench.training.gradients import measure_norms


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_el2n_is_the_mean_of_norms_over_checkpoints(signals):
    onehot = np.eye(4)[signals.labels]
    norms = np.linalg.norm(softmax(signals.logits) - onehot, axis=2)
    np.testing.assert_allclose(sb.score("el2n", signals), norms.mean(axis=0), rtol=1e-12)
    norm_of_mean = np.linalg.norm((softmax(signals.logits) - onehot).mean(axis=0), axis=1)
    assert not np.allclose(sb.score("el2n", signals), norm_of_mean)


def test_el2n_is_bounded_and_has_its_closed_form():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, 400), rng.normal(scale=30, size=(1, 400, 5))
    scores = sb.score("el2n", sb.Signals(labels=labels, logits=logits))
    probabilities = softmax(logits[0])
    assert ((scores >= 0) & (scores <= np.sqrt(2) + 1e-12)).all()
    squared = np.square(probabilities).sum(axis=1) - 2 * probabilities[np.arange(400), labels] + 1
    np.testing.assert_allclose(np.square(scores), squared, atol=1e-12)


def test_el2n_at_infinite_temperature_is_the_same_for_all():
    flat = sb.Signals(labels=np.arange(10) % 5, logits=np.random.default_rng(0).normal(size=(2, 10, 5)) / 1e9)
    np.testing.assert_allclose(sb.score("el2n", flat), np.sqrt((1 - 1 / 5) ** 2 + (1 - 1 / 5) / 5), rtol=1e-8)


def test_el2n_does_not_depend_on_how_classes_are_numbered(signals):
    renamed = np.array([2, 0, 3, 1])
    logits = np.empty_like(signals.logits)
    logits[:, :, renamed] = signals.logits
    other = sb.Signals(labels=renamed[signals.labels], logits=logits, ids=signals.ids)
    np.testing.assert_allclose(sb.score("el2n", other), sb.score("el2n", signals), rtol=1e-12)


def test_el2n_uses_only_early_checkpoints_and_pays_only_for_them(signals):
    early = sb.Signals(labels=signals.labels, ids=signals.ids, logits=signals.logits[:2])
    np.testing.assert_array_equal(sb.score("el2n", signals, until=0.6), sb.score("el2n", early))
    assert sb.methods.make_method("el2n", {"until": 0.2}).proxy_share == 0.2
    assert sb.methods.make_method("grand", {}).proxy_share == 1
    assert sb.methods.make_method("random", {}).proxy_share == 0
    with pytest.raises(sb.SelectbenchError, match=r"no checkpoint was recorded up to until=0.1; the first is at 0.2"):
        sb.score("el2n", signals, until=0.1)
    with pytest.raises(sb.SelectbenchError, match="until: 2"):
        sb.score("el2n", signals, until=2)


def test_grand_is_the_gradient_norm_of_the_last_layer_sample_by_sample():
    torch.manual_seed(0)
    layer, features, labels = nn.Linear(7, 5).double(), torch.randn(64, 7, dtype=torch.float64), torch.arange(64) % 5
    norms = []
    for sample in range(64):
        loss = nn.functional.cross_entropy(layer(features[sample : sample + 1]), labels[sample : sample + 1])
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
    recorded = sb.Signals(labels=labels.numpy(), features=features.numpy(), logits=layer(features).detach().numpy()[None])
    np.testing.assert_allclose(sb.score("grand", recorded), norms, rtol=1e-12)


def test_grand_reads_the_checkpoint_its_features_come_from(signals):
    last = sb.Signals(labels=signals.labels, ids=signals.ids, features=signals.features, logits=signals.logits[-1:])
    np.testing.assert_array_equal(sb.score("grand", signals), sb.score("grand", last))


def test_full_grand_is_the_mean_of_early_norms_and_another_statistic_than_the_last_layers(signals):
    np.testing.assert_allclose(sb.score("grand_full", signals), signals.gradient_norms.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sb.score("grand_full", signals, until=0.6), signals.gradient_norms[:2].mean(axis=0), rtol=1e-12)
    assert sb.methods.make_method("grand_full", {"until": 0.6}).proxy_share == 0.6


def test_full_and_last_layer_grand_rank_an_untrained_net_differently():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = build_model({"library": "selectbench", "name": "convnet", "width": 8}, "small", (1, 8, 8), 10).eval()
    images, labels = torch.from_numpy(rng.gamma(0.5, size=(300, 1, 8, 8)).astype(np.float32)), torch.arange(300) % 10
    features, logits = (value.detach().numpy() for value in features_and_logits(model, images))
    last = sb.score("grand", sb.Signals(labels=labels.numpy(), features=features, logits=logits))
    norms = measure_norms(model, lambda: [(images, labels)]).numpy()
    full = sb.score("grand_full", sb.Signals(labels=labels.numpy(), gradient_norms=norms[None]))
    assert abs(spearmanr(last, full).statistic) < 0.8
