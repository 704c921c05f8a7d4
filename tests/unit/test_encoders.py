from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import selectbench as sb
from selectbench.data.splits import ArraySplit
from selectbench.models.factory import build_model
from selectbench.planning.config import read_yaml
from selectbench.seeds import isolated_torch_rng
from selectbench.training.encoders import SimCLR, SimCLRRecipe, Views, contrastive_loss, draw_view, embed_pretrained, warp
from selectbench.training.engine import Checkpoint, predict, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.pools import open_pool

STILL = Views(zoom=0, rotate=0, shift=0, flip=False, tone=0, grey=0)
LIVELY = Views(zoom=0.3, rotate=20, shift=0.1, flip=True, tone=0.3, grey=0.2)


def make_pool(folder, images, labels):
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return open_pool(ArraySplit(folder), [0.5] * images.shape[1], [0.25] * images.shape[1], torch.device("cpu"))


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    return make_pool(tmp_path, rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, 20))


def test_a_view_is_a_function_of_stream_and_sample_alone(pool):
    whole = draw_view(pool, np.arange(20), LIVELY, ("view", 1))
    part = draw_view(pool, np.array([13, 4]), LIVELY, ("view", 1))
    torch.testing.assert_close(part, whole[[13, 4]])
    assert not torch.allclose(draw_view(pool, np.arange(20), LIVELY, ("view", 2)), whole)


def test_without_changes_a_view_is_the_image(pool):
    positions = np.arange(20)
    torch.testing.assert_close(draw_view(pool, positions, STILL, ("view",)), pool.normalise(pool.load(positions)), atol=1e-5, rtol=0)


def test_flips_mirror_half_of_the_views_and_grey_takes_the_colour(pool):
    positions = np.arange(20)
    clean = pool.normalise(pool.load(positions))
    views = draw_view(pool, positions, replace(STILL, flip=True), ("view",))
    mirrored = [torch.allclose(view, image.flip(2), atol=1e-5) for view, image in zip(views, clean, strict=True)]
    same = [torch.allclose(view, image, atol=1e-5) for view, image in zip(views, clean, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 4 <= sum(mirrored) <= 16
    grey = draw_view(pool, positions, replace(STILL, grey=1.0), ("view",))
    torch.testing.assert_close(grey, clean.mean(dim=1, keepdim=True).expand_as(clean), atol=1e-5, rtol=0)


def test_warps_turn_zoom_and_shift():
    images = torch.rand(2, 1, 8, 8)
    one, none = torch.ones(2), torch.zeros(2)
    turned = warp(images, one, one * torch.pi / 2, one, none, none)
    torch.testing.assert_close(turned, images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    shifted = warp(images, one, none, one, one * 2 / 8, none)
    torch.testing.assert_close(shifted[..., :-1], images[..., 1:], atol=1e-5, rtol=0)
    middle = warp(images, one / 2, none, one, none, none)
    assert middle.min() >= images[..., 1:7, 1:7].min() - 1e-6


def test_training_without_labels_draws_classes_together(root, tmp_path):
    inputs, labels = load_digits(return_X_y=True)
    pool = make_pool(tmp_path, np.round(inputs[:700] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8), labels[:700])
    entry = read_yaml(root / "config/encoders.yaml", "encoders")["digits_simclr"]
    recipe = replace(SimCLRRecipe.from_config(entry), epochs=30)
    with isolated_torch_rng(0):
        encoder = build_model({"library": "selectbench", "name": "convnet", "width": 16}, recipe.stem, (1, 8, 8), 10)
        model = SimCLR(encoder, recipe.projection)

    def neighbours_agree():
        rows = np.concatenate([features.numpy() for _, features, _ in predict(encoder, pool)])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return KNeighborsClassifier(5).fit(rows[:500], labels[:500]).score(rows[500:], labels[500:700])

    before = neighbours_agree()
    stream = ("encoder", "test")
    progress = train_model(
        model,
        pool,
        visit_subset(np.arange(700), 700, recipe, "equal_epochs"),
        recipe,
        stream=stream,
        batch_loss=contrastive_loss(pool, recipe, stream),
        on_epoch_end=lambda epoch, model, progress: None,
        checkpoint=Checkpoint(tmp_path / "state.pt", "key"),
    )
    assert progress.final_loss < np.log(2 * 256 - 1)
    assert neighbours_agree() > before + 0.1


def test_pretrained_weights_come_from_a_file(pool, tmp_path):
    import timm

    with isolated_torch_rng(0):
        model = timm.create_model("mobilenetv3_small_050.lamb_in1k", pretrained=False).eval()
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    embeddings = embed_pretrained(pool, "mobilenetv3_small_050.lamb_in1k", str(path))
    assert embeddings.shape == (20, model.num_features if not hasattr(model, "head_hidden_size") else model.head_hidden_size)
    again = embed_pretrained(pool, "mobilenetv3_small_050.lamb_in1k", str(path))
    np.testing.assert_array_equal(embeddings, again)
    assert np.ptp(embeddings, axis=0).max() > 0


def test_a_pretrained_model_that_cannot_be_had_is_named(pool, tmp_path):
    with pytest.raises(sb.SelectbenchError, match=r"timm has no pretrained model 'resnet18.nonsense'"):
        embed_pretrained(pool, "resnet18.nonsense", None)
    with pytest.raises(
        sb.SelectbenchError, match=r"weights: 'mobilenetv3_small_050.lamb_in1k' cannot be loaded .*give a file with its weights"
    ):
        embed_pretrained(pool, "mobilenetv3_small_050.lamb_in1k", str(tmp_path / "nothing.pth"))
