import numpy as np
import pytest

import selectbench as sb


def tdds_of_outputs(probabilities, window, decay):
    """The rule from the outputs of every epoch (T, N, C), sample by sample and window by window."""
    epochs, num, _ = probabilities.shape
    scores = np.zeros(num)
    for sample in range(num):
        for start in range(epochs - window + 1):
            changes = []
            for epoch in range(start, start + window - 1):
                old, new = probabilities[epoch, sample], probabilities[epoch + 1, sample]
                changes.append(sum(abs(new[c] * np.log(new[c] / old[c])) for c in range(len(new))))
            mean = sum(changes) / len(changes)
            deviation = np.sqrt(sum((change - mean) ** 2 for change in changes))
            scores[sample] += decay * (1 - decay) ** (epochs - window - start) * deviation
    return scores


def divergences_of(probabilities):
    return np.abs(probabilities[1:] * np.log(probabilities[1:] / probabilities[:-1])).sum(axis=2)


@pytest.mark.parametrize(("window", "decay"), [(3, 0.9), (4, 0.5), (7, 1.0)])
def test_equals_the_rule_written_out(window, decay):
    exponentials = np.exp(np.random.default_rng(0).normal(size=(7, 12, 4)))
    probabilities = exponentials / exponentials.sum(axis=2, keepdims=True)
    signals = sb.Signals(labels=np.arange(12) % 4, divergences=divergences_of(probabilities))
    expected = tdds_of_outputs(probabilities, window, decay)
    np.testing.assert_allclose(sb.score("tdds", signals, window=window, decay=decay), expected, rtol=1e-12)


def test_a_case_by_hand():
    signals = sb.Signals(labels=[0, 1], divergences=[[1.0, 2.0], [3.0, 2.0]])
    np.testing.assert_allclose(sb.score("tdds", signals, window=3), [0.9 * np.sqrt(2.0), 0.0], atol=1e-15)


def test_the_last_window_weighs_most():
    early, late = np.zeros((6, 1)), np.zeros((6, 1))
    early[0] = late[5] = 1.0
    score = {
        name: sb.score("tdds", sb.Signals(labels=[0], divergences=rows), window=3)[0]
        for name, rows in {"early": early, "late": late}.items()
    }
    assert score["late"] == pytest.approx(0.9 * np.sqrt(0.5))
    assert score["early"] == pytest.approx(score["late"] * 0.1**4)


def test_steady_outputs_score_nothing():
    signals = sb.Signals(labels=np.zeros(5, int), divergences=np.full((9, 5), 0.3))
    np.testing.assert_allclose(sb.score("tdds", signals), 0.0, atol=1e-15)


def test_only_the_first_epochs_count_and_are_paid_for(signals):
    first = sb.Signals(labels=signals.labels, ids=signals.ids, divergences=signals.divergences[:3])
    np.testing.assert_array_equal(sb.score("tdds", signals, until=4 / 7), sb.score("tdds", first))
    assert sb.methods.make_method("tdds", {"until": 0.5}).proxy_share == 0.5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 2}, "window: 2 is less than 3"),
        ({"decay": 0.0}, r"decay: 0.0 is outside \(0, 1\]"),
        ({"window": 9}, "the first 7 epochs hold no window of 9"),
        ({"until": 0.3}, "the first 2 epochs hold no window of 4"),
    ],
)
def test_windows_that_cannot_be_are_named(signals, parameters, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.score("tdds", signals, **parameters)
