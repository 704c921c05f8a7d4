"""The statistical rule by hand, and its error rates and power in simulated benchmarks."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from selectbench.artefacts.decisions import (
    Effect,
    decide_every,
    decide_some,
    find_contradictions,
    find_effect,
    find_level,
    find_p,
    find_p_against,
    find_seeds,
    is_negligible,
    list_shares,
)

LEVEL = find_level(0.95)
SIMULATIONS = 1000


def test_p_values_are_those_of_students_t():
    quantile = float(stdtrit(4, 0.975))  # 2.776: a mean of that many standard errors has a one-sided p of 2.5 %
    effect = Effect(quantile / math.sqrt(5), 1.0, 5)
    assert find_p(effect) == pytest.approx(0.025)
    assert find_p_against(effect) == pytest.approx(0.975)
    assert find_p(Effect(3.0, 0.1, 1)) == 1.0  # one seed proves nothing


def test_nothing_is_shown_below_the_least_number_of_seeds():
    clear = Effect(3.0, 0.1, 3, margin=1.0, least=5)
    assert find_p(clear) == find_p_against(clear._replace(mean=-3.0)) == 1.0 and not is_negligible(clear._replace(mean=0.0), LEVEL)
    assert find_p(clear._replace(n=5)) < 0.001
    assert find_seeds(lambda n: decide_every([clear._replace(n=n)], [], LEVEL)) == 5


def test_equal_costs_are_certain():
    assert [find_p(Effect(mean, 0.0, 3)) for mean in (0.1, 0.0, -0.1)] == [0.0, 1.0, 1.0]
    assert [find_p_against(Effect(mean, 0.0, 3)) for mean in (0.1, 0.0, -0.1)] == [1.0, 0.0, 0.0]


def test_two_one_sided_tests_place_a_mean_within_the_margin():
    half_width = float(stdtrit(4, 0.975)) * 0.5 / math.sqrt(5)  # 0.62
    assert is_negligible(Effect(0.3, 0.5, 5, margin=0.3 + half_width + 1e-6), LEVEL)
    assert not is_negligible(Effect(0.3, 0.5, 5, margin=0.3 + half_width - 1e-6), LEVEL)
    assert not is_negligible(Effect(0.0, 0.001, 5), LEVEL)  # nothing is, without a declared margin


def test_holms_correction_by_hand():
    def make(p: float) -> Effect:
        return Effect(-float(stdtrit(4, 1 - p)) / math.sqrt(5), 1.0, 5)

    effects = [make(0.004), make(0.0124), make(0.5), make(0.009)]
    # 4 × 0.004 = 0.016, 3 × 0.009 = 0.027 > 0.025: stops there, although 2 × 0.0124 would pass
    assert find_contradictions(effects, LEVEL) == [effects[0]]
    assert find_contradictions([make(0.004), make(0.008), make(0.0124), make(0.5)], LEVEL) == [make(0.004), make(0.008), make(0.0124)]
    assert find_contradictions([], LEVEL) == []


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([Effect(2.0, 0.5, 5, 1.0), Effect(1.0, 0.5, 5, 1.0)], "supported"),
        ([Effect(2.0, 0.5, 5, 1.0), Effect(-1.5, 0.5, 5, 1.0)], "contradicted"),
        ([Effect(2.0, 0.5, 5, 1.0), Effect(0.1, 0.5, 5, 1.0)], "equivalent"),
        ([Effect(2.0, 0.5, 5, 1.0), Effect(0.1, 2.0, 5, 1.0)], "undecided"),
        ([], "undecided"),
    ],
)
def test_every_outcome_of_comparisons_that_must_all_hold(effects, verdict):
    assert decide_every(effects, [], LEVEL) == verdict


def test_means_over_keep_fractions_decide_where_single_comparisons_do_not():
    single = [Effect(1.0, 1.2, 5)] * 3
    assert decide_every(single, [], LEVEL) == "undecided"
    assert decide_every(single, [Effect(1.0, 1.2 / math.sqrt(3), 5)], LEVEL) == "supported"
    assert decide_every([*single, Effect(-9.0, 0.5, 5)], [Effect(1.0, 0.5, 5)], LEVEL) == "contradicted"


def test_the_best_keep_fraction_must_have_everything():
    good, bad, open_ = Effect(2.0, 0.2, 5), Effect(-2.0, 0.2, 5), Effect(0.1, 1.0, 5)
    assert decide_some([[[good, good], [good, bad]]], LEVEL) == "supported"
    assert decide_some([[[good, bad], [bad, good]]], LEVEL) == "contradicted"
    assert decide_some([[[good, bad], [good, open_]]], LEVEL) == "undecided"
    assert decide_some([[[good, good]], [[bad, good]]], LEVEL) == "contradicted"  # in every panel
    assert decide_some([], LEVEL) == "undecided"


@pytest.mark.parametrize(("mean", "sd"), [(0.5, 1.0), (-0.2, 0.7), (0.433, 1.242)])
def test_the_seeds_that_would_decide_are_the_fewest(mean, sd):
    seeds = find_seeds(lambda n: decide_every([Effect(mean, sd, n)], [], LEVEL))
    widths = {n: float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n) for n in (seeds - 1, seeds)}
    assert widths[seeds] < abs(mean) < widths[seeds - 1]
    assert find_seeds(lambda n: decide_every([Effect(0.0001, 1.0, n)], [], LEVEL)) is None
    assert find_seeds(lambda n: decide_every([Effect(0.0001, 1.0, n, 1.0)], [], LEVEL)) < 10  # equivalence is shown earlier


def simulate(advantages: list[float], seed: int, num_seeds: int = 5, num_keeps: int = 3) -> dict[str, float]:
    """Shares of verdicts on "beats every opponent", with an advantage over each; the method's own noise is in all differences."""
    rng = np.random.default_rng(seed)
    shares: dict[str, float] = {}
    for _ in range(SIMULATIONS):
        own = rng.normal(0, 0.8, (num_seeds, num_keeps, 1))
        found = np.array(advantages) + own - rng.normal(0, 0.8, (num_seeds, num_keeps, len(advantages)))
        mean, sd = found.mean(axis=0), found.std(axis=0, ddof=1)
        single = [Effect(*pair, num_seeds) for pair in zip(mean.ravel(), sd.ravel(), strict=True)]
        over = found.mean(axis=1)
        means = [Effect(*pair, num_seeds) for pair in zip(over.mean(axis=0), over.std(axis=0, ddof=1), strict=True)]
        verdict = decide_every(single, means, LEVEL)
        shares[verdict] = shares.get(verdict, 0.0) + 1 / SIMULATIONS
    return shares


def test_false_verdicts_are_rare_and_true_advantages_are_found():
    opponents = 6
    null = simulate([0.0] * opponents, 0)
    assert null.get("supported", 0.0) <= 0.05 and null.get("contradicted", 0.0) <= 0.05
    tied_with_one = simulate([0.0] + [5.0] * (opponents - 1), 1)  # the least favourable truth for a false support
    assert tied_with_one.get("supported", 0.0) <= 0.05
    better = simulate([1.5] * opponents, 2)
    assert better["supported"] >= 0.6 and better.get("contradicted", 0.0) <= 0.01
    worse = simulate([-2.5] * opponents, 3)
    assert worse["contradicted"] >= 0.8 and worse.get("supported", 0.0) == 0.0


LOOKS = (5, 10, 20)


def test_looks_spend_the_error_rate_in_proportion_to_the_seeds_they_add():
    assert list_shares(LOOKS) == [0.25, 0.25, 0.5] and list_shares([7]) == [1.0]
    effect = find_effect([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 9.0], 0.0, 1.0, LOOKS)  # two seeds more than the first look has
    assert (effect.mean, effect.n, effect.share, effect.earlier, effect.margin) == (3.0, 5, 0.25, (), 1.0)
    late = find_effect([1.0, 2.0, 3.0, 4.0, 5.0] * 4, 0.0, None, LOOKS)
    assert [(look.n, look.share) for look in (*late.earlier, late)] == [(5, 0.25), (10, 0.25), (20, 0.5)]
    few = find_effect([1.0, 2.0], 0.0, None, LOOKS)
    assert (few.n, few.share) == (2, 0.25)  # before the first look, no more is spent than there
    whole = find_effect([1.0, 2.0], 0.0, None)
    assert (whole.n, whole.share, whole.sd) == (2, 1.0, pytest.approx(math.sqrt(0.5)))
    assert find_effect([1.0, 1.0], 0.3, None).sd == 0.3


def test_the_p_value_over_looks_is_the_smallest_after_division_by_its_share():
    first, second = Effect(1.0, 1.0, 5, share=0.25), Effect(0.9, 1.0, 10, share=0.25)
    both = second._replace(earlier=(first,))
    singles = [find_p(look._replace(share=1.0)) for look in (first, second)]
    assert find_p(both) == pytest.approx(min(singles) / 0.25)
    assert find_p_against(both) == pytest.approx(1.0)  # never more
    assert find_p(Effect(2.0, 0.5, 5, share=0.25)._replace()) == pytest.approx(4 * find_p(Effect(2.0, 0.5, 5)))


def add_until_decided(advantage: float, opponents: int, looks: tuple[int, ...], seed: int) -> tuple[dict[str, float], float]:
    """Shares of verdicts on "beats every opponent" with seeds added to what is open until it is decided, and seeds used per comparison."""
    rng = np.random.default_rng(seed)
    shares: dict[str, float] = {}
    used = 0.0
    for _ in range(SIMULATIONS):
        found = advantage + rng.normal(0, 0.8, (looks[-1], 1)) - rng.normal(0, 0.8, (looks[-1], opponents))
        numbers = [looks[0]] * opponents
        while True:
            effects = [find_effect(found[:n, k], 0.0, None, looks) for k, n in enumerate(numbers)]
            verdict = decide_every(effects, [], LEVEL)
            open_ = [k for k, effect in enumerate(effects) if find_p(effect) > LEVEL and numbers[k] < looks[-1]]
            if verdict != "undecided" or not open_:
                break
            for k in open_:
                numbers[k] = looks[looks.index(numbers[k]) + 1]
        shares[verdict] = shares.get(verdict, 0.0) + 1 / SIMULATIONS
        used += sum(numbers) / opponents / SIMULATIONS
    return shares, used


@pytest.mark.parametrize("opponents", [1, 5])
def test_adding_seeds_until_decided_keeps_the_error_rate_and_saves_seeds(opponents):
    null, _ = add_until_decided(0.0, opponents, LOOKS, 10)
    assert null.get("supported", 0.0) <= 0.05 and null.get("contradicted", 0.0) <= 0.05
    assert null.get("supported", 0.0) + null.get("contradicted", 0.0) <= 0.05
    better, used = add_until_decided(1.2, opponents, LOOKS, 11)
    fixed, _ = add_until_decided(1.2, opponents, LOOKS[-1:], 11)
    assert better["supported"] >= 0.95 * fixed["supported"] and used <= 0.7 * LOOKS[-1]
    # without the shares, looking again would decide too often
    naive = sum(peek(seed, LOOKS) for seed in range(SIMULATIONS)) / SIMULATIONS
    assert naive > 0.07


def peek(seed: int, looks: tuple[int, ...]) -> bool:
    """Whether differences that are nothing but noise lie on one side at some look, each judged as if it were the only one."""
    found = np.random.default_rng(seed).normal(0, 1, looks[-1])
    return any(decide_every([find_effect(found[:n], 0.0, None)], [], LEVEL) != "undecided" for n in looks)
