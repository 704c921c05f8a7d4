"""What a user's own method or sampler returns is checked where it is used: shapes, whole numbers, NaN and infinity."""

from dataclasses import dataclass

import numpy as np
import pytest

import selectbench as sb
from selectbench.dynamic import DynamicSampler
from selectbench.errors import SelectbenchError
from selectbench.methods import Method
from selectbench.selection import check_scores, choose_kept

NUM, NUM_KEPT = 6, 3
NAN, INFINITY = float("nan"), float("inf")


@dataclass(frozen=True, kw_only=True)
class Returning(Method):
    """A method that chooses whatever it is told."""

    positions: str = "0, 1, 2"
    citation = "none"

    def score(self, signals, seed):
        return np.zeros(len(signals))

    def choose(self, scores, signals, num_kept, seed):
        return eval(f"np.array([{self.positions}])")


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([1.0, NAN, NAN, 0, 0, 0], "method 'mine': the score at position 1 is nan (2 of 6 are not finite)"),
        ([1.0, 0, 0, 0, INFINITY, 0], "method 'mine': the score at position 4 is inf (1 of 6 are not finite)"),
        ([1.0] * 5, "method 'mine': scores (5,) are not one for each of 6 samples"),
        (np.zeros((6, 1)), "method 'mine': scores (6, 1) are not one for each of 6 samples"),
        (0.5, "method 'mine': scores () are not one for each of 6 samples"),
        ([[1.0], [1.0, 2.0]], "method 'mine': scores: its rows have different lengths; give every sample as many numbers, e.g. by pooling"),
        (["a"] * 6, "method 'mine': scores: holds text ('a'), not numbers"),
        (None, "method 'mine': scores: holds object, not numbers"),
    ],
)
def test_scores_that_are_not_one_number_per_sample_are_refused(scores, told):
    with pytest.raises(SelectbenchError) as raised:
        check_scores("mine", scores, NUM)
    assert str(raised.value) == told


def test_samples_that_a_greedy_method_did_not_reach_have_minus_infinity():
    assert check_scores("mine", [1, 0, -INFINITY], 3).tolist() == [1.0, 0.0, -INFINITY]


@pytest.mark.parametrize(
    ("positions", "told"),
    [
        ("0, 1", "chose (2,) of int64, not 3 positions"),
        ("[0, 1, 2]", "chose (1, 3) of int64, not 3 positions"),
        ("0.0, 1.0, 2.0", "chose (3,) of float64, not 3 positions"),
        ("True, False, True", "chose (3,) of bool, not 3 positions"),
        ("0, 1, 6", "chose positions that are not 3 different ones among 0 … 5"),
        ("-1, 1, 2", "chose positions that are not 3 different ones among 0 … 5"),
        ("1, 1, 2", "chose positions that are not 3 different ones among 0 … 5"),
    ],
)
def test_positions_that_are_not_those_of_a_subset_are_refused(positions, told):
    signals = sb.Signals(labels=np.zeros(NUM, dtype=np.int64))
    with pytest.raises(SelectbenchError) as raised:
        choose_kept("mine", Returning(positions=positions), np.zeros(NUM), signals, NUM_KEPT, 0)
    assert str(raised.value) == f"method 'mine': {told}"
    assert choose_kept("mine", Returning(positions="5, 0, 3"), np.zeros(NUM), signals, NUM_KEPT, 0).tolist() == [5, 0, 3]


@dataclass(kw_only=True, eq=False)
class Rule(DynamicSampler):
    """A sampler that returns whatever it is told."""

    chosen: str = "0, 1, 2"
    weighed: str = "1.0, 1.0, 1.0"
    measured: str = "{}"

    citation = "none"
    watches = False
    measures = ("gain",)

    def choose(self, seed):
        return eval(f"np.array([{self.chosen}])")

    def weigh(self, chosen):
        return np.ones(len(chosen)) if len(chosen) == self.num_samples else eval(f"np.array([{self.weighed}])", {"np": np, "nan": NAN})

    def learn(self, batch):
        return eval(self.measured, {"np": np, "nan": NAN})


def make_rule(**told):
    return Rule(num_samples=NUM, keep=0.5, epochs=8, warmup=0, **told)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ({"chosen": "0.0, 1.0, 2.0"}, "choose returned (3,) of float64, not (k,) ids"),
        ({"chosen": "[0, 1, 2]"}, "choose returned (1, 3) of int64, not (k,) ids"),
        ({"chosen": "True, False, True"}, "choose returned (3,) of bool, not (k,) ids"),
        ({"chosen": ""}, "choose returned (0,) of float64, not (k,) ids"),
        ({"chosen": "0, 1, 6"}, "choose returned ids that are not different ones among 0 … 5"),
        ({"chosen": "0, -1, 2"}, "choose returned ids that are not different ones among 0 … 5"),
        ({"chosen": "0, 2, 2"}, "choose returned ids that are not different ones among 0 … 5"),
        ({"weighed": "1.0, 1.0"}, "weigh returned (2,) for (3,) ids; give one weight per sample"),
        ({"weighed": "[1.0], [1.0], [1.0]"}, "weigh returned (3, 1) for (3,) ids; give one weight per sample"),
        ({"weighed": "nan, nan, nan"}, "give finite weights other than 0"),
        ({"weighed": "np.inf, 1.0, 1.0"}, "weigh returned inf for sample"),
        ({"weighed": "1.0, 0.0, 1.0"}, "weigh returned 0.0 for sample"),
    ],
)
def test_an_epoch_that_a_sampler_cannot_have_is_refused(returned, told):
    with pytest.raises(SelectbenchError) as raised:
        list(make_rule(**returned))
    assert told in str(raised.value) and str(raised.value).startswith("test_custom_rules: ")


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ("{'gain': nan}", "test_custom_rules: learn: gain returned nan, which is not finite"),
        ("{'gain': np.ones(2)}", "test_custom_rules: learn: gain returned an array of shape (2,), which is no number"),
        ("{'gian': 1.0}", "test_custom_rules: learn returned 'gian', which is no measure of it; did you mean 'gain'?"),
    ],
)
def test_measurements_that_the_trace_cannot_hold_are_refused(measured, told):
    rule = make_rule(measured=measured)
    ids = list(rule)
    with pytest.raises(SelectbenchError) as raised:
        rule.observe(ids, np.ones(len(ids)))
    assert str(raised.value) == told


def test_a_sampler_of_ones_own_runs_and_keeps_its_weights():
    rule = make_rule(chosen="4, 0, 2", weighed="2.0, 2.0, 2.0", measured="{'gain': 0.5}")
    ids = list(rule)
    rule.observe(ids, [1.0, 2.0, 3.0])
    assert sorted(ids) == [0, 2, 4] and rule.weights(ids).tolist() == [2.0] * 3
    assert rule.trace[-1] == {"epoch": 0, "kept": 3, "observed": 3, "batches": 1, "loss": 2.0, "gain": 0.5}
