"""The fingerprint matrix: touch, comment, docstring, format, real edit, by whom it is imported."""

import importlib.util
import shutil
import sys

import pytest

STAGE = "from selectbench import near\n\ndef run():\n    import selectbench.lazy\n    return near.value + selectbench.lazy.value\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A miniature ``selectbench`` with the real fingerprint module in it."""
    from selectbench import fingerprint as real

    folder = tmp_path / "selectbench"
    (folder / "methods").mkdir(parents=True)
    shutil.copy(real.__file__, folder / "fingerprint.py")
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
        """Load the copied module anew, as a new process would."""
        spec = importlib.util.spec_from_file_location("copied_fingerprint", folder / "fingerprint.py")
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


def test_the_real_closures_are_what_they_should_be():
    from selectbench.fingerprint import import_closure

    train = import_closure("selectbench.stages.train_targets")
    assert {"selectbench.engine", "selectbench.data.splits", "selectbench.models.small", "selectbench.seeds"} <= train
    assert not {name for name in train if name.startswith(("selectbench.methods", "selectbench.artefacts", "selectbench.data.fetch"))}
    table = import_closure("selectbench.stages.make_table")
    assert "selectbench.artefacts.tables" in table
    assert not {name for name in table if "engine" in name or "figures" in name}
    score = import_closure("selectbench.stages.score_samples", "selectbench.methods.el2n")
    assert {name for name in score if name.startswith("selectbench.methods.")} == {"selectbench.methods._base", "selectbench.methods.el2n"}
