"""The picture of the rooms is that of the code, and the page says what every room is for."""

import ast
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


def find_unnamed_encodings(source):
    """Yield the lines of calls that read or write text in the encoding of the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        is_method = isinstance(node.func, ast.Attribute)
        is_file = name == "read_text" if is_method else name == "open"
        modes = [value.value for value in (*node.args[1:2], options.get("mode")) if isinstance(value, ast.Constant)]
        is_binary = any("b" in str(mode) for mode in modes)
        is_text = any(getattr(options.get(key), "value", None) is True for key in ("text", "universal_newlines"))
        if ((is_file and not is_binary) or is_text) and "encoding" not in options:
            yield node.lineno


def test_texts_are_read_and_written_in_an_encoding_that_is_named(root):
    calls = ["open('a')", "path.read_text()", "open('a', 'rb')", "run([], text=True)", "run([], encoding='utf-8')"]
    assert list(find_unnamed_encodings("\n".join(calls))) == [1, 2, 4]
    found = {
        path.name: lines
        for path in (root / "src").rglob("*.py")
        if (lines := list(find_unnamed_encodings(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


SAVERS = (  # write a file if they are given its path
    *("savefig", "imsave", "tofile", "savez", "savez_compressed", "savetxt", "memmap", "open_memmap", "to_csv", "to_parquet"),
    *("to_pickle", "to_excel", "save_pretrained", "TarFile", "FileHandler"),
)
PLACERS = (  # make or replace files, or fill folders
    *("copy2", "copyfile", "copytree", "move", "extractall", "touch", "symlink_to", "hardlink_to", "write_zip", "make_archive"),
    *("TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory", "mkdtemp", "mkstemp", "truncate"),
)
NAMED = ("torch.save", "np.save", "json.dump", "pickle.dump")
SYSTEM = ("os.replace", "os.rename", "os.open", "os.link", "shutil.copy")


def find_writers(source):
    """Yield the names of calls that write a file, save those to an open stream and those of the one writer's functions."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), [*node.args, *(keyword.value for keyword in node.keywords)]
        module, _, last = name.rpartition(".")
        texts = [part.value for part in given if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        is_written = any(re.fullmatch(r"[rwxabt+]{1,3}", text) and set(text) & set("wxa+") for text in texts)
        by_path = not any(isinstance(part, ast.Name) and part.id == "stream" for part in given)
        saves = last in SAVERS or name in NAMED or module in ("sqlite3", "shelve", "dbm") or (last in ("open", "ZipFile") and is_written)
        if (saves and by_path) or (last in ("write_text", "write_bytes") and module) or last in PLACERS or name in SYSTEM:
            yield name


def test_files_are_written_by_one_writer(root):
    """It leaves nothing half written and tells a full disk in one line; what goes around it is listed here with its reason."""
    around = [
        "open(path, 'w')",
        "path.open('xb')",
        "open(path, 'r+b')",
        "path.write_text('')",
        "torch.save(model, path)",
        "os.open(path, 1)",
    ]
    around += ["np.savez(path, x=x)", "np.save(path, x)", "figure.savefig(path)", "sqlite3.connect(path)", "shutil.copy(path, other)"]
    writers = ["open(path)", "open(path, 'rb')", "write_text(path, '')", "torch.save(model, stream)", "np.save(stream, x)", "x.copy()"]
    assert [len(list(find_writers(call))) for call in around + writers] == [1] * len(around) + [0] * len(writers)
    package = root / "src/selectbench"
    found = {
        (str(path.relative_to(package)), name)
        for path in package.rglob("*.py")
        for name in find_writers(path.read_text(encoding="utf-8"))
        if path != package / "records/files.py"
    }
    assert found == {
        ("records/leases.py", "os.open"),  # locks, which stay empty
        ("evidence/marks.py", "path.touch"),  # changes a time
        ("cli.py", "open"),  # os.devnull
        ("artefacts/tables.py", "frame.to_csv"),  # returns a text
        ("data/fetch.py", "tempfile.TemporaryDirectory"),  # a file is moved from there once it is whole, and its errors are told as its own
        ("data/fetch.py", "rows.to_parquet"),
        ("evidence/crate.py", "tempfile.TemporaryDirectory"),  # the same
        ("evidence/crate.py", "crate.write_zip"),
        ("evidence/crate.py", "os.replace"),
        ("evidence/remake.py", "tempfile.mkdtemp"),  # folders that are deleted at the end
        ("evidence/verify.py", "tempfile.TemporaryDirectory"),
        ("llm/proxies.py", "tempfile.TemporaryDirectory"),
        ("workflow.py", "tempfile.TemporaryFile"),  # asks whether a folder can be written to
        ("workflow.py", "tempfile.mkdtemp"),  # the sockets of warm processes
        ("workflow.py", "(folder / stage).symlink_to"),
    }
