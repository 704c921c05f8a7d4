"""Fingerprint of the code that can influence a result: a stage's import closure inside this package."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = "selectbench"


def fingerprint(*modules: str, files: tuple[str, ...] = ()) -> str:
    """Return a digest of the modules and of every module of this package they import, at any depth and anywhere in a file.

    Comments, docstrings, formatting and line numbers do not enter; a changed statement anywhere in the closure does. Modules
    that are imported by a name computed at run time (the methods) are not found: name them.

    Parameters
    ----------
    *modules : dotted names inside ``selectbench``
    files : other files of the package that are read at run time, relative to it

    Returns
    -------
    16 hexadecimal digits
    """
    digest = hashlib.sha256()
    for name in sorted(import_closure(*modules)):
        digest.update(f"{name}\0{_normal_form(name)}\0".encode())
    for name in sorted(files):
        digest.update(f"{name}\0".encode() + (Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def import_closure(*modules: str) -> set[str]:
    """Return the modules and every module of this package they import, directly or not."""
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in closure:
            closure.add(name)
            waiting.extend(_imports(name))
    return closure


@cache
def _source(name: str) -> Path | None:
    """Return the file of a module of this package, without importing it."""
    root = Path(__file__).parent
    path = root.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _tree(name: str) -> ast.Module:
    source = _source(name)
    if source is None:
        raise ModuleNotFoundError(f"no module {name!r} in this package", name=name)
    return ast.parse(source.read_text(encoding="utf-8"))


@cache
def _imports(name: str) -> frozenset[str]:
    """Return the package's modules that one module imports, parents included (importing ``a.b`` runs ``a`` too)."""
    found: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if _source(name).name == "__init__.py" else name.rpartition(".")[0]
                base = importlib.util.resolve_name("." * node.level + base, package)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    inside = {module for module in found if module.split(".")[0] == _PACKAGE and _source(module)}
    parents = {".".join(parts[:end]) for module in (*inside, name) if (parts := module.split(".")) for end in range(1, len(parts))}
    return frozenset(inside | parents)


@cache
def _normal_form(name: str) -> str:
    return "".join(_flatten(_without_docstrings(_tree(name))))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return tree


def _flatten(node: object) -> Iterator[str]:
    """Spell a syntax tree out; empty fields are left out, so that the text is the same for every Python since 3.11."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field, value in ast.iter_fields(node):
            if value not in (None, []):
                yield f" {field}="
                yield from _flatten(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _flatten(item)
        yield "]"
    else:
        yield repr(node)
