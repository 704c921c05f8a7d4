"""A file of one's own texts: added by the command, checked, prepared and read as the published ones are."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
from data_fixtures import ROOT
from pyarrow import parquet

from selectbench.cli import main
from selectbench.data.texts import open_texts
from selectbench.planning.plan import load_plan

WORDS = ["gut", "schlecht", "mäßig 🙂"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the project's configuration, which is the working folder."""
    folder = tmp_path / "a project"
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    monkeypatch.chdir(folder)
    return folder


def refuse(arguments, capsys):
    """Run a command that must fail and return its error, which is one line."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def make_records(num=60):
    return [{"id": i, "title": f"Über {i}", "body": f'Zeile\n"{i}", und mehr', "mood": WORDS[i % 3]} for i in range(num)]


def write_jsonl(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def write_csv(records):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return b"\xef\xbb\xbf" + stream.getvalue().encode()


def write_parquet(records):
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(records), stream)
    return stream.getvalue()


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


@pytest.mark.parametrize("ending", WRITERS)
def test_a_file_of_texts_becomes_a_data_set(project, capsys, ending):
    records = make_records()
    (project.parent / f"my.{ending}").write_bytes(WRITERS[ending]([*records, *records[:5]]))  # five texts are there twice
    before = (project / "config/corpora.yaml").read_text(encoding="utf-8")
    main(["data", "add", f"../my.{ending}", "--text", "title", "body", "--label", "mood", "--title", "Mine"])
    out = capsys.readouterr().out
    assert (project / "config/corpora.yaml").read_text(encoding="utf-8").startswith(before)  # nothing else changes
    plan = load_plan(project)
    entry = plan.config.datasets["my"]
    assert (entry["title"], entry["classes"], entry["class_names"]) == ("Mine", 3, sorted(WORDS))
    sizes = entry["pool_size"], entry["validation_size"], entry["test_sets"]["test"]["size"]
    assert sizes[1:] == (6, 12) and 42 <= sizes[0] <= 47
    assert out == f"my: added to config/corpora.yaml: {sizes[0]} to select from, 6 for validation, 12 for testing; 3 classes\n"
    (project.parent / f"my.{ending}").unlink()  # the project has its own copy
    main(["data", "check", "my"])
    main(["data", "prepare", "my"])
    main(["data", "check", "my"])
    splits = {name: open_texts(project / plan.layout.resources / "my/prepared", name) for name in ("pool", "validation", "test")}
    moods = {f"{record['title']}\n{record['body']}": record["mood"] for record in records}
    read = [(text, entry["class_names"][label]) for split in splits.values() for text, label in zip(split.texts, split.labels, strict=True)]
    assert dict(read) == moods and len(splits["pool"]) == sizes[0]


def test_questions_are_answered_by_number_or_by_option(project):
    options = ["sun", "rain", "snow"]
    records = [{"q": f"What falls in month {i}?", "o": options, "a": i % 3 if i % 2 else options[i % 3]} for i in range(30)]
    (project / "quiz.jsonl").write_bytes(write_jsonl(records))
    main(["data", "add", "quiz.jsonl", "--id", "weather", "--text", "q", "--label", "a", "--options", "o"])
    main(["data", "prepare", "weather"])
    plan = load_plan(project)
    assert (plan.config.datasets["weather"]["task"], plan.config.datasets["weather"]["classes"]) == ("choice", 3)
    pool = open_texts(project / plan.layout.resources / "weather/prepared", "pool")
    assert [int(label) for label in pool.labels] == [int(text.split()[-1].rstrip("?")) % 3 for text in pool.texts]
    assert pool.options[0] == options


def test_labels_that_are_numbers_keep_their_order_and_texts_without_one_are_left_out(project):
    records = [{"text": f"review {i}", "stars": (10, 9, 1)[i % 3] if i < 27 else None} for i in range(30)]
    (project / "stars.jsonl").write_bytes(write_jsonl(records))
    main(["data", "add", "stars.jsonl", "--text", "text", "--label", "stars"])
    entry = load_plan(project).config.datasets["stars"]
    assert entry["labels"] == ["1", "9", "10"]
    assert entry["pool_size"] + entry["validation_size"] + entry["test_sets"]["test"]["size"] == 27


def test_an_altered_file_is_noticed(project, capsys):
    (project / "my.jsonl").write_bytes(write_jsonl(make_records()))
    main(["data", "add", "my.jsonl", "--text", "body", "--label", "mood"])
    raw = project / load_plan(project).layout.resources / "my/raw/my.jsonl"
    raw.write_bytes(raw.read_bytes().replace(b"Zeile", b"Seile"))
    assert "wrong checksum" in refuse(["data", "prepare", "my"], capsys)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("is_prepared", [False, True])
def test_a_check_reads_every_file_again_whatever_its_size_and_time(project, capsys, ending, is_prepared):
    content = WRITERS[ending](make_records())
    (project / f"my.{ending}").write_bytes(content)
    main(["data", "add", f"my.{ending}", "--text", "body", "--label", "mood"])
    if is_prepared:
        main(["data", "prepare", "my"])
    raw = project / load_plan(project).layout.resources / f"my/raw/my.{ending}"
    before = raw.stat()
    raw.write_bytes(content.replace(b"Zeile", b"Seile", 1))
    os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))
    capsys.readouterr()
    assert f"my/raw/my.{ending}: wrong checksum" in refuse(["data", "check", "my"], capsys)
    raw.write_bytes(content)
    main(["data", "check", "my"])
    raw.unlink()
    if is_prepared:  # the published file has done its part
        main(["data", "check", "my"])
    else:
        assert "missing" in refuse(["data", "check", "my"], capsys)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(project, capsys):
    """The largest size that a file may have stands for a full disk; both are told by the same call."""
    (project / "my.jsonl").write_bytes(write_jsonl(make_records(4000)))
    corpora = (project / "config/corpora.yaml").read_bytes()
    raw = project / load_plan(project).layout.resources / "my/raw"
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)); from selectbench.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "add", "my.jsonl", "--text", "body", "--label", "mood"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "my.jsonl: File too large" in done.stderr
    assert list(raw.iterdir()) == []
    assert (project / "config/corpora.yaml").read_bytes() == corpora
    main(["data", "add", "my.jsonl", "--text", "body", "--label", "mood"])


ADD = ["--text", "body", "--label", "mood"]


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        (
            "my.jsonl",
            write_jsonl(make_records()),
            ["--text", "bodi", "--label", "mood"],
            "my.jsonl: record 1: has no column 'bodi'; did you mean 'body'",
        ),
        ("my.jsonl", write_jsonl([*make_records(9), {"body": "x"}]), ADD, "my.jsonl: record 10: has no column 'mood'"),
        (
            "my.jsonl",
            write_jsonl([{"body": 3, "mood": "a"}, {"body": "x", "mood": "b"}]),
            ADD,
            "record 1: column 'body' holds 3, which is no text",
        ),
        ("my.jsonl", b'{"body": "x", "mood": "a"}\n[1]\n', ADD, "my.jsonl: line 2 is no JSON object"),
        ("my.jsonl", b'{"body": "x"}\n{"body": "\xff"}\n', ADD, "my.jsonl: line 2 is not utf-8"),
        ("my.csv", "body,mood\nschön,gut\n".encode("latin-1"), ADD, "my.csv: line 2 is not utf-8"),
        ("my.csv", b'body,mood\n"a,b\n', ADD, "my.csv: is no CSV file with a header"),
        ("my.csv", b"", ADD, "my.csv: is no CSV file with a header"),
        ("my.parquet", b"PAR1 no", ADD, "my.parquet: is no parquet file"),
        ("my.jsonl", write_jsonl(make_records(9)), ["--text", "body", "--label", "id", "--id", "Mine!"], "--id: 'Mine!' is no id"),
        ("my.jsonl", write_jsonl(make_records()), [*ADD, "--id", "tweets"], "already has 'tweets'"),
        ("my.jsonl", write_jsonl(make_records()), ["--text", "body"], "--label with its column of labels"),
        ("my.jsonl", write_jsonl([{"body": str(i), "mood": "same"} for i in range(9)]), ADD, "column 'mood' has 1 different labels"),
        ("my.jsonl", write_jsonl([{"body": str(i), "mood": str(i)} for i in range(200)]), ADD, "column 'mood' has 200 different labels"),
        ("my.jsonl", write_jsonl(make_records(4)), ADD, "4 distinct texts with a label are too few"),
        ("my.jsonl", write_jsonl(make_records()), [*ADD, "--options", "title"], "column 'title' does not hold a list of options"),
        ("my.txt", b"x", ADD, "my.txt: unknown ending '.txt'"),
        ("my.jsonl", None, ADD, "my.jsonl: no such file"),
    ],
)
def test_a_file_that_cannot_be_added_is_one_line_and_changes_nothing(project, capsys, name, content, arguments, message):
    if content is not None:
        (project / name).write_bytes(content)
    before = (project / "config/corpora.yaml").read_bytes()
    assert message in refuse(["data", "add", name, *arguments], capsys)
    assert (project / "config/corpora.yaml").read_bytes() == before
    assert not list(project.rglob("raw"))
