"""Records and rows: what seals them, how they are merged, and that nothing malformed passes or ends in a traceback."""

import copy
import gzip
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

import annotated_types
import pytest
from artefact_fixtures import FAILED, make_pair, make_record, make_records
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from typing_extensions import get_type_hints, is_typeddict

from selectbench.errors import RecordError
from selectbench.records.checks import check_row
from selectbench.records.files import (
    DIGEST,
    digest_value,
    is_sealed,
    read_json,
    read_sealed,
    seal,
    write_json,
    write_sealed,
    write_text,
)
from selectbench.records.records import (
    COLLECTION,
    EVALUATE,
    SCHEMA,
    TRAIN,
    check_run,
    merge_record,
    merge_records,
    read_finished,
    read_record,
    read_records,
    read_run,
    record_path,
    split_row,
    write_collection,
    write_record,
    write_run,
)
from selectbench.records.rows import FailedRow, FinishedRow

QUICK = settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
RUN = ("digits/convnet-to-resnet8", "el2n", "0.3", 0)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=4)  # lone surrogates among them
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5)
AXES = {"id": "a", "method": "b"}


def assert_one_line(caught, *parts):
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)


# Seals


def test_the_order_of_keys_does_not_matter_and_any_change_does():
    sealed = seal({"b": [1, {"d": 2.5, "c": None}], "a": "é\ud800"})
    assert sealed == {"b": [1, {"d": 2.5, "c": None}], "a": "é\ud800", DIGEST: sealed[DIGEST]}
    assert is_sealed(dict(reversed(sealed.items()))) and is_sealed(json.loads(json.dumps(sealed))) and seal(sealed) == sealed
    assert not is_sealed({**sealed, "a": "é"}) and not is_sealed({**sealed, "more": None}) and not is_sealed({**sealed, DIGEST: None})
    assert not is_sealed({name: value for name, value in sealed.items() if name != "a"})
    assert not is_sealed({**sealed, "b": [{"d": 2.5, "c": None}, 1]})


@QUICK
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_whatever_is_sealed_is_read_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    write_sealed(path, value)
    assert read_sealed(path) == seal(value)
    assert {name: part for name, part in read_sealed(path).items() if name != DIGEST} == {
        name: part for name, part in value.items() if name != DIGEST
    }


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_neither_sealed_nor_taken_for_sealed(number):
    with pytest.raises(ValueError, match="Out of range float"):
        seal({"a": [number]})
    assert not is_sealed({"a": [number], DIGEST: "0"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN, "digest": "0"}', "edited or damaged: its digest is not that of its content"),
        ('{"a": -Infinity, "digest": "0"}', "edited or damaged"),
        ('{"a": 1e999, "digest": "0"}', "edited or damaged"),
        ('{"a": "\\ud800", "digest": "0"}', "edited or damaged"),
        ('{"a": 1, "digest": ["0"]}', "edited or damaged"),
        ('{"a": ' + "9" * 4000 + ', "digest": "0"}', "edited or damaged"),
        ('{"a": ' + "9" * 5000 + ', "digest": "0"}', "not valid JSON"),
        ('{"a": ' + "[" * 900 + "]" * 900 + ', "digest": "0"}', ""),
        ('{"a": ' + "[" * 100_000, "not valid JSON"),
        ('{"a": 1}', "has no digest of itself: it is cut short or was not written by selectbench"),
        ('{"digest": "0"', "not valid JSON"),
        ("[]", "holds a list instead of an object"),
        ("", "not valid JSON"),
    ],
)
def test_files_that_are_not_sealed_are_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read_sealed(path)
    assert_one_line(caught, f"{path}: ", message, "; delete it and run again")


def test_a_repeated_key_counts_once_and_never_hides_an_edit(tmp_path):
    path, sealed = tmp_path / "a.json", seal({"a": 2})
    path.write_text(f'{{"a": 1, "a": 2, "digest": "{sealed[DIGEST]}"}}', encoding="utf-8")
    assert read_sealed(path) == sealed
    path.write_text(f'{{"a": 2, "a": 1, "digest": "{sealed[DIGEST]}"}}', encoding="utf-8")
    with pytest.raises(RecordError, match="edited or damaged"):
        read_sealed(path)


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    write_text(path, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


# Records of runs


def write_pair(folder, train, evaluate=None):
    """Write the records of a run; neither is sealed anew."""
    for stage, record in ((TRAIN, train), (EVALUATE, evaluate)):
        path = record_path(folder, train["run"]["id"], stage)
        write_json(path, record) if record is not None else path.unlink(missing_ok=True)


def test_only_a_finished_record_of_the_same_key_counts(tmp_path):
    origin = {"run": "a/b", "data": "0"}
    key = digest_value(origin)
    record = {"key": key, "made_from": origin, "failure": None, "provenance": {}}
    assert read_finished(tmp_path, "a/b", TRAIN, key) is None
    write_run(tmp_path, TRAIN, {"id": "a/b"}, record | {"status": "failed"})
    assert read_finished(tmp_path, "a/b", TRAIN, key) is None
    write_run(tmp_path, TRAIN, {"id": "a/b"}, record | {"status": "ok"})
    assert read_finished(tmp_path, "a/b", TRAIN, "other") is None
    assert read_finished(tmp_path, "a/b", TRAIN, key)["status"] == "ok"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2, "status"', "not valid JSON"),
        ("[1]", "holds a list instead of an object"),
        ('{"schema": 1, "status": "ok"}', "record layout 1 is not 2; delete it and run again"),
        ('{"schema": 99}', "record layout 99 is of a newer version; update selectbench"),
        ('{"schema": 2, "status": "ok"}', "has no digest of itself"),
        ('{"schema": 2, "status": "ok", "digest": "0"}', "edited or damaged: its digest is not that of its content"),
        (json.dumps(seal({"schema": 2, "status": "fine"})), "not a record: its status is neither 'ok' nor 'failed'"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_a_corrupt_record_is_named(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=message) as caught:
        read_record(path)
    assert_one_line(caught, str(path))


@pytest.mark.parametrize(
    ("stage", "edit", "message"),
    [
        (TRAIN, lambda record: record["run"].update(id="other"), "run.id is 'other' and should be "),
        (TRAIN, lambda record: record.update(run=None), "run.id is None and should be "),
        (TRAIN, lambda record: record.update(run=["a"]), "run.id is ['a'] and should be "),
        (TRAIN, lambda record: record.pop("training"), "not the record of a training; delete it"),
        (TRAIN, lambda record: record.pop("key"), "not the record of a training; delete it"),
        (EVALUATE, lambda record: record.pop("made_from"), "not the record of an evaluation; delete it"),
        (EVALUATE, lambda record: record.pop("wall_s"), "not the record of an evaluation; delete it"),
        (TRAIN, lambda record: record["made_from"].update(data="other"), "key is not the digest of made_from; delete it"),
        (EVALUATE, lambda record: record.update(key="0"), "key is not the digest of made_from; delete it"),
        (TRAIN, lambda record: record.update(made_from={"run": "x"}, key=digest_value({"run": "x"})), "made_from is that of another run"),
        (EVALUATE, lambda record: record.update(made_from=[], key=digest_value([])), "key is not the digest of made_from; delete it"),
    ],
)
def test_the_record_of_another_run_or_stage_is_refused(tmp_path, stage, edit, message):
    pair = dict(zip((TRAIN, EVALUATE), make_pair(*RUN), strict=True))
    run_id, record = pair[TRAIN]["run"]["id"], copy.deepcopy(pair[stage])
    path = record_path(tmp_path, run_id, stage)
    write_record(path, record)
    assert read_run(tmp_path, run_id, stage) == pair[stage]
    edit(record)
    write_record(path, record)
    with pytest.raises(RecordError) as caught:
        read_run(tmp_path, run_id, stage)
    assert_one_line(caught, f"{path}: {message}")


def test_the_records_of_two_stages_are_told_apart():
    train, evaluate = make_pair(*RUN)
    check_run("x", train, train["run"]["id"], TRAIN)
    check_run("x", evaluate, train["run"]["id"], EVALUATE)
    with pytest.raises(RecordError, match=r"^x: not the record of an evaluation"):
        check_run("x", train, train["run"]["id"], EVALUATE)
    with pytest.raises(RecordError, match=r"^x: not the record of a training"):
        check_run("x", evaluate, train["run"]["id"], TRAIN)


# Rows


def fail_evaluation(evaluate: dict) -> dict:
    failure = {"reason": "cat.jpg: unreadable image", "log_tail": "…"}
    return seal(evaluate | {"status": "failed", "failure": failure, "test": None, "wall_s": None})


def list_pairs() -> dict[str, tuple[dict, dict | None]]:
    """Records of a run that succeeded, of one whose training failed, and of one whose evaluation failed."""
    train, evaluate = make_pair(*RUN)
    return {
        "ok": (train, evaluate),
        "failed training": make_pair(FAILED.partition("/equal_epochs")[0], "el2n", "0.3", 1),
        "failed evaluation": (train, fail_evaluation(evaluate)),
    }


@pytest.mark.parametrize("name", list_pairs())
def test_rows_are_merged_from_records_and_split_into_them(tmp_path, name):
    train, evaluate = list_pairs()[name]
    row = merge_records(train, evaluate)
    assert is_sealed(row) and row["records"] == {TRAIN: train[DIGEST], EVALUATE: evaluate and evaluate[DIGEST]}
    check_row("row", row)
    assert split_row(row) == (train, evaluate)
    assert split_row({**row, "imported": {"file": "x", "sha256": "y", "when": "z"}}) == (train, evaluate)
    write_pair(tmp_path, train, evaluate)
    assert merge_record(tmp_path, train["run"]["id"]) == row
    write_collection(tmp_path / "records.jsonl", [row])
    assert read_records(tmp_path / "records.jsonl") == {train["run"]["id"]: row}
    failure = next((record["failure"] for record in (train, evaluate) if record and record["failure"]), None)
    assert (row["status"], row["failure"]) == ("failed" if failure else "ok", failure)
    assert (row["test"] is None, row["evaluation"] is None) == (failure is not None, evaluate is None)


@pytest.mark.parametrize("edit", [{"num_kept": 3}, {"status": "failed"}, {"records": {TRAIN: "0", EVALUATE: "1"}}, {"evaluation": None}])
def test_a_row_that_is_not_that_of_its_records_is_refused(edit):
    row = make_record(*RUN) | edit
    with pytest.raises(RecordError) as caught:
        split_row(row)
    assert_one_line(caught, f"{row['run']['id']}: the row is not that of the records that it names")


def test_an_evaluation_of_other_weights_or_of_another_run_is_refused():
    train, evaluate = make_pair(*RUN)
    other = evaluate["made_from"] | {"weights": "9" * 64}
    with pytest.raises(RecordError, match="the evaluation is not that of the trained weights; delete its evaluate.json"):
        merge_records(train, seal(evaluate | {"made_from": other, "key": digest_value(other)}))
    other = evaluate["made_from"] | {"training": "9" * 64}
    with pytest.raises(RecordError, match="the evaluation is that of another training; delete its evaluate.json"):
        merge_records(train, seal(evaluate | {"made_from": other, "key": digest_value(other)}))
    with pytest.raises(RecordError, match="the evaluation is that of another run; delete its evaluate.json"):
        merge_records(train, seal(evaluate | {"run": evaluate["run"] | {"seed": 1}}))


def test_collections_are_read_as_written_and_edits_name_the_line(tmp_path):
    path, rows = tmp_path / "records.jsonl", make_records()[:3]
    write_collection(path, rows)
    assert list(read_records(path).values()) == rows
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace('"num_kept": ', '"num_kept": 1'), lines[2]]), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read_records(path)
    assert_one_line(caught, f"{path}: line 2 ({rows[1]['run']['id']}): edited or damaged; delete the file and run again")


def test_a_collection_is_compressed_if_its_name_says_so_and_damage_is_one_line(tmp_path):
    plain, packed, rows = tmp_path / "records.jsonl", tmp_path / COLLECTION, make_records()[:3]
    for path in (plain, packed):
        write_collection(path, rows)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes() and read_records(packed) == read_records(plain)
    content = packed.read_bytes()
    write_collection(packed, rows)
    assert packed.read_bytes() == content  # without the time of writing
    for damaged in (content[: len(content) // 2], content[:-1] + b"?", b"no gzip", gzip.compress(b"\xff")):
        packed.write_bytes(damaged)
        with pytest.raises(RecordError) as caught:
            read_records(packed)
        assert_one_line(caught, f"{packed}: not readable UTF-8 text (", "); delete it and run again")


# Types and ranges, walked as rows.py declares them


def list_fields(kind) -> dict[str, tuple[object, bool]]:
    """Return the fields of a typed dictionary: name → type, and whether it must be there; one of its own type is left out."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True) for name, hint in hints.items()}
    return {name: field for name, field in fields.items() if field[0] is not kind}


def find_range(kind) -> tuple[type, dict[str, float]] | None:
    """Return the type and the bounds of a number; None if the type is not that of a number."""
    base, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    names = {annotated_types.Ge: "ge", annotated_types.Gt: "gt", annotated_types.Le: "le"}
    return (base, {names[type(mark)]: getattr(mark, names[type(mark)]) for mark in marks}) if base in (int, float) else None


def list_arms(kind) -> list[object] | None:
    """Return the types that a union allows; None if it is not one."""
    return list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else None


def make_example(kind) -> Any:
    """Return a valid value of a type with every field that may be there and nothing None that need not be."""
    if is_typeddict(kind):
        return {name: make_example(field) for name, (field, _) in list_fields(kind).items()}
    if (arms := list_arms(kind)) is not None:
        return make_example(arms[0])
    if (number := find_range(kind)) is not None:
        return number[0](1)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return [make_example(arguments[0])]
    if origin is dict:
        return {"name": make_example(arguments[1])}
    if origin is Literal:
        return arguments[0]
    plain = {str: "text", bool: True, type(None): None, Any: {}, Mapping: {}}
    return plain[origin or kind]


def walk_leaves(kind, path=()):
    """Yield the path and type of every leaf of a type, as in its example."""
    if is_typeddict(kind):
        for name, (field, _) in list_fields(kind).items():
            yield from walk_leaves(field, (*path, name))
    elif get_origin(kind) is list:
        yield from walk_leaves(get_args(kind)[0], (*path, 0))
    elif get_origin(kind) is dict:
        yield from walk_leaves(get_args(kind)[1], (*path, "name"))
    elif (arms := list_arms(kind)) is not None and (is_typeddict(arms[0]) or get_origin(arms[0]) in (list, dict)):
        yield from walk_leaves(arms[0], path)
    else:
        yield path, kind


def list_wrong(kind) -> list[object]:
    """Return values that a leaf must not have: of other types, and beyond its bounds."""
    arms = list_arms(kind) or [kind]
    wrong: list[object] = [] if type(None) in arms else [None]
    for arm in arms[:1] if find_range(arms[0]) else []:
        base, bounds = find_range(arm)
        wrong += [True, "1", [1], {"a": 1}, *([1.5] if base is int else [float("nan"), float("inf")])]
        wrong += [bound - 1 for name, bound in bounds.items() if name in ("ge", "gt")]
        wrong += [bounds[name] + beyond for name, beyond in (("gt", 0), ("le", 1)) if name in bounds]
    if arms[0] is str and int not in arms:
        wrong += [1, ["a"], {}]
    if arms == [type(None)]:
        wrong += [1, {}]
    if arms[0] is bool:
        wrong += [1, "yes"]
    if get_origin(arms[0]) is Literal:
        wrong += ["fine", 1]
    if get_origin(arms[0]) is Mapping:
        wrong += [1, "a"]
    return wrong if Any not in arms else []


def replace_at(value: Any, path: tuple, new: object) -> Any:
    """Return a copy of a value with another one in one place."""
    if not path:
        return new
    found = copy.copy(value)
    found[path[0]] = replace_at(found[path[0]], path[1:], new)
    return found


LEAVES = {".".join(map(str, path)): (path, kind) for path, kind in walk_leaves(FinishedRow)}
UNBOUNDED = {  # numbers that may have any value: seeds, a loss that may be negative, and what agents and searches report
    *("schema", "seeds.init", "seeds.selection", "training.final_loss", "selection.search.value"),
    *(path for path in LEAVES if path.startswith("selection.trajectory.")),
}


def test_every_number_of_a_row_has_a_range_or_is_known_to_have_none():
    numbers = {path: next(filter(None, map(find_range, list_arms(kind) or [kind])), None) for path, (_, kind) in LEAVES.items()}
    assert {path for path, number in numbers.items() if number is not None and not number[1]} == UNBOUNDED | {"seeds.streams.0"}


def test_the_example_and_all_synthetic_rows_are_valid():
    for row in (make_example(FinishedRow), make_example(FailedRow), *make_records()):
        check_row("row", row)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_value_of_another_type_or_out_of_range_is_named(leaf):
    path, kind = LEAVES[leaf]
    row = make_example(FinishedRow)
    for value in list_wrong(kind):
        with pytest.raises(RecordError) as caught:
            check_row("records.jsonl: x", replace_at(row, path, value))
        if leaf != "status":  # which then decides what the others may be
            assert_one_line(caught, f"records.jsonl: x: {leaf}")
    assert list_wrong(kind) or kind in (Any, dict[str, Any])


def walk_dictionaries(kind, path=()):
    """Yield the path and type of every typed dictionary."""
    for arm in list_arms(kind) or [kind]:
        if is_typeddict(arm):
            yield path, arm
            for name, (field, _) in list_fields(arm).items():
                yield from walk_dictionaries(field, (*path, name))
        elif get_origin(arm) in (list, dict):
            yield from walk_dictionaries(get_args(arm)[-1], (*path, 0 if get_origin(arm) is list else "name"))


@pytest.mark.parametrize(
    ("path", "kind"), [pytest.param(*found, id=".".join(map(str, found[0]))) for found in walk_dictionaries(FinishedRow)]
)
def test_a_field_that_is_missing_or_too_much_is_named(path, kind):
    row = make_example(FinishedRow)
    inner = row
    for part in path:
        inner = inner[part]
    for name, (_, is_required) in list_fields(kind).items():
        fewer = {other: value for other, value in inner.items() if other != name}
        if not is_required:
            check_row("x", replace_at(row, path, fewer))
            continue
        with pytest.raises(RecordError) as caught:
            check_row("x", replace_at(row, path, fewer))
        if name != "status" or path:
            assert_one_line(caught, f"x: {'.'.join(map(str, (*path, name)))}: Field required")
    with pytest.raises(RecordError) as caught:
        check_row("x", replace_at(row, path, {**inner, "odd\nname": 1}))
    assert_one_line(caught, "odd\\nname", "Extra inputs are not permitted")


# Nothing malformed ends in a traceback


def make_strategy(kind) -> st.SearchStrategy:
    """Return a strategy for the valid values of a type."""
    if is_typeddict(kind):
        fields = list_fields(kind)
        required = {name: make_strategy(field) for name, (field, is_required) in fields.items() if is_required}
        return st.fixed_dictionaries(
            required, optional={name: make_strategy(field) for name, (field, is_required) in fields.items() if not is_required}
        )
    if (arms := list_arms(kind)) is not None:
        return st.one_of(*map(make_strategy, arms))
    if (number := find_range(kind)) is not None:
        base, bounds = number
        least, most = bounds.get("ge", bounds.get("gt")), bounds.get("le")
        if base is int:
            return st.integers(least if "gt" not in bounds else least + 1, most)
        return st.floats(least, most, exclude_min="gt" in bounds, allow_nan=False, allow_infinity=False)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return st.lists(make_strategy(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXTS, make_strategy(arguments[1]), max_size=2)
    if origin is Literal:
        return st.sampled_from(arguments)
    return {str: TEXTS, bool: st.booleans(), type(None): st.none(), Any: VALUES, Mapping: st.dictionaries(TEXTS, VALUES, max_size=2)}[
        origin or kind
    ]


@QUICK
@given(make_strategy(FinishedRow), st.sampled_from(["ok", "failed training", "failed evaluation"]))
def test_any_valid_records_are_merged_and_split_again(drawn, outcome):
    weights, stages = {"model.pt": "2"}, list_pairs()[outcome]
    parts = [{name: drawn[name] for name in record if name in drawn} for record in stages if record is not None]
    records = []
    for part, record in zip(parts, stages, strict=False):
        origin = drawn["made_from"] if record is stages[0] else drawn["evaluation"]["made_from"]
        if origin is not None and record is not stages[0]:
            origin = origin | {"training": records[0]["key"], "weights": weights["model.pt"]}
        kept = {name: record[name] for name in ("schema", "status", "failure") if name in record}
        own = {"key": digest_value(origin), "made_from": origin, "run": drawn["run"]}
        own |= {"sha256": weights} if record is stages[0] and outcome != "failed training" else {}
        records.append(seal({**record, **part, **kept, **own, **({"test": record["test"]} if record.get("test", 0) is None else {})}))
    row = merge_records(records[0], records[1] if len(records) > 1 else None)
    check_row("row", row)
    assert split_row(row) == (records[0], records[1] if len(records) > 1 else None)


def list_places(value: Any, path=()):
    """Yield the path of every value in nested JSON."""
    yield path
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from list_places(inner, (*path, name))


def edit_somewhere(draw, record: dict, *, new: st.SearchStrategy = VALUES) -> dict:
    """Return a record with one value replaced, or with one field more."""
    path = draw(st.sampled_from([*list_places(record)][1:]))
    edited = replace_at(record, path, draw(new))
    return draw(st.sampled_from([edited, {**record, draw(TEXTS): draw(VALUES)}, seal(edited), seal(edited), seal(edited)]))


def explain(action):
    """Return what an action returns, or None if it ends in the one line of a ``RecordError``."""
    message = ""
    try:
        return action()
    except RecordError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None


@pytest.mark.parametrize("name", list_pairs())
def test_a_value_of_any_type_in_any_place_is_explained(name):
    """Sealed anew, so that nothing but the checks of the values themselves can refuse it."""
    train, evaluate = list_pairs()[name]
    run_id, row = train["run"]["id"], merge_records(train, evaluate)

    def merge(train, evaluate):
        for stage, record in ((TRAIN, train), (EVALUATE, evaluate)):
            if record is not None:
                check_run("x", record, run_id, stage)
        row = merge_records(train, evaluate)
        check_row("x", row)
        split_row(row)

    for value in (None, True, -1, 1.5, "a\nb", [], [1], {}, {"a": 1}):
        for path in [*list_places(row)][1:]:
            edited = seal(replace_at(row, path, value))
            explain(lambda edited=edited: (check_row("x", edited), split_row(edited)))
        for path in [*list_places(train)][1:]:
            explain(lambda path=path, value=value: merge(seal(replace_at(train, path, value)), evaluate))
        for path in [*list_places(evaluate)][1:]:
            explain(lambda path=path, value=value: merge(train, seal(replace_at(evaluate, path, value))))


@QUICK
@given(st.data(), st.sampled_from(sorted(list_pairs())))
def test_an_edited_row_is_explained_or_still_a_row(tmp_path_factory, data, outcome):
    path = tmp_path_factory.getbasetemp() / "edited.jsonl"
    row = merge_records(*list_pairs()[outcome])
    edited = edit_somewhere(data.draw, row)
    path.write_text(json.dumps(edited) + "\n", encoding="utf-8")

    def read():
        ((run, found),) = read_records(path).items()
        check_row(run, found)
        split_row(found)
        return found

    found = explain(read)
    assert found in (None, edited)
    assert found is None or is_sealed(found)


@QUICK
@given(st.data(), st.sampled_from(sorted(list_pairs())))
def test_an_edited_record_is_explained_or_still_a_record(tmp_path_factory, data, outcome):
    folder, (train, evaluate) = tmp_path_factory.getbasetemp() / "edited", list_pairs()[outcome]
    run_id, edits_training = train["run"]["id"], evaluate is None or data.draw(st.booleans())
    edited = edit_somewhere(data.draw, train if edits_training else evaluate)
    write_pair(folder, train, evaluate)
    write_json(record_path(folder, run_id, TRAIN if edits_training else EVALUATE), edited)

    def read():
        row = merge_record(folder, run_id)
        check_row(run_id, row)
        return row

    row = explain(read)
    if row is not None:
        assert is_sealed(row) and edited[DIGEST] in row["records"].values()


@QUICK
@given(st.one_of(VALUES, st.dictionaries(st.sampled_from(["schema", "status", "digest", "run", "key"]), VALUES)), st.booleans())
def test_any_json_is_explained(tmp_path_factory, value, sealed):
    path = tmp_path_factory.getbasetemp() / "runs/a/train.json"
    value = seal({"schema": SCHEMA, "status": "ok", **value}) if sealed and isinstance(value, dict) else value
    write_text(path, json.dumps(value) + "\n")
    assume(not sealed or isinstance(value, dict))
    for read in (read_sealed, read_record, read_records, lambda path: merge_record(path.parents[2], "a")):
        explain(lambda read=read: read(path))
    if isinstance(value, dict):
        explain(lambda: check_row("x", value))
