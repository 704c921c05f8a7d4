"""Every method on pools that break implementations: a correct result or a clear one-line error, never NaN or a wrong count."""

from dataclasses import replace

import numpy as np
import pytest

import selectbench as sb
from conftest import AXES, make_signals
from selectbench.methods import load_method
from selectbench.policy import class_quotas, count_kept

METHODS = [name for name in sb.available_methods() if name != "full" and not load_method(name).learned]
POOLS = {
    "nine hundred, ninety and ten": (900, 90, 10),
    "every class a singleton": (1,) * 12,
    "one class": (40,),
    "two samples": (1, 1),
}


def repeat_samples(signals: sb.Signals, times: int) -> sb.Signals:
    """Return a pool that contains every sample ``times`` times, each copy with its own id."""
    axes = {"labels": 0, **AXES}
    copies = {name: np.concatenate([getattr(signals, name)] * times, axis=axis) for name, axis in axes.items()}
    return replace(signals, ids=np.arange(times * len(signals)), **copies)


def expect_k(name: str, signals: sb.Signals, keep: float, **parameters) -> sb.Subset:
    subset = sb.select(name, signals, keep, seed=1, **parameters)
    assert len(np.unique(subset.ids)) == len(subset.ids) == count_kept(keep, len(signals))
    assert np.isfinite(subset.scores[np.isin(signals.ids, subset.ids)]).all()
    return subset


@pytest.mark.parametrize("sizes", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("quota", ["none", "proportional", "equal"])
@pytest.mark.parametrize("name", METHODS)
def test_uneven_classes(name, quota, sizes):
    signals = make_signals(sizes=sizes)
    for keep in (0.5, 0.1) if len(signals) > 12 else (0.5,):
        subset = expect_k(name, signals, keep, quota=quota)
        if quota != "none":
            kept = np.bincount(signals.labels[np.isin(signals.ids, subset.ids)], minlength=len(sizes)).tolist()
            assert dict(enumerate(kept)) == class_quotas(signals.labels, len(subset), quota)


@pytest.mark.parametrize("name", METHODS)
def test_keeps_so_small_that_classes_get_nothing(name):
    signals = make_signals(sizes=(900, 90, 10))
    assert len(expect_k(name, signals, 0.001, quota="proportional")) == 1
    assert len(expect_k(name, signals, 0.002, quota="equal")) == 2
    with pytest.raises(sb.SelectbenchError, match=r"keep: 0\.0001 of 1000 samples keeps none; the smallest is 0\.001"):
        sb.select(name, signals, 0.0001)


@pytest.mark.parametrize("name", METHODS)
def test_duplicates(name):
    expect_k(name, repeat_samples(make_signals(sizes=(30, 20, 1)), 2), 0.3)
    expect_k(name, repeat_samples(make_signals(sizes=(2, 1)), 20), 0.3, quota="proportional")


@pytest.mark.parametrize("name", METHODS)
def test_all_negative_and_very_large_scores(name):
    signals = make_signals(sizes=(60, 40))
    for shift, scale in ((-1e3, 1.0), (0.0, 1e6), (0.0, 1e-12)):
        moved = replace(
            signals,
            aum=shift + scale * signals.aum,
            alignments=shift + scale * signals.alignments,
            logits=shift + scale * signals.logits,
            features=shift + scale * signals.features,
            embeddings=shift + scale * signals.embeddings,
        )
        expect_k(name, moved, 0.3)


@pytest.mark.parametrize("name", ["moso", "ccs", "el2n"])
def test_adding_a_constant_to_negative_scores_changes_nothing(name):
    signals = make_signals(sizes=(60, 40))
    moved = replace(signals, aum=signals.aum - 10, alignments=signals.alignments - 10, logits=signals.logits - 10)
    np.testing.assert_array_equal(sb.select(name, moved, 0.3).ids, sb.select(name, signals, 0.3).ids)
