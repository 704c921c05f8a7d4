import numpy as np
import pytest

import selectbench as sb
from selectbench.methods.cg_score import complexity_gaps, relu_kernel


def units(num, dimensions, seed=0):
    rows = np.random.default_rng(seed).normal(size=(num, dimensions))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def delete_and_solve(rows, signs, jitter):
    """The definition: solve with and without each sample."""
    kernel = relu_kernel(rows) + jitter * np.eye(len(rows))
    whole = signs @ np.linalg.solve(kernel, signs)
    gaps = []
    for sample in range(len(rows)):
        rest = np.delete(np.arange(len(rows)), sample)
        gaps.append(whole - signs[rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], signs[rest]))
    return np.array(gaps)


@pytest.mark.parametrize("num", [40, 240])
def test_equals_delete_and_solve(num):
    rows, signs = units(num, 12), np.repeat([1.0, -1.0], num // 2)
    np.testing.assert_allclose(complexity_gaps(rows, signs, 1e-6), delete_and_solve(rows, signs, 1e-6), rtol=1e-8)


def test_kernel_is_its_integral():
    """H is E[⟨x, x'⟩ 1{⟨w, x⟩ ≥ 0, ⟨w, x'⟩ ≥ 0}] over standard normal w."""
    rows = units(6, 4)
    active = np.random.default_rng(1).normal(size=(400_000, 4)) @ rows.T >= 0
    sampled = (active.T.astype(float) @ active) / len(active) * (rows @ rows.T)
    np.testing.assert_allclose(relu_kernel(rows), sampled, atol=4e-3)


def test_scores_are_not_negative_and_do_not_see_signs_or_rotations():
    rows, signs = units(60, 10), np.repeat([1.0, -1.0], 30)
    gaps = complexity_gaps(rows, signs, 1e-6)
    assert (gaps >= 0).all()
    np.testing.assert_allclose(complexity_gaps(rows, -signs, 1e-6), gaps, rtol=1e-10)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(10, 10)))
    np.testing.assert_allclose(complexity_gaps(rows @ rotation, signs, 1e-6), gaps, rtol=1e-6)


def test_duplicates_are_finite_and_without_jitter_an_error():
    rows = np.concatenate([units(20, 5)] * 2)
    labels = np.tile(np.repeat([0, 1], 10), 2)
    scores = sb.score("cg_score", sb.Signals(labels=labels, inputs=rows))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[:20], scores[20:], rtol=1e-3)
    with pytest.raises(sb.SelectbenchError, match="singular; set jitter above 0"):
        sb.score("cg_score", sb.Signals(labels=np.zeros(4, dtype=int), inputs=np.ones((4, 3))), jitter=0.0)


def test_only_the_direction_of_an_input_counts_and_black_images_are_no_problem():
    rng = np.random.default_rng(0)
    labels, inputs = np.arange(30) % 3, rng.random((30, 2, 4))
    scores = sb.score("cg_score", sb.Signals(labels=labels, inputs=inputs))
    np.testing.assert_allclose(
        sb.score("cg_score", sb.Signals(labels=labels, inputs=inputs * rng.uniform(1, 9, (30, 1, 1)))), scores, rtol=1e-6
    )
    inputs[4] = 0
    assert np.isfinite(sb.score("cg_score", sb.Signals(labels=labels, inputs=inputs))).all()


def test_repeats_average_draws_and_small_classes_meet_all_others():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [40, 8, 1])
    signals = sb.Signals(labels=labels, inputs=rng.normal(size=(49, 6)))
    one, many = (sb.score("cg_score", signals, repeats=repeats) for repeats in (1, 8))
    assert not np.allclose(one[labels == 1], many[labels == 1])
    np.testing.assert_allclose(one[labels == 0], many[labels == 0], rtol=1e-9)  # 40 members meet all 9 others in every draw
    assert sb.methods.make_method("cg_score", {}).needs_proxy() is False
