import jsonschema
import pytest
import yaml
from data_fixtures import ROOT, load_entries

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/datasets.schema.yaml").read_text(encoding="utf-8"))


def walk_schemas(schema, path="schema"):
    yield path, schema
    for keyword in ("properties", "patternProperties", "$defs"):
        for key, child in schema.get(keyword, {}).items():
            yield from walk_schemas(child, f"{path}.{key}")
    if "items" in schema:
        yield from walk_schemas(schema["items"], f"{path}[]")


def test_schema_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", list(load_entries()))
def test_entry_is_valid(name):
    jsonschema.validate({name: load_entries()[name]}, SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(("path", "schema"), list(walk_schemas(SCHEMA)), ids=lambda value: value if isinstance(value, str) else "")
def test_every_key_has_a_description_and_objects_are_closed(path, schema):
    assert schema["description"]
    assert {"type", "enum", "$ref"} & set(schema)
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.update(colour=1), "colour"),
        (lambda entry: entry.pop("licence"), "licence"),
        (lambda entry: entry["sources"][0].pop("version"), "version"),
        (lambda entry: entry["sources"][1]["files"][0].pop("url"), "url"),
        (lambda entry: entry["sources"][1]["files"][0].pop("sha256"), "not valid under any"),
        (lambda entry: entry["test_sets"]["test"].update(kind="ood"), "ood"),
    ],
)
def test_mistakes_are_refused(change, message):
    entry = load_entries()["cifar10"]
    change(entry)
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate({"cifar10": entry}, SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tests: tests["imagenet_a"].pop("class_list"), "class_list"),
        (lambda tests: tests["imagenet_a"].pop("layout"), "False schema"),
        (lambda tests: tests["imagenet_r"].pop("folder"), "folder"),
        (lambda tests: tests["imagenet_r"].pop("licence"), "licence"),
        (lambda tests: tests["imagenet_r"].pop("note"), "note"),
        (lambda tests: tests["imagenet_r"].update(folder="../imagenet-r"), "does not match"),
        (lambda tests: tests["imagenet_hard"].update(class_list="imagenet_a_classes.txt"), "False schema"),
        (lambda tests: tests["imagenet_hard"].update(layout="parquet"), "parquet"),
    ],
)
def test_mistakes_in_placed_test_sets_are_refused(change, message):
    entry = load_entries()["imagenet1k"]
    change(entry["test_sets"])
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate({"imagenet1k": entry}, SCHEMA, jsonschema.Draft202012Validator)


def test_pinned_arrays_are_of_known_splits():
    for entry in load_entries().values():
        assert set(entry.get("arrays", {})) <= {"pool", *entry.get("test_sets", ())}
