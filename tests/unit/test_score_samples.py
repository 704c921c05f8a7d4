import pytest

from selectbench.stages.score_samples import describe_source

PROXY = {
    "source": "proxy",
    "key": "k",
    "seeds": {},
    "context": {},
    "peak_memory_mb": 5,
    "training": {"epochs": 12, "passed_epochs": [1, 2, 12], "wall_s": 60.0, "sample_visits": 1200, "forward_visits": 300},
}


@pytest.mark.parametrize(("share", "visits", "wall_s"), [(1.0, 1200 + 300 / 3, 60.0), (0.2, 240 + 200 / 3, 12.0), (0.05, 60, 3.0)])
def test_a_method_pays_for_the_clean_passes_within_its_share_of_the_proxy(share, visits, wall_s):
    paid = describe_source(PROXY, share)
    assert paid["sample_visits"] == pytest.approx(visits)
    assert paid["wall_s"] == pytest.approx(wall_s)
