"""The fingerprint matrix: touch, comment, docstring, format, move, real edit, and who imports the module."""

import importlib.util
import shutil
import sys

import pytest

STAGE = "from selectbench import near\n\ndef run():\n    import selectbench.lazy\n    return near.value + selectbench.lazy.value\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A miniature ``selectbench`` containing the real fingerprint module."""
    from selectbench.planning import fingerprint as real

    folder = tmp_path / "selectbench"
    for name in ("methods", "planning"):
        (folder / name).mkdir(parents=True)
    shutil.copy(real.__file__, folder / "planning/fingerprint.py")
    files = {
        "__init__.py": '"""Package."""\n',
        "stage.py": STAGE,
        "near.py": "from .far import value\n",
        "far.py": "value = 1\n",
        "lazy.py": "value = 2\n",
        "unrelated.py": "value = 3\n",
        "methods/__init__.py": "from ..far import value\n",
        "methods/one.py": "from . import _base\n",
        "methods/two.py": "x = f'{1}'\n",
        "methods/_base.py": "y = 1\n",
        "page.html": "<p>\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")

    def fingerprint(*modules, files=()):
        """Reload the copied module, as a new process would."""
        spec = importlib.util.spec_from_file_location("copied_fingerprint", folder / "planning/fingerprint.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["copied_fingerprint"] = module
        spec.loader.exec_module(module)
        return module.fingerprint(*modules, files=files)

    return folder, fingerprint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("far.py", "value = 1\n"),
        ("far.py", "# a comment\nvalue = 1  # another\n"),
        ("far.py", '"""A docstring."""\n\nvalue = 1\n'),
        ("far.py", "value = (\n    1\n)\n"),
("stage.py", STAGE.replace("():\n", "():\n    'Doc.'\n")),
        ("unrelated.py", "value = 4\n"),
        ("methods/one.py", "z = 5\n"),
    ],
)  # fmt: skip
def test_cosmetics_and_strangers_change_nothing(package, name, text):
    folder, fingerprint = package
    before = fingerprint("selectbench.stage")
    (folder / name).write_text(text, encoding="utf-8")
    assert fingerprint("selectbench.stage") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stage.py", "from selectbench import near\n"),
        ("near.py", "from .far import value as value\nvalue += 1\n"),
        ("far.py", "value = 1.0\n"),
        ("far.py", "value = '1'\n"),
        ("lazy.py", "value = 3\n"),
        ("__init__.py", "import selectbench.unrelated\n"),
    ],
)
def test_a_real_edit_anywhere_in_the_closure_shows(package, name, text):
    folder, fingerprint = package
    before = fingerprint("selectbench.stage")
    (folder / name).write_text(text, encoding="utf-8")
    assert fingerprint("selectbench.stage") != before


def test_one_method_does_not_see_another(package):
    folder, fingerprint = package
    one, two = fingerprint("selectbench.methods.one"), fingerprint("selectbench.methods.two")
    (folder / "methods/two.py").write_text("x = f'{2}'\n", encoding="utf-8")
    assert fingerprint("selectbench.methods.one") == one
    assert fingerprint("selectbench.methods.two") != two
    (folder / "methods/_base.py").write_text("y = 2\n", encoding="utf-8")
    assert fingerprint("selectbench.methods.one") != one


def test_files_read_at_run_time_count_when_named(package):
    folder, fingerprint = package
    before = fingerprint("selectbench.far", files=("page.html",))
    (folder / "page.html").write_text("<p></p>\n", encoding="utf-8")
    assert fingerprint("selectbench.far", files=("page.html",)) != before


def test_a_moved_module_changes_nothing(package):
    folder, fingerprint = package
    before = fingerprint("selectbench.stage"), fingerprint("selectbench.methods.one")
    (folder / "rooms").mkdir()
    (folder / "rooms/__init__.py").write_text('"""A room."""\n', encoding="utf-8")
    for name in ("near.py", "far.py"):
        shutil.move(folder / name, folder / "rooms" / name)
    (folder / "stage.py").write_text(STAGE.replace("from selectbench import near", "from selectbench.rooms import near"), encoding="utf-8")
    (folder / "methods/__init__.py").write_text("from selectbench.rooms.far import value\n", encoding="utf-8")
    assert (fingerprint("selectbench.stage"), fingerprint("selectbench.methods.one")) == before
    (folder / "rooms/far.py").write_text("value = 9\n", encoding="utf-8")
    assert fingerprint("selectbench.stage") != before[0]


def test_an_import_of_another_module_with_the_same_names_shows(package):
    folder, fingerprint = package
    before = fingerprint("selectbench.near")
    (folder / "near.py").write_text("from .unrelated import value\n", encoding="utf-8")
    assert fingerprint("selectbench.near") != before


DECLARED = """from selectbench.far import value
from selectbench.unrelated import value as cost

class Stage:
    pass

class Job(Stage):
    seconds = cost

def work():
    return value
"""


@pytest.mark.parametrize(
    ("old", "new", "shows"),
    [
        ("seconds = cost", "seconds = 2 * cost", False),
        (
            "from selectbench.unrelated import value as cost\n\nclass Stage:\n    pass\n\nclass Job(Stage):\n    seconds = cost",
            "class Stage:\n    pass\n\nclass Job(Stage):\n    seconds = 1",
            False,
        ),
        ("    return value", "    return -value", True),
        ("    return value", "    return cost", True),
        ("from selectbench.far", "from selectbench.lazy", True),
    ],
)
def test_what_a_stage_declares_to_the_plan_is_no_code_of_its_work(package, old, new, shows):
    folder, fingerprint = package
    (folder / "stage.py").write_text(DECLARED, encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "stage.py").write_text(DECLARED.replace(old, new), encoding="utf-8")
    assert (fingerprint("selectbench.stage") != before) == shows
    (folder / "stage.py").write_text(DECLARED, encoding="utf-8")
    (folder / "unrelated.py").write_text("value = 33\n", encoding="utf-8")
    assert fingerprint("selectbench.stage") == before


TYPED = """from typing import TypedDict
from selectbench.far import value
from selectbench.unrelated import value as Kind

class Entry(TypedDict):
    kind: Kind

def work(given: Kind) -> Kind:
    found: Kind = given
    return found + value
"""


@pytest.mark.parametrize(
    ("old", "new", "shows"),
    [
        ("    kind: Kind", "    kind: str", False),
        ("(given: Kind) -> Kind", "(given: int) -> float", False),
        ("    found: Kind = given", "    found = given", False),
        ("    found: Kind = given", "    found: Kind = 2 * given", True),
        ("(given: Kind) -> Kind", "(given: Kind, value=3) -> Kind", True),
    ],
)
def test_types_do_not_count(package, old, new, shows):
    folder, fingerprint = package
    (folder / "stage.py").write_text(TYPED, encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "stage.py").write_text(TYPED.replace(old, new), encoding="utf-8")
    assert (fingerprint("selectbench.stage") != before) == shows
    (folder / "stage.py").write_text(TYPED, encoding="utf-8")
    (folder / "unrelated.py").write_text("value = 33\n", encoding="utf-8")
    assert fingerprint("selectbench.stage") == before


def test_fields_of_dataclasses_count(package):
    folder, fingerprint = package
    text = "from dataclasses import dataclass\n\n@dataclass\nclass Settings:\n    rate: float = 1.0\n"
    (folder / "stage.py").write_text(text, encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "stage.py").write_text(text.replace("rate: float = 1.0", "rate: int = 1.0"), encoding="utf-8")
    assert fingerprint("selectbench.stage") != before


def test_imports_for_type_checkers_do_not_count(package):
    folder, fingerprint = package
    before = fingerprint("selectbench.far")
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from selectbench import {}\n\nvalue = 1\n"
    (folder / "far.py").write_text(text.format("near"), encoding="utf-8")
    with_near = fingerprint("selectbench.far")
    (folder / "far.py").write_text(text.format("lazy"), encoding="utf-8")
    assert fingerprint("selectbench.far") == with_near == before


def test_the_real_closures_are_what_they_should_be():
    from selectbench.planning.fingerprint import import_closure

    train = import_closure("selectbench.stages.train_targets")
    assert {"selectbench.training.engine", "selectbench.data.splits", "selectbench.models.small", "selectbench.seeds"} <= train
    assert not {name for name in train if name.startswith(("selectbench.methods", "selectbench.artefacts", "selectbench.data.fetch"))}
    table = import_closure("selectbench.stages.make_table")
    assert "selectbench.artefacts.tables" in table
    assert not {name for name in table if "engine" in name or "figures" in name}
    score = import_closure("selectbench.stages.score_samples", "selectbench.methods.el2n")
    assert {name for name in score if name.startswith("selectbench.methods.")} == {"selectbench.methods._base", "selectbench.methods.el2n"}
