"""With additive rewards, every agent finds what exhaustive search finds, within its budget of proxy trainings."""

import math
import random
from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
import torch

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.llm.agents import Effort, available_agents, make_agent
from selectbench.llm.agents._base import torch_threads
from selectbench.llm.agents._dqn import QLearner
from selectbench.llm.agents._model import RewardModel
from selectbench.llm.environment import TRANSFORMS, ClusterEnv
from selectbench.llm.values import CountedValues

CLUSTERS, BUDGET = 8, 3
WEIGHTS = np.array([0.30, 0.05, 0.22, -0.10, 0.41, 0.12, 0.0, 0.17])
QUICK = {
    "climb_disc": {"candidates": 300},
    "dyna_dqn": {"episodes": 60, "simulated": 10},
    "warm_start": {"episodes": 30, "simulated": 100},
}
LEARNING = [name for name in available_agents() if name not in ("exhaustive_clusters", "greedy_clusters", "random_clusters")]


def additive(chosen):
    return {"loss": 2.0 - float(WEIGHTS[list(chosen)].sum())}


def search(name, seed=0, measure=additive, clusters=CLUSTERS, budget=BUDGET, **parameters):
    values = CountedValues(measure, parameters.get("trainings", 112) or None)
    return quick_agent(name, clusters=clusters, **parameters).search(values, clusters, budget, seed, Effort()), values


def quick_agent(name, **parameters):
    return make_agent(name, {**QUICK.get(name, {}), **parameters})


def test_the_agents_of_the_paper_and_the_oracles_are_there():
    wanted = {"cluster_dqn", "cluster_ppo", "dyna_dqn", "warm_start", "climb_disc"}
    assert set(available_agents()) == wanted | {"exhaustive_clusters", "greedy_clusters", "random_clusters"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", available_agents())
def test_every_agent_finds_the_optimum_of_an_additive_reward(name, seed):
    """With 75 trainings, for 56 complete sets and the 37 smaller ones that stepwise agents also measure."""
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
    first, second, other = (search(name, seed, clusters=20, measure=wide, trainings=25)[1].history for seed in (1, 1, 2))
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


@pytest.mark.parametrize("name", [*LEARNING, "random_clusters"])
def test_among_many_sets_every_proxy_training_is_spent(name):
    assert search(name, clusters=40, measure=wide, trainings=30)[1].count == 30


@pytest.mark.parametrize("trainings", [1, 2, 3])
@pytest.mark.parametrize("name", ["climb_disc", "warm_start", "random_clusters"])
def test_agents_that_begin_with_complete_sets_need_one_training(name, trainings):
    found, values = search(name, clusters=20, measure=wide, trainings=trainings)
    assert len(found.chosen) == BUDGET and values.count == trainings


@pytest.mark.parametrize(("clusters", "budget"), [(6, 1), (4, 4), (2, 1)])
@pytest.mark.parametrize("name", available_agents())
def test_sets_of_one_cluster_and_of_all_are_found(name, clusters, budget):
    episodes = {"episodes": 40} if name in ("cluster_dqn", "cluster_ppo", "dyna_dqn", "warm_start") else {}
    found, _ = search(name, 0, wide, clusters, budget, trainings=30, **episodes)
    assert found == search("exhaustive_clusters", 0, wide, clusters, budget, trainings=0)[0]


@pytest.mark.parametrize("trainings", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ["climb_disc", "random_clusters"])
def test_agents_that_plan_their_trainings_stop_by_themselves(name, trainings):
    values = CountedValues(wide)
    quick_agent(name, trainings=trainings).search(values, 20, BUDGET, 0, Effort())
    assert values.count == trainings


def test_without_a_limit_random_search_ends_too():
    assert search("random_clusters", clusters=40, measure=wide, trainings=0)[1].count == 112


@pytest.mark.parametrize("name", [*LEARNING, "random_clusters", "greedy_clusters"])
def test_a_search_that_breaks_off_measures_only_what_is_missing_when_it_is_run_again(name, tmp_path):
    def run(memo, break_at=None):
        asked = []

        def measure(chosen):
            if len(asked) == break_at:
                raise KeyboardInterrupt
            asked.append(chosen)
            return additive(chosen)

        values = CountedValues(measure, 30, memo, "key")
        with suppress(KeyboardInterrupt):
            quick_agent(name, clusters=CLUSTERS, trainings=30).search(values, CLUSTERS, BUDGET, 4, Effort())
        return asked, values.history

    unbroken, history = run(tmp_path / "unbroken.jsonl")
    before, _ = run(tmp_path / "broken.jsonl", break_at=11)
    after, resumed = run(tmp_path / "broken.jsonl")
    assert len(before) == 11 and before + after == unbroken
    assert resumed == history


@pytest.mark.parametrize("name", ["cluster_dqn", "cluster_ppo", "random_clusters"])
def test_proxies_keep_their_threads_and_agents_take_one(name, monkeypatch):
    seen, inside, before = [], [], torch.get_num_threads()
    agent = type(quick_agent(name))
    explore = agent.explore
    monkeypatch.setattr(agent, "explore", lambda *arguments: (inside.append(torch.get_num_threads()), explore(*arguments)))

    def measure(chosen):
        seen.append(torch.get_num_threads())
        return additive(chosen)

    torch.set_num_threads(2)
    try:
        search(name, measure=measure, trainings=6)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {2} and inside == [1]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_value_of_what_is_found_is_the_transformed_loss(transform):
    found, _ = search("greedy_clusters", trainings=0, transform=transform)
    assert found.chosen == (0, 2, 4)
    assert found.value == TRANSFORMS[transform](additive(found.chosen)["loss"])


def test_the_q_network_learns_the_returns_and_never_looks_at_masked_actions():
    """Both networks start with large values, which fade only with masked targets: a masked action is never updated."""
    weights = np.array([0.5, -0.25, 0.1, 0.3])
    env, learner = ClusterEnv(4, 2, lambda chosen: float(weights[list(chosen)].sum())), QLearner(4, 0, Effort())
    with torch.no_grad(), torch_threads(1):
        for network in (learner.network, learner.target):
            network[-1].bias += 20.0
    with torch_threads(1):
        for _ in range(40):
            learner.play(env, 1.0)
            learner.learn(30)
    scale = np.std(learner.replay.read().rewards)
    with torch.no_grad():
        learned = learner.network(torch.zeros(4)).numpy() * scale
    wanted = [weights[first] + np.delete(weights, first).max() for first in range(4)]
    assert learned == pytest.approx(wanted, abs=0.03)


def test_the_reward_model_predicts_additive_rewards_but_for_its_penalty():
    sets = [chosen for size in range(BUDGET + 1) for chosen in combinations(range(CLUSTERS), size)]
    model = RewardModel({chosen: float(WEIGHTS[list(chosen)].sum()) for chosen in sets}, CLUSTERS, BUDGET)
    complete = sets[-math.comb(CLUSTERS, BUDGET) :]
    assert [model(chosen) for chosen in complete] == pytest.approx([WEIGHTS[list(chosen)].sum() for chosen in complete], abs=0.03)
    env, total = model.imagine(at_end=False), 0.0
    env.reset()
    for cluster in (4, 0, 2):
        total += env.step(cluster)[1]
    assert total == pytest.approx(model((0, 2, 4)) - model(()))


@pytest.mark.parametrize("name", LEARNING)
def test_a_twin_that_never_learns_makes_no_update_and_measures_other_sets(name):
    histories, updates = [], []
    for learns in (True, False):
        values, effort = CountedValues(wide, 60), Effort()
        quick_agent(name, clusters=20, trainings=60, learns=learns).search(values, 20, BUDGET, 0, effort)
        histories.append([chosen for chosen, _ in values.history])
        updates.append(effort.updates)
    assert updates[0] > 0 and updates[1] == 0
    assert histories[0] != histories[1] and histories[0][0] == histories[1][0]


@pytest.mark.parametrize("name", [name for name in LEARNING if name != "climb_disc"])
def test_with_a_reward_at_the_end_only_complete_sets_are_measured_and_the_optimum_is_found(name):
    found, values = search(name, rewards="end", trainings=56)
    assert {len(chosen) for chosen, _ in values.history} == {BUDGET}
    assert found == search("exhaustive_clusters", trainings=0)[0]


@pytest.mark.parametrize("name", ["dyna_dqn", "warm_start", "climb_disc"])
def test_agents_with_a_model_beat_random_search_where_clusters_add_up(name):
    losses = {
        agent: np.mean([-search(agent, seed, wide, clusters=40, budget=4, trainings=112)[0].value for seed in range(3)])
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
    with pytest.raises(SelectbenchError, match="exhaustive_clusters: 75,287,520 sets of 5 out of 100 clusters"):
        search("exhaustive_clusters", clusters=100, budget=5, trainings=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"trainings": -1}, "trainings: -1 is less than 0"),
        ({"clusters": 1}, "clusters: 1 is less than 2"),
        ({"clustering": "kmean"}, "clustering: unknown 'kmean'; did you mean 'kmeans'"),
        ({"candidates": 0}, "candidates: 0 is less than 1"),
        ({"training": 5}, "agent 'climb_disc' has no parameter 'training'; did you mean 'trainings'"),
    ],
)
def test_a_mistaken_parameter_is_one_clear_line(parameters, message):
    with pytest.raises(SelectbenchError, match=message):
        make_agent("climb_disc", parameters)
    with pytest.raises(SelectbenchError, match="floor: 1.5 is not between 0 and 1"):
        make_agent("cluster_dqn", {"floor": 1.5})
    with pytest.raises(SelectbenchError, match="unknown agent 'climb'; did you mean 'climb_disc'"):
        make_agent("climb", {})
