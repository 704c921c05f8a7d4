import pytest

from selectbench.planning.plan import load_plan
from selectbench.stages.score_samples import ScoreSamples, describe_source

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


def test_greedy_methods_are_told_the_largest_keep_fraction_that_is_read_from_their_scores(root):
    plan = load_plan(root, {"scale": "tiny", "papers": ["rl_selector", "cluster_mdp"]})

    def asked(dataset, proxy, method, seed):
        return ScoreSamples(dataset, proxy, method, seed).specify(plan)["keep"]

    assert asked("digits", "convnet", "k_center", "0") == plan.list_keeps("digits", "convnet", "k_center", "0")[-1] == "0.9"
    assert asked("tweets", "none", "k_center_embeddings", "2") == "0.05"
    assert asked("digits", "convnet", "herding", "2") == "0.9"
    assert asked("digits", "convnet", "herding", "0") == "1"  # the subset browser ranks the whole pool
    assert asked("digits", "convnet", "moderate", "2") == "1"  # orders all samples at once
