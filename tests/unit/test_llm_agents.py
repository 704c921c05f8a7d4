"""Every agent finds what exhaustive search finds where rewards are additive, within its proxy trainings."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
import torch

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.llm.agents import available_agents, make_agent
from selectbench.llm.values import CountedValues

CLUSTERS, BUDGET = 8, 3
WEIGHTS = np.array([0.30, 0.05, 0.22, -0.10, 0.41, 0.12, 0.0, 0.17])
LEARNING = [name for name in available_agents() if name not in ("exhaustive_clusters", "greedy_clusters", "random_clusters")]


def additive(chosen):
    return {"loss": 2.0 - float(WEIGHTS[list(chosen)].sum())}


def search(name, seed=0, measure=additive, clusters=CLUSTERS, budget=BUDGET, **parameters):
    values = CountedValues(measure, parameters.get("trainings", 112) or None)
    return make_agent(name, {"clusters": clusters, **parameters}).search(values, clusters, budget, seed), values


def test_the_agents_of_the_paper_and_the_oracles_are_there():
    wanted = {"cluster_dqn", "cluster_ppo", "dyna_dqn", "warm_start", "climb_disc"}
    assert set(available_agents()) == wanted | {"exhaustive_clusters", "greedy_clusters", "random_clusters"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", available_agents())
def test_every_agent_finds_the_optimum_of_an_additive_reward(name, seed):
    """With 75 trainings: of the 56 complete sets and the 37 smaller ones that stepwise agents measure on their way."""
    trainings = 0 if name in ("exhaustive_clusters", "greedy_clusters") else 75
    found, values = search(name, seed, trainings=trainings)
    oracle, every = search("exhaustive_clusters", trainings=0)
    assert every.count == math.comb(CLUSTERS, BUDGET)
    assert oracle.chosen == (0, 2, 4)
    assert found == oracle
    assert values.count <= (trainings or math.inf)


@pytest.mark.parametrize("name", LEARNING)
def test_a_search_is_a_function_of_its_seed_and_leaves_global_generators_alone(name):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, second, other = (search(name, seed, clusters=20, measure=wide, trainings=40)[1].history for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1]) and states[2] == random.getstate()


def wide(chosen):
    return {"loss": 3.0 - sum(math.sin(7 * cluster + 1) for cluster in chosen)}


@pytest.mark.parametrize("trainings", [5, 17, 40])
@pytest.mark.parametrize("name", [*LEARNING, "random_clusters"])
def test_the_proxy_trainings_are_never_exceeded(name, trainings):
    found, values = search(name, clusters=20, measure=wide, trainings=trainings)
    assert values.count <= trainings
    assert len(found.chosen) == BUDGET
    assert found.value == max(-measured["loss"] for chosen, measured in values.history if len(chosen) == BUDGET)


@pytest.mark.parametrize("name", ["dyna_dqn", "warm_start", "climb_disc"])
def test_agents_with_a_model_beat_random_search_where_clusters_add_up(name):
    def measure(chosen):
        return {"loss": 3.0 - sum(math.sin(7 * cluster + 1) for cluster in chosen)}

    losses = {
        agent: np.mean([-search(agent, seed, measure, clusters=40, budget=4, trainings=112)[0].value for seed in range(4)])
        for agent in (name, "random_clusters")
    }
    assert losses[name] < losses["random_clusters"]


def test_greedy_is_within_one_less_one_over_e_of_the_optimum_where_rewards_are_submodular():
    draws = np.random.default_rng(0)
    for _ in range(10):
        covers = [set(draws.choice(30, 8, replace=False).tolist()) for _ in range(CLUSTERS)]

        def measure(chosen, covers=covers):
            return {"loss": -float(len(set().union(*(covers[cluster] for cluster in chosen))))}

        found, values = search("greedy_clusters", measure=measure, trainings=0)
        best = max(-measure(chosen)["loss"] for chosen in combinations(range(CLUSTERS), BUDGET))
        assert found.value >= (1 - 1 / math.e) * best
        assert values.count == 1 + 8 + 7 + 6


def test_too_few_trainings_for_one_set_and_too_many_sets_say_so():
    with pytest.raises(SelectionFailedError, match="no set of 3 clusters was completed within 2 proxy trainings"):
        search("cluster_dqn", trainings=2)
    with pytest.raises(SelectbenchError, match="exhaustive_clusters: 75,287,520 sets of 5 of 100 clusters"):
        search("exhaustive_clusters", clusters=100, budget=5, trainings=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"trainings": -1}, "trainings: -1 is less than 0"),
        ({"clusters": 1}, "clusters: 1 is less than 2"),
        ({"clustering": "kmean"}, "clustering: unknown 'kmean'; did you mean 'kmeans'"),
        ({"training": 5}, "agent 'climb_disc' has no parameter 'training'; did you mean 'trainings'"),
    ],
)
def test_a_mistaken_parameter_is_one_clear_line(parameters, message):
    with pytest.raises(SelectbenchError, match=message):
        make_agent("climb_disc", parameters)
    with pytest.raises(SelectbenchError, match="unknown agent 'climb'; did you mean 'climb_disc'"):
        make_agent("climb", {})
