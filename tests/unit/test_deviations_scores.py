"""Deviations of published code that change numbers: how scores are computed and how they become a subset."""

import itertools
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import selectbench as sb
from selectbench.seeds import derive_seed, hash_ids

NUM = 600


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The first 600 of scikit-learn's digits, scaled to 0 … 1, and their classes."""
    everything = load_digits()
    return everything.data[:NUM] / 16, everything.target[:NUM]


def train_softmax(inputs: np.ndarray, labels: np.ndarray, epochs: int = 20, rate: float = 0.5, seed: int = 0) -> np.ndarray:
    """Train softmax regression by SGD on batches of 20; return the logits after every epoch (T, N, 10)."""
    rng, rows = np.random.default_rng(seed), np.c_[inputs, np.ones(len(inputs))]
    weights, history = np.zeros((rows.shape[1], 10)), []
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(rows)), len(rows) // 20):
            weights -= rate * rows[batch].T @ prediction_errors(rows[batch] @ weights, labels[batch]) / len(batch)
        history.append(rows @ weights)
    return np.stack(history)


def prediction_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return probabilities / probabilities.sum(axis=-1, keepdims=True) - np.eye(10)[labels]


def count_events(history: np.ndarray) -> int:
    """The paper's count for one sample: right, then wrong; T if it was never right."""
    events = sum(bool(now) and not after for now, after in itertools.pairwise(history))
    return events if history.any() else len(history)


def count_events_with_never_learnt_at_zero(correct: np.ndarray) -> np.ndarray:
    return (correct[:-1] & ~correct[1:]).sum(axis=0).astype(float)


def test_never_learnt_samples_at_zero_turn_label_noise_round(digits):
    """Forgetting with a fifth of the labels wrong: 95 % of a kept fifth are mislabelled, or 11 %."""
    inputs, labels = digits
    rng = np.random.default_rng(1)
    noisy = rng.permutation(NUM) < NUM // 5
    labels = np.where(noisy, (labels + rng.integers(1, 10, NUM)) % 10, labels)
    correct = train_softmax(inputs, labels).argmax(axis=2) == labels
    ours, deviating = sb.score("forgetting", sb.Signals(labels=labels, correct=correct)), count_events_with_never_learnt_at_zero(correct)
    assert ours.tolist() == [count_events(history) for history in correct.T]
    assert noisy[sb.take(ours, 0.2).ids].mean() > 0.8
    assert noisy[sb.take(deviating, 0.2).ids].mean() < 0.2
    assert noisy[sb.take(ours, 0.5, tail="low").ids].mean() < 0.05
    assert noisy[sb.take(deviating, 0.5, tail="low").ids].mean() > 0.1


def norms_of_the_mean_error(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.linalg.norm(prediction_errors(logits, labels).mean(axis=0), axis=1)


def means_of_the_norms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The definition, run by run and sample by sample."""
    return np.array([np.mean([np.linalg.norm(error) for error in runs]) for runs in prediction_errors(logits, labels).swapaxes(0, 1)])


def test_averaging_errors_before_the_norm_lets_runs_cancel(digits):
    """EL2N over ten runs. On digits, scores fall by up to 15 % and few ranks change; in a case by hand, two samples swap."""
    inputs, labels = digits
    runs = np.stack([train_softmax(inputs, labels, epochs=1, rate=5.0, seed=seed)[-1] for seed in range(10)])
    ours, deviating = sb.score("el2n", sb.Signals(labels=labels, logits=runs)), norms_of_the_mean_error(runs, labels)
    np.testing.assert_allclose(ours, means_of_the_norms(runs, labels), rtol=1e-10)
    assert (deviating <= ours + 1e-12).all()
    assert (deviating / ours).min() < 0.95
    kept = [set(sb.take(scores, 0.2).ids.tolist()) for scores in (ours, deviating)]
    assert 0.8 * NUM * 0.2 < len(kept[0] & kept[1]) < NUM * 0.2
    disagreeing = 20.0 * np.eye(10)[1:]  # nine runs, each confident in a different wrong class
    agreeing = np.tile(np.log([0.1, 0.9, *[1e-9] * 8]), (9, 1))  # and nine less confident ones, in the same class
    logits, wrong = np.stack([disagreeing, agreeing], axis=1), np.zeros(2, dtype=int)
    assert np.round(means_of_the_norms(logits, wrong), 2).tolist() == [1.41, 1.27]
    assert np.round(norms_of_the_mean_error(logits, wrong), 2).tolist() == [1.05, 1.27]
    assert sb.select("el2n", sb.Signals(labels=wrong, logits=logits), 0.5).ids.tolist() == [0]


def sum_squared_distances(rows: np.ndarray) -> np.ndarray:
    return np.square(rows[:, None] - rows[None]).sum(axis=(1, 2))


@pytest.mark.parametrize("kind", ["by hand", "digits"])
def test_squared_distances_only_rank_by_the_distance_to_the_mean(digits, kind):
    """Sample cover: the sum of distances reflects that a class has two modes, the sum of squared distances does not."""
    rng, (inputs, labels) = np.random.default_rng(0), digits
    if kind == "by hand":
        one, other = rng.normal(size=(250, 3)), rng.normal(size=(50, 3)) + np.array([8, 0, 0])
    else:
        one, other = inputs[labels == 0], inputs[labels == 1][:12]
    correlation = {}
    for modes, rows in (("one", one), ("two", np.concatenate([one, other]))):
        from_mean = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
        ours = sb.sample_cover(rows, np.zeros(len(rows), dtype=int))
        np.testing.assert_allclose(ours, [np.linalg.norm(rows - row, axis=1).sum() for row in rows], rtol=1e-10)
        correlation[modes] = [spearmanr(scores, from_mean).statistic for scores in (sum_squared_distances(rows), ours)]
    assert correlation["one"] == pytest.approx([1, 1], abs=0.003)
    assert correlation["two"][0] == pytest.approx(1, abs=1e-6)
    assert correlation["two"][1] < (0.95 if kind == "by hand" else 0.995)


def keep_uncertain_with_a_flip(margins: np.ndarray, labels: np.ndarray, share: float, balanced: bool) -> np.ndarray:
    """Ascending margins within classes, descending margins over all: one name, opposite ends."""
    if not balanced:
        return np.argsort(margins)[::-1][: round(share * len(margins))]
    members = [np.flatnonzero(labels == label) for label in range(10)]
    return np.concatenate([one[np.argsort(margins[one])[: round(share * len(one))]] for one in members])


def test_one_name_for_opposite_tails_keeps_disjoint_subsets(digits):
    """Uncertainty as the margin between the two largest probabilities; here the end to keep is a parameter."""
    inputs, labels = digits
    logits = train_softmax(inputs, labels)[-1]
    ordered = np.sort(prediction_errors(logits, labels) + np.eye(10)[labels], axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    balanced, overall = (keep_uncertain_with_a_flip(margins, labels, 0.1, balanced) for balanced in (True, False))
    assert not set(balanced) & set(overall)
    assert margins[overall].mean() - margins[balanced].mean() > 0.4
    for tail, sign in (("low", 1), ("high", -1)):
        ends = {quota: sb.take(margins, 0.1, labels=labels, quota=quota, tail=tail).ids for quota in ("none", "proportional", "equal")}
        assert set(ends["none"]) == set(np.argsort(sign * margins)[:60])
        for quota in ("proportional", "equal"):
            for label in range(10):
                members = np.flatnonzero(labels == label)
                mine = [i for i in ends[quota] if labels[i] == label]
                assert mine == members[np.argsort(sign * margins[members])][: len(mine)].tolist()
        assert sign * (margins[ends["equal"]].mean() - margins.mean()) < 0


def keep_by_masked_scores(scores: np.ndarray, labels: np.ndarray, num_kept: int) -> np.ndarray:
    """For each class the top of scores · mask: where these are negative, the zeros of other classes are higher."""
    order = [np.argsort(-scores * (labels == label), kind="stable")[: num_kept // 10] for label in range(10)]
    return np.concatenate(order)


def test_masking_classes_by_multiplication_loses_places_to_zeros(digits):
    """MoSo's last step: 150 requested, fewer kept, with the losses centred or all scores negative. Adding a constant fixes it."""
    inputs, labels = digits
    errors = prediction_errors(train_softmax(inputs, labels)[-1], labels)
    losses = -np.log1p(errors[np.arange(NUM), labels])
    expected = {i for label in range(10) for i in np.flatnonzero(labels == label)[np.argsort(-losses[labels == label])[:15]]}
    for scores, most in ((losses - losses.mean(), 135), (losses - losses.max() - 1, 30)):
        assert len(set(keep_by_masked_scores(scores, labels, 150))) < most
        assert set(keep_by_masked_scores(scores + 100, labels, 150)) == expected
        for shift in (0, 100):
            assert set(sb.take(scores + shift, 0.25, labels=labels, quota="equal").ids) == expected
    assert len(expected) == 150


def fill_strata_below_a_stretched_maximum(scores: np.ndarray, num_strata: int = 50) -> np.ndarray:
    """Request everything: the members of half-open strata from the minimum to 1.0001 times the maximum."""
    edges = np.linspace(scores.min(), scores.max() * 1.0001, num_strata + 1)
    members = [np.flatnonzero((scores >= low) & (scores < high)) for low, high in itertools.pairwise(edges)]
    return np.concatenate(members)


def test_an_upper_edge_by_multiplication_loses_the_maximum_of_negative_scores(digits):
    """CCS with all scores negative: 600 requested, 599 kept, and the lost one is the easiest."""
    inputs, labels = digits
    errors = prediction_errors(train_softmax(inputs, labels), labels)
    scores = np.log1p(errors[:, np.arange(NUM), labels]).mean(axis=0)  # mean over epochs of log p(label)
    assert scores.max() < 0
    kept = fill_strata_below_a_stretched_maximum(scores)
    assert set(range(NUM)) - set(kept.tolist()) == {int(scores.argmax())}
    assert len(fill_strata_below_a_stretched_maximum(scores - scores.min())) == NUM
    for shift in (0.0, -scores.min()):
        ids = sb.select("ccs", sb.Signals(labels=labels, aum=scores + shift), 1, cut=0).ids
        assert sorted(ids.tolist()) == list(range(NUM))


def count_places_by_the_last_class(labels: np.ndarray, share: float) -> list[int]:
    """A loop over the classes leaves behind the size of the last one, which a second loop uses."""
    for label in np.unique(labels):
        size = (labels == label).sum()
    return [int(size * share) for _ in np.unique(labels)]


def test_the_size_of_the_last_class_is_not_that_of_all():
    """CCS by class: half of 900, 90 and 10 is 5, 5 and 5 there."""
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    signals = sb.Signals(labels=labels, aum=np.random.default_rng(0).uniform(-1, 1, 1000))
    assert count_places_by_the_last_class(labels, 0.5) == [5, 5, 5]
    assert np.bincount(labels[sb.select("ccs", signals, 0.5, quota="proportional").ids]).tolist() == [450, 45, 5]


def count_between_rounded_quantiles(num: int, keep: str) -> int:
    return round(num * (0.5 + float(keep) / 2)) - round(num * (0.5 - float(keep) / 2))


def count_by_rounded_classes(sizes: list[int], keep: str) -> int:
    return sum(round(float(keep) * size) for size in sizes)


def count_truncated(num: int, keep: str) -> int:
    return int(num * float(keep))


def test_rounding_twice_or_class_by_class_misses_k(digits):
    """At 10 %, two of 10 are kept, and twenty of ten classes of 15; at 29 %, twenty-eight of 100."""
    assert [count_between_rounded_quantiles(10, "0.1"), len(sb.take(np.arange(10), "0.1"))] == [2, 1]
    fifteen = np.repeat(np.arange(10), 15)
    ours = [len(sb.take(np.arange(150), "0.1", labels=fifteen, quota=quota)) for quota in ("none", "proportional", "equal")]
    assert [count_by_rounded_classes([15] * 10, "0.1"), *ours] == [20, 15, 15, 15]
    assert [count_truncated(100, "0.29"), len(sb.take(np.arange(100), "0.29"))] == [28, 29]
    wrong = {"quantiles": 0, "classes": 0, "truncated": 0}
    _, labels = digits
    cases = [(num, f"0.{hundredths:02}") for num in range(100, 601, 25) for hundredths in range(5, 100, 5)]
    for num, keep in cases:
        exact = int((Decimal(keep) * num).quantize(Decimal(1), ROUND_HALF_EVEN))
        sizes = np.bincount(labels[:num])
        assert len(sb.take(np.arange(num), keep, labels=labels[:num], quota="proportional")) == exact
        wrong["quantiles"] += count_between_rounded_quantiles(num, keep) != exact
        wrong["classes"] += count_by_rounded_classes(sizes.tolist(), keep) != exact
        wrong["truncated"] += count_truncated(num, keep) != exact
    assert min(wrong.values()) > len(cases) / 20


def keep_by_reversed_argsort(scores: np.ndarray, num_kept: int) -> np.ndarray:
    return np.argsort(scores)[::-1][:num_kept]


def test_ties_that_follow_the_order_of_the_data_change_the_subset_with_it(digits):
    """Forgetting counts: most samples share the count 0, so a shuffled pool gives a different subset."""
    inputs, labels = digits
    counts = sb.score("forgetting", sb.Signals(labels=labels, correct=train_softmax(inputs, labels).argmax(axis=2) == labels))
    assert (counts == 0).mean() > 0.7
    orders = [np.arange(NUM), *(np.random.default_rng(seed).permutation(NUM) for seed in range(3))]
    deviating = [set(order[keep_by_reversed_argsort(counts[order], 180)].tolist()) for order in orders]
    assert all(len(deviating[0] & other) < 0.6 * 180 for other in deviating[1:])
    ours = [sb.take(counts[order], 0.3, ids=order, seed=5).ids.tolist() for order in orders]
    key = dict(enumerate(hash_ids(np.arange(NUM), 5).tolist()))
    assert ours == [sorted(range(NUM), key=lambda i: (-counts[i], key[i]))[:180]] * 4


def test_repeats_that_share_a_seed_have_no_spread(digits):
    """Five repeats of a random 5 %: one subset and a spread of 0 if they share a seed; ours spread like independent draws."""
    inputs, labels = digits
    everything = load_digits()
    tests, answers = everything.data[1000:] / 16, everything.target[1000:]

    def accuracy(ids):
        """Nearest class mean, in percent."""
        classes = np.unique(labels[ids])
        means = np.stack([inputs[ids][labels[ids] == label].mean(axis=0) for label in classes])
        return 100 * (classes[np.square(tests[:, None] - means).sum(axis=2).argmin(axis=1)] == answers).mean()

    def spread(subsets):
        return np.std([accuracy(ids) for ids in subsets], ddof=1)

    one_seed = [np.random.default_rng(0).permutation(NUM)[:30] for _ in range(5)]
    assert spread(one_seed) == 0
    seeds = [derive_seed("selection", "digits", "none", "random", repeat) for repeat in range(5)]
    ours = [sb.select("random", sb.Signals(labels=labels), 0.05, seed=seed).ids for seed in seeds]
    assert len({tuple(sorted(ids)) for ids in ours}) == 5
    independent = spread([np.random.default_rng(seed).permutation(NUM)[:30] for seed in range(100)])
    assert independent / 2 < spread(ours) < independent * 2
    assert independent > 2
