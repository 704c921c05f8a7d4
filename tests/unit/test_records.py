import json

import pytest

from selectbench.errors import RecordError
from selectbench.records.files import read_json, write_json, write_text
from selectbench.records.records import find_damage, merge_record, read_finished, read_record, record_path, write_record


def test_only_a_finished_record_of_the_same_key_counts(tmp_path):
    path = record_path(tmp_path, "a/b", "train")
    assert read_finished(path, "k") is None
    write_record(path, {"status": "failed", "key": "k"})
    assert read_finished(path, "k") is None
    write_record(path, {"status": "ok", "key": "k"})
    assert read_finished(path, "other") is None
    assert read_finished(path, "k")["status"] == "ok"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "status"', "not valid JSON"),
        ("[1]", "holds a list instead of an object"),
        ('{"schema": 0, "status": "ok"}', "record layout 0 is not 1; delete it and run again"),
        ('{"schema": 99}', "record layout 99 is of a newer version; update selectbench"),
        ('{"schema": 1, "status": "fine"}', "not a record: its status is neither 'ok' nor 'failed'"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_a_corrupt_record_is_named(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_is_found_before_work_starts(tmp_path):
    manifest = tmp_path / "batch.json"
    write_json(manifest, {"stage": "train", "runs": {"a": "k", "b": "k"}})
    for run in "ab":
        write_record(record_path(tmp_path, run, "train"), {"status": "ok", "key": "k"})
    find_damage(tmp_path, [str(manifest), str(tmp_path / "not-there.json")])
    record_path(tmp_path, "b", "train").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"b/train.json: not valid JSON .* after deleting .*batch.json too: only this run is repeated"):
        find_damage(tmp_path, [str(manifest)])
    record_path(tmp_path, "b", "train").unlink()
    with pytest.raises(RecordError, match=r"b/train.json: missing, though .*batch.json says it is done"):
        find_damage(tmp_path, [str(manifest)])


def test_a_failed_run_becomes_a_row(tmp_path):
    failure = {"reason": "the training loss is nan", "log_tail": "…"}
    write_record(
        record_path(tmp_path, "a", "train"), {"run": {"id": "a"}, "status": "failed", "failure": failure, "key": "k", "provenance": {}}
    )
    row = merge_record(tmp_path, "a")
    assert row["status"] == "failed"
    assert row["failure"] == failure
    assert row["test"] is None
    json.dumps(row, allow_nan=False)


def test_a_trained_run_that_could_not_be_evaluated_is_a_failed_row(tmp_path):
    failure = {"reason": "cat.jpg: unreadable image", "log_tail": "…"}
    trained = {"run": {"id": "a"}, "status": "ok", "failure": None, "key": "k", "provenance": {}}
    write_record(record_path(tmp_path, "a", "train"), trained)
    write_record(record_path(tmp_path, "a", "evaluate"), trained | {"status": "failed", "failure": failure})
    row = merge_record(tmp_path, "a")
    assert (row["status"], row["failure"], row["test"], row["evaluation"]) == ("failed", failure, None, None)


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    write_text(path, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]
