"""The fingerprint matrix: touch, comment, docstring, format, move, real edit, and who imports the module."""

import importlib.util
import os
import re
import shutil
import subprocess
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


@pytest.mark.parametrize(("old", "new"), [("training.recipes", "models.recipes"), ("seeds", "records.seeds")])
def test_a_move_in_the_real_package_makes_no_stage_stale(root, tmp_path, old, new):
    """Imports are rewritten and sorted, as they are in a real move."""
    shutil.copytree(root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    package = tmp_path / "src/selectbench"
    (package / f"{old.replace('.', '/')}.py").rename(package / f"{new.replace('.', '/')}.py")
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(rf"\bselectbench\.{re.escape(old)}\b", f"selectbench.{new}", text), encoding="utf-8")
    sort = [sys.executable, "-m", "ruff", "check", "--select", "I", "--fix", "--quiet", str(tmp_path)]
    subprocess.run(sort, check=True, cwd=tmp_path)
    program = (
        "from selectbench.planning.fingerprint import fingerprint; from selectbench.planning.jobs import load_stages;"
        "print({name: fingerprint(f'selectbench.stages.{name}') for name in load_stages()})"
    )
    fingerprints = [
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True
        ).stdout
        for source in (root / "src", tmp_path / "src")
    ]
    assert fingerprints[0] == fingerprints[1]


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


SORTED = "from selectbench.far import value\nfrom selectbench.near import value as near\n\ndef run():\n    return value, near\n"


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("from selectbench.near import value as near\nfrom selectbench.far import value\n\ndef run():\n    return value, near\n", False),
        (SORTED.replace("value as near", "value as other").replace("near\n", "other\n", 1).replace("value, near", "value, other"), True),
        (
            "from selectbench.unrelated import value\nfrom selectbench.near import value as near\n\ndef run():\n    return value, near\n",
            True,
        ),
    ],
)
def test_the_order_of_imports_does_not_count(package, text, shows):
    folder, fingerprint = package
    (folder / "stage.py").write_text(SORTED, encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "stage.py").write_text(text, encoding="utf-8")
    assert (fingerprint("selectbench.stage") != before) == shows


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import selectbench.far as p\nimport selectbench.lazy as q\n", "import selectbench.far as q\nimport selectbench.lazy as p\n"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    x = 1\n", "if TYPE_CHECKING:\n    pass\nelse:\n    x = 2\n"),
        (
            "class FastSpec(Base):\n    def step(self):\n        return 1\n",
            "class FastSpec(Base):\n    def step(self):\n        return 2\n",
        ),
        ("def f():\n    x: int\n    return x\n", "def f():\n    return x\n"),
    ],
)
def test_behaviour_that_looks_like_a_type_counts(package, old, new):
    folder, fingerprint = package
    (folder / "stage.py").write_text(old, encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "stage.py").write_text(new, encoding="utf-8")
    assert fingerprint("selectbench.stage") != before


def test_a_name_that_a_module_only_passes_on_leads_to_where_it_comes_from(package):
    folder, fingerprint = package
    (folder / "middle.py").write_text("from selectbench.far import value\n\ndef f(x: value): ...\n", encoding="utf-8")
    (folder / "stage.py").write_text("from selectbench.middle import value\nresult = value\n", encoding="utf-8")
    before = fingerprint("selectbench.stage")
    (folder / "far.py").write_text("value = 5\n", encoding="utf-8")
    assert fingerprint("selectbench.stage") != before


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


def test_the_process_that_a_stage_runs_in_does_not_count_but_other_calls_do(package):
    folder, fingerprint = package
    (folder / "stages").mkdir()
    (folder / "stages/_warm_start.py").write_text("def start_warm(): ...\n", encoding="utf-8")
    (folder / "stages/one.py").write_text("", encoding="utf-8")
    package_code, digests = "import sys\n{}import gc\nprint(gc)\n", []
    for added in (
        "",
        "from selectbench.stages._warm_start import start_warm\nstart_warm()\n",
        "from selectbench.stages._warm_start import start_warm\nstart_warm()\nprint()\n",
        "print()\n",
    ):
        (folder / "stages/__init__.py").write_text(package_code.format(added), encoding="utf-8")
        digests.append(fingerprint("selectbench.stages", "selectbench.stages.one"))
    assert digests[0] == digests[1] != digests[2] == digests[3]
