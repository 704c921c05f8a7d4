"""Text selectors against cases by hand and brute force."""

import numpy as np
import pytest

import selectbench as sb
from selectbench.errors import MissingSignal, SelectbenchError
from selectbench.rl.geometry import normalise_rows


def make(**signals):
    name, first = next(iter(signals.items()))
    num = np.shape(first)[-1 if "influences" in name else 0]
    return sb.Signals(labels=np.arange(num) % 2, **signals)


def test_length_keeps_the_longest_and_its_low_tail_the_shortest():
    signals = make(lengths=np.array([3, 40, 0, 7, 10_000, 12]))
    assert sb.select("length", signals, "1/3").ids.tolist() == [4, 1]
    assert sb.select("length", signals, "1/3", tail="low").ids.tolist() == [2, 0]


def test_rare_words_come_first_and_common_ones_by_the_low_tail():
    signals = make(rarities=np.array([3.0, 9.0, 1.0, 5.0]))
    assert sb.select("rare_words", signals, 0.5).ids.tolist() == [1, 3]
    assert sb.select("rare_words", signals, 0.5, tail="low").ids.tolist() == [2, 0]


@pytest.mark.parametrize(("end", "kept"), [("middle", {1, 4}), ("low", {0, 2}), ("high", {1, 3})])
def test_perplexity_keeps_the_end_it_is_asked_for(end, kept):
    signals = make(perplexities=np.array([5.0, 900.0, 20.0, 1000.0, 50.0]))
    assert set(sb.select("perplexity", signals, 0.4, end=end).ids.tolist()) == kept


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_nearest_validation_is_the_mean_of_the_largest_cosines(neighbours):
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(40, 5)), rng.normal(size=(7, 5))
    scores = sb.score("nearest_validation", make(embeddings=rows, validation_embeddings=targets), neighbours=neighbours)
    for row, score in zip(rows, scores, strict=True):
        cosines = sorted((row @ target / np.linalg.norm(row) / np.linalg.norm(target) for target in targets), reverse=True)
        assert score == pytest.approx(np.mean(cosines[:neighbours]))
    assert np.array_equal(normalise_rows(np.zeros((2, 3))), np.zeros((2, 3)))


def test_embeddings_of_two_encoders_are_refused_and_a_missing_signal_is_named():
    with pytest.raises(SelectbenchError, match=r"validation_embeddings: not as wide as embeddings \(4 and 5\)"):
        make(embeddings=np.ones((3, 5)), validation_embeddings=np.ones((2, 4)))
    with pytest.raises(MissingSignal, match="validation_embeddings"):
        sb.select("nearest_validation", make(embeddings=np.ones((4, 5))), 0.5)
    with pytest.raises(SelectbenchError, match="neighbours: 0 is less than 1"):
        sb.select("nearest_validation", make(embeddings=np.ones((4, 5)), validation_embeddings=np.ones((2, 5))), 0.5, neighbours=0)


def test_k_center_on_embeddings_takes_the_farthest_sample_of_the_whole_pool_each_time():
    rows = np.random.default_rng(1).normal(size=(30, 4))
    taken = sb.select("k_center_embeddings", make(embeddings=rows), 1.0, seed=3).ids.tolist()
    for step in range(1, 30):
        nearest = np.linalg.norm(rows[:, None] - rows[taken[:step]], axis=2).min(axis=1)
        assert nearest[taken[step]] == pytest.approx(nearest.max())


@pytest.mark.parametrize("keep", [0.05, 0.5, 1.0])
def test_deduplication_is_a_random_order_with_near_duplicates_at_its_end(keep):
    rng = np.random.default_rng(2)
    rows = np.repeat(rng.normal(size=(200, 8)), 3, axis=0) + rng.normal(size=(600, 8)) * rng.choice([0.01, 0.6], size=(600, 1))
    signals = make(embeddings=rows)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    order = sb.select("deduplicate", signals, 1.0, seed=5, threshold=1.0).ids.tolist()  # nothing reaches a cosine of 1 with another
    taken, postponed = [], []
    for place in order:
        (postponed if any(units[place] @ units[other] >= 0.9 for other in taken) else taken).append(place)
    assert 250 < len(taken) < 500
    found = sb.select("deduplicate", signals, keep, seed=5).ids.tolist()
    assert found == (taken + postponed)[: len(found)]
    assert sb.select("deduplicate", signals, keep, seed=6).ids.tolist() != found


def test_the_threshold_of_deduplication_is_a_cosine():
    with pytest.raises(SelectbenchError, match="threshold: 9.0 is outside"):
        sb.select("deduplicate", make(embeddings=np.ones((4, 5))), 0.5, threshold=9.0)


def test_less_keeps_the_largest_influences():
    assert sb.select("less", make(influences=np.array([0.1, -2.0, 3.0, 0.5])), 0.5).ids.tolist() == [2, 3]


def test_less_ranks_by_the_largest_influence_on_any_task():
    influences = np.array([[0.1, 0.9, 0.2, 0.3], [0.8, 0.0, 0.7, 0.1]])
    assert sb.select("less", make(influences=influences), 1.0).ids.tolist() == [1, 0, 2, 3]
    averaged = make(influences=influences, sample_influences=influences[:, ::-1])
    assert sb.select("less", averaged, 1.0, similarity="mean_similarity").ids.tolist() == [2, 3, 1, 0]


def test_less_gives_every_task_the_same_number_of_turns():
    """Against the rule written out: in each turn, one task takes the sample with the largest influence on it of those left."""
    influences = np.random.default_rng(4).normal(size=(3, 30)) + np.array([[0.0], [2.0], [-2.0]])  # one task outshines the others
    left, expected = set(range(30)), []
    for turn in range(30):
        best = max(left, key=lambda sample: influences[turn % 3][sample])
        left.remove(best)
        expected.append(best)
    found = sb.select("less", make(influences=influences), 1.0, tasks="turns")
    assert found.ids.tolist() == expected
    assert set(sb.select("less", make(influences=influences), 0.3).ids.tolist()) == set(np.argsort(-influences[1])[:9].tolist())
    order = np.random.default_rng(5).permutation(30)
    moved = sb.select("less", make(influences=influences[:, order], ids=order), 1.0, tasks="turns")
    assert moved.ids.tolist() == expected
