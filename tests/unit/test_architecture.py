"""The picture of the rooms is that of the code, and the page says what every room is for."""

import importlib.util
import re

import pytest


@pytest.fixture(scope="module")
def drawing(root):
    """The module that draws the picture."""
    spec = importlib.util.spec_from_file_location("draw_architecture", root / "docs/draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(drawing, root):
    drawn = (root / "docs/architecture.svg").read_text(encoding="utf-8")
    assert drawing.draw_architecture() == drawn, "the rooms or their imports changed: run `make architecture`"


def test_every_room_has_a_layer_and_a_paragraph(drawing, root):
    package = root / "src/selectbench"
    there = {path.stem for path in package.glob("[a-z]*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    layers = [room for layer in drawing.read_layers() for room in layer]
    assert sorted(layers) == sorted(there)
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    named = {name for bold in re.findall(r"\*\*(.+?)\*\*", text) for name in re.findall(r"`(\w+)`", bold)}
    assert named == there


def test_modules_are_imported_by_computed_names_only_where_ids_are_looked_up(root):
    """The import contracts see no such import: methods, samplers, agents and stages are found by the names of their files."""
    package = root / "src/selectbench"
    found = {
        (str(path.relative_to(package)), name)
        for path in package.rglob("*.py")
        for name in ("import_module", "load_class", "__import__")
        if f"{name}(" in path.read_text(encoding="utf-8")
    }
    assert found == {
        ("__init__.py", "import_module"),  # the library's names are loaded when they are first used
        ("registry.py", "import_module"),
        ("registry.py", "load_class"),
        ("methods/__init__.py", "load_class"),
        ("dynamic/__init__.py", "load_class"),
        ("llm/agents/__init__.py", "load_class"),
        ("planning/jobs.py", "load_class"),
        ("stages/_warm_process.py", "import_module"),  # what stages import, ahead of them
    }


def test_arrows_that_others_imply_are_left_out(drawing):
    arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert drawing.drop_implied(arrows) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}
    picture = drawing.draw([["a"], ["b"], ["c", "d"]], drawing.drop_implied(arrows), {"a"})
    assert picture.count("<path") == 3
    assert ">a/<" in picture and ">b<" in picture
