"""A search of one's own texts: rewards of one's own, the named proxies, memory of measurements, and what is refused."""

from itertools import combinations

import numpy as np
import pytest
import torch
import yaml

import selectbench as sb
from selectbench.errors import SelectbenchError
from selectbench.llm.proxies import RESPONDENT
from selectbench.llm.search_texts import ENCODER

NUM, GROUPS = 240, 6


@pytest.fixture(scope="module")
def own():
    """Texts of six groups that k-means cannot miss, and the group of each."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, GROUPS, NUM)
    embeddings = 5 * np.eye(GROUPS)[groups] + rng.normal(size=(NUM, GROUPS)) / 10
    return [f"text {number} of group {group}" for number, group in enumerate(groups)], groups, embeddings


def settings(own, **changes):
    return {"keep": 0.34, "clusters": GROUPS, "embeddings": own[2], "agent": "exhaustive_clusters", "trainings": 0} | changes


def worth(own, weights):
    """A reward that adds up over texts, and a list of what it was asked."""
    asked = []

    def reward(ids):
        asked.append(ids)
        return float(sum(weights[own[1][i]] for i in ids))

    return reward, asked


def test_exhaustive_search_finds_the_best_pair_of_groups(own):
    reward, asked = worth(own, weights := [1.0, -2.0, 5.0, 0.5, 4.0, 0.0])
    found = sb.llm.search(own[0], reward=reward, **settings(own))
    sizes = np.bincount(own[1])
    most = round(0.34 * NUM)
    best = max(combinations(range(GROUPS), 2), key=lambda pair: sum(weights[g] * sizes[g] for g in pair))
    assert best == (2, 4) and {own[1][i] for i in found.ids} == {2, 4}
    assert len(found) <= most and (np.diff(found.ids) > 0).all() and len(found.chosen) == 2
    assert set(found.clusters[found.ids]) == set(found.chosen)
    assert len(found.history) == len(asked) == 15 and max(step.value for step in found.history) == found.value
    assert all(len(ids) <= most for ids in asked)
    assert reward(found.ids.tolist()) == found.value


@pytest.mark.parametrize("agent", sb.llm.available_agents())
def test_every_agent_stays_within_its_budget_and_repeats_itself(own, agent):
    changes = {"agent": agent, "trainings": 0 if agent in ("exhaustive_clusters", "greedy_clusters") else 12, "seed": 3}
    runs = [sb.llm.search(own[0], reward=worth(own, [1.0, -2.0, 5.0, 0.5, 4.0, 0.0])[0], **settings(own, **changes)) for _ in range(2)]
    assert runs[0].history == runs[1].history and runs[0].ids.tolist() == runs[1].ids.tolist()
    assert len(runs[0].history) <= (changes["trainings"] or 22)


def test_numbers_and_arrays_may_be_those_of_numpy_and_torch(own):
    reward, _ = worth(own, [1.0, -2.0, 5.0, 0.5, 4.0, 0.0])
    plain = sb.llm.search(own[0], reward=reward, **settings(own, seed=2))
    changes = {"seed": np.int64(2), "clusters": np.int32(GROUPS), "embeddings": torch.from_numpy(own[2]), "keep": np.float64(0.34)}
    assert sb.llm.search(own[0], reward=reward, **settings(own, **changes)).history == plain.history


def test_an_interrupted_search_continues_where_it_was(own, tmp_path):
    reward, asked = worth(own, [1.0, -2.0, 5.0, 0.5, 4.0, 0.0])
    whole = sb.llm.search(own[0], reward=reward, **settings(own))

    def stop(ids):
        if len(asked) == 15 + 6:
            raise KeyboardInterrupt
        return reward(ids)

    stop.__qualname__ = reward.__qualname__
    memo = tmp_path / "values.jsonl"
    with pytest.raises(KeyboardInterrupt):
        sb.llm.search(own[0], reward=stop, **settings(own, memo=memo))
    resumed = sb.llm.search(own[0], reward=reward, **settings(own, memo=str(memo)))
    assert len(asked) == 2 * 15 and resumed.history == whole.history
    again = sb.llm.search(own[0], reward=reward, **settings(own, memo=memo))
    assert len(asked) == 2 * 15 and again.history == whole.history
    sb.llm.search([text.upper() for text in own[0]], reward=reward, **settings(own, memo=memo))
    assert len(asked) == 3 * 15  # other texts, so nothing is remembered


def test_the_head_prefers_texts_of_both_classes_and_never_chooses_those_it_is_measured_on():
    rng = np.random.default_rng(0)
    far, labels = np.repeat([0, 1], NUM // 2), np.where(np.arange(NUM) < NUM // 2, np.arange(NUM) % 2, 0)  # the second half is of one class
    embeddings = np.stack([1 - far, far, 0.5 * labels, rng.normal(size=NUM) / 10], axis=1)
    found = sb.llm.search([f"text {i}" for i in range(NUM)], labels, reward="head", embeddings=embeddings, keep=0.5, clusters=2)
    assert (found.ids < NUM // 2).all() and len(found) > 0.4 * NUM
    values = {found.clusters.tolist().index(step.clusters[0]) < NUM // 2: step.value for step in found.history}
    assert values[True] > values[False] and found.value == values[True]
    held_out = np.flatnonzero(found.clusters == -1)
    assert len(held_out) == round(0.1 * NUM) and not np.isin(found.ids, held_out).any()


def test_responses_need_no_labels_and_lower_the_loss_on_others():
    pairs = [(f"What is {number} plus one?", f"{number + 1}") for number in range(12)]
    pairs += [
        (f"Say {word}.", f"{word}, {word}, {word}!") for word in ("honey", "bees", "trees", "river", "stone", "cloud", "bread", "salt")
    ]
    embeddings = np.repeat(np.eye(2), (12, 8), axis=0) + np.arange(40).reshape(20, 2) / 1000
    found = sb.llm.search(pairs, reward="responses", keep=0.5, clusters=2, agent="greedy_clusters", embeddings=embeddings)
    values = {step.clusters: step.value for step in found.history}
    assert len(values) == 3 and found.value == max(values[0,], values[1,]) > values[()]  # training on responses helps
    assert found.value < 0 and len(found) <= 10


def test_texts_are_embedded_if_no_embeddings_are_given():
    texts = [f"The {animal} sleeps in the {place}." for animal in ("cat", "dog", "cow") for place in ("house", "garden", "barn")]
    texts += [f"Shares of the {firm} fell by {share} per cent." for firm in ("bank", "mine", "airline") for share in (2, 5, 9)]
    found = sb.llm.search(texts, reward=lambda ids: float(np.mean([i >= 9 for i in ids])), keep=0.5, clusters=2, agent="random_clusters")
    assert found.ids.tolist() == list(range(9, 18)) and found.value == 1


def test_the_encoder_is_that_of_the_benchmark(root):
    entry = yaml.safe_load((root / "config/encoders.yaml").read_text(encoding="utf-8"))["minilm_sentence"]
    assert {key: entry[key] for key in ENCODER} == ENCODER


def test_the_proxy_of_responses_is_that_of_the_benchmark(root):
    entry = yaml.safe_load((root / "config/language_models.yaml").read_text(encoding="utf-8"))["smollm2_135m"]
    assert {key: entry[key] for key in RESPONDENT} == RESPONDENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": []}, "texts: expected a list of texts, or of pairs of prompt and response"),
        ({"texts": "one text"}, "texts: expected a list of texts, or of pairs"),
        ({"texts": ["a", " \n"]}, "texts: number 1 is empty"),
        ({"texts": ["a", None]}, "texts: number 1 is not a text, as the first one is"),
        ({"texts": [("a", "b"), ("c",)]}, "texts: number 1 is not a pair of prompt and response"),
        ({"reward": "haed"}, "reward: unknown proxy 'haed'; did you mean 'head'?"),
        ({"reward": "head"}, "labels: the proxy 'head' needs one for each text"),
        ({"reward": "responses"}, "the proxy 'responses' needs pairs of prompt and response"),
        ({"clustering": "stratified"}, "labels: clustering='stratified' needs one for each text"),
        ({"labels": [0, 1]}, r"labels: shape \(2,\) does not fit 240 texts"),
        ({"labels": ["good"] * NUM}, "labels: holds text"),
        ({"labels": [0.5] * NUM}, "labels: expected whole numbers from 0"),
        ({"embeddings": np.zeros((3, 2))}, r"embeddings: shape \(3, 2\) should be \(240, d\)"),
        ({"embeddings": np.full((NUM, 2), np.nan)}, "embeddings: some are not finite"),
        ({"clusters": 500}, "clusters: 240 texts to choose from are too few for 500 clusters"),
        ({"agent": "climb"}, "unknown agent 'climb'; did you mean 'climb_disc'?"),
        ({"seed": 1.5}, "seed"),
        ({"training": 5}, "agent 'exhaustive_clusters' has no parameter 'training'; did you mean 'trainings'?"),
        ({"keep": 1.5}, "keep"),
        ({"reward": lambda ids: None}, "returned None, which is no number"),
        ({"reward": lambda ids: float("nan")}, "returned nan, which is not finite"),
        ({"reward": lambda ids: [0.5]}, r"returned an array of shape \(1,\), which is no number"),
        ({"transform": "logarithm"}, r"transform: 'logarithm' has no value for the loss -\d+ \(reward \d+\); use 'negative'"),
    ],
)
def test_what_cannot_be_searched_is_one_line(own, changes, message):
    arguments = settings(own, reward=len) | {"texts": own[0]} | changes
    with pytest.raises(SelectbenchError, match=message):
        sb.llm.search(**arguments)
