"""Trigram perplexities, rarities and influences against cases by hand, probabilities that sum to one, and autograd."""

import math

import numpy as np
import pytest
import torch

from selectbench.llm.influence import BETAS, EPSILON, head_gradients, measure_influences, take_adam_steps, warm_up_head
from selectbench.llm.perplexity import KneserNey, list_trigrams, measure_rarities, ngram_perplexities, split_words

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "Stop!", "the cat sat"]


def test_probabilities_sum_to_one_over_the_vocabulary_and_one_unknown_word():
    model = KneserNey([split_words(text) for text in TEXTS])
    for context in (("<s>", "<s>"), ("the", "cat"), ("on", "the"), ("never", "seen"), ("seen", "the"), ("the",), ()):
        total = sum(model.probability(word, context) for word in [*model.vocabulary, "<unk>"])
        assert total == pytest.approx(1.0)


def test_a_tiny_model_by_hand():
    """With the single text "a", the trigrams are (<s>, <s>, a) and (<s>, a, </s>), the vocabulary a and </s>."""
    model, discount = KneserNey([["a"]]), 0.75
    unigram = (1 - discount) / 2 + discount * 2 / 2 * (1 / 3)
    bigram = (1 - discount) + discount * unigram
    assert model.probability("a", ()) == pytest.approx(unigram)
    assert model.probability("a", ("<s>",)) == pytest.approx(bigram)
    assert model.probability("a", ("<s>", "<s>")) == pytest.approx((1 - discount) + discount * bigram)
    assert model.probability("zebra", ("x", "y")) == pytest.approx(discount / 3)
    assert model.perplexity(["a"]) == pytest.approx(1 / ((1 - discount) + discount * bigram))


def test_trigrams_end_in_every_word_and_the_end():
    assert list_trigrams(["a", "b"]) == [("<s>", "<s>", "a"), ("<s>", "a", "b"), ("a", "b", "</s>")]
    assert split_words("Don't stop, NOW!") == ["don", "'", "t", "stop", ",", "now", "!"]


def test_texts_are_scored_by_the_other_folds_and_equal_texts_alike():
    texts = [f"{TEXTS[index % 4]} {index % 7}" for index in range(60)] + ["zebra quagga okapi"]
    found = ngram_perplexities(texts, seed=3)
    assert np.isfinite(found).all() and found.argmax() == 60
    by_text = {}
    for text, value in zip(texts, found, strict=True):
        assert by_text.setdefault(text, value) == value
    same = ngram_perplexities([*texts[:-1], "zebra zebra zebra"], seed=3)
    assert same[60] == pytest.approx(found[60])  # all words unknown, as a text is left out of its own model
    alone = ngram_perplexities(["", "x", "x y"], seed=0)
    assert np.isfinite(alone).all()


def test_rarities_are_means_over_words():
    assert measure_rarities(["a a b", "a", "", "c"]).tolist() == pytest.approx(
        [(2 * math.log(5 / 3) + math.log(5)) / 3, math.log(5 / 3), 0.0, math.log(5)]
    )


@pytest.fixture
def problem():
    draws = np.random.default_rng(0)
    rows, labels = draws.normal(size=(40, 5)).astype(np.float32), draws.integers(3, size=40)
    return rows, labels, draws.normal(size=(9, 5)).astype(np.float32), np.repeat([0, 1, 2], 3)


def make_questions(problem):
    """Matches of 20 and 3 questions with three options; every other question has only two."""
    rows, labels, wanted, _ = problem
    matches, asked = np.concatenate([rows, rows[:20] + 1]).reshape(20, 3, 5), wanted.reshape(3, 3, 5).copy()
    for split in (matches, asked):
        split[::2, 2] = 0
    return matches, labels[:20] % 2, asked, np.array([1, 2, 0])


def test_gradients_of_a_head_are_those_of_autograd(problem):
    rows, labels, *_ = problem
    weights = np.random.default_rng(1).normal(size=(3, 6))
    found = head_gradients(weights, rows, labels)
    for row, label, gradient in zip(rows, labels, found, strict=True):
        variable = torch.tensor(weights, requires_grad=True)
        logits = variable @ torch.cat([torch.from_numpy(row).double(), torch.ones(1, dtype=torch.double)])
        torch.nn.functional.cross_entropy(logits[None], torch.tensor([label])).backward()
        assert gradient == pytest.approx(variable.grad.reshape(-1).numpy())


def test_gradients_of_a_head_on_matches_are_those_of_autograd_where_options_are_missing_too(problem):
    matches, labels, *_ = make_questions(problem)
    weights = np.random.default_rng(1).normal(size=(1, 5))
    found = head_gradients(weights, matches, labels)
    for options, label, gradient in zip(matches, labels, found, strict=True):
        variable = torch.tensor(weights[0], requires_grad=True)
        present = torch.from_numpy(options[options.any(axis=1)]).double()
        torch.nn.functional.cross_entropy((present @ variable)[None], torch.tensor([label])).backward()
        assert gradient == pytest.approx(variable.grad.numpy())


def test_influences_of_questions_are_those_on_all_validation_questions(problem):
    matches, labels, wanted, right = make_questions(problem)
    checkpoints = warm_up_head(matches[:10], labels[:10], 3, 0.01, seed=4)
    expected = np.zeros(len(labels))
    for checkpoint in checkpoints:
        assert checkpoint.weights.shape == checkpoint.first.shape == (1, 5)
        steps = take_adam_steps(checkpoint, head_gradients(checkpoint.weights, matches, labels))
        mean = head_gradients(checkpoint.weights, wanted, right).mean(axis=0)
        expected += checkpoint.learning_rate * (steps @ mean / np.linalg.norm(steps, axis=1) / np.linalg.norm(mean))
    by_mean, by_samples = measure_influences(checkpoints, matches, labels, wanted, right)
    assert by_mean.shape == by_samples.shape == (1, len(labels))
    assert by_mean[0] == pytest.approx(expected)


def test_an_adam_step_is_the_one_torch_takes(problem):
    rows, labels, *_ = problem
    checkpoint = warm_up_head(rows[:20], labels[:20], 3, 0.01, seed=4)[-1]
    assert checkpoint.steps == 4 and checkpoint.learning_rate == pytest.approx(0.01 / 4)
    gradient = head_gradients(checkpoint.weights, rows[:1], labels[:1])
    value = torch.nn.Parameter(torch.tensor(checkpoint.weights.reshape(-1)))
    optimiser = torch.optim.Adam([value], lr=1.0, betas=BETAS, eps=EPSILON)
    optimiser.state[value] = {
        "step": torch.tensor(float(checkpoint.steps)),
        "exp_avg": torch.tensor(checkpoint.first.reshape(-1)),
        "exp_avg_sq": torch.tensor(checkpoint.second.reshape(-1)),
    }
    before, value.grad = value.detach().clone(), torch.tensor(gradient[0])
    optimiser.step()
    assert take_adam_steps(checkpoint, gradient)[0] == pytest.approx((before - value.detach()).numpy(), rel=1e-6)


def test_influences_are_weighted_cosines_with_the_mean_gradient_or_averaged_over_samples(problem):
    rows, labels, wanted, classes = problem
    checkpoints = warm_up_head(rows[:20], labels[:20], 3, 0.01, seed=4)
    by_mean, by_samples = measure_influences(checkpoints, rows, labels, wanted, classes)
    expected, averaged = np.zeros((3, 40)), np.zeros((3, 40))
    for checkpoint in checkpoints:
        steps = take_adam_steps(checkpoint, head_gradients(checkpoint.weights, rows, labels))
        for label in range(3):
            gradients = head_gradients(checkpoint.weights, wanted[classes == label], classes[classes == label])
            for gradient, into, share in ((gradients.mean(axis=0), expected, 1), *((one, averaged, len(gradients)) for one in gradients)):
                cosines = steps @ gradient / np.linalg.norm(steps, axis=1) / np.linalg.norm(gradient)
                into[label] += checkpoint.learning_rate * cosines / share
    assert by_mean == pytest.approx(expected)
    assert by_samples == pytest.approx(averaged)
    assert np.abs(by_samples).max() < np.abs(by_mean).max()
    rates = sum(checkpoint.learning_rate for checkpoint in checkpoints)
    assert (np.abs(by_mean) <= rates + 1e-12).all()


def test_a_warm_up_is_a_function_of_its_seed(problem):
    rows, labels, *_ = problem
    one, two, other = (warm_up_head(rows, labels, 3, 0.01, seed)[-1].weights for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
