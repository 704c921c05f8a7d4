import itertools

import numpy as np

import selectbench as sb


def bits(*rows: str) -> np.ndarray:
    """Histories as strings, one per sample → (T, N)."""
    return np.array([[character == "1" for character in row] for row in rows]).T


HISTORIES = bits("000000", "111111", "010101", "100000", "011011")


def test_scripted_histories():
    scores = sb.score("forgetting", sb.Signals(labels=np.zeros(5, dtype=int), correct=HISTORIES))
    assert scores.tolist() == [6, 0, 2, 1, 1]


def test_runs_are_summed_and_never_learnt_counts_in_each_run():
    runs = np.stack([HISTORIES, HISTORIES[::-1]])
    scores = sb.score("forgetting", sb.Signals(labels=np.zeros(5, dtype=int), correct=runs))
    assert scores.tolist() == [6 + 6, 0, 2 + 3, 1 + 0, 1 + 2]


def test_equals_the_event_loop():
    correct = np.random.default_rng(0).random((30, 200)) < 0.6
    expected = []
    for history in correct.T:
        events = sum(bool(now) and not after for now, after in itertools.pairwise(history))
        expected.append(events if history.any() else 30)
    assert sb.score("forgetting", sb.Signals(labels=np.zeros(200, dtype=int), correct=correct)).tolist() == expected


def test_never_learnt_samples_are_kept_first():
    subset = sb.select("forgetting", sb.Signals(labels=np.zeros(5, dtype=int), correct=HISTORIES), 0.4)
    assert subset.ids.tolist() == [0, 2]
