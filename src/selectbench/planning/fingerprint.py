"""Fingerprint of the code that can influence a result: what a stage and all modules it imports say, wherever they lie."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = "selectbench"
_ROOT = Path(__file__).parents[1]
_DECLARED = ("Stage", "Spec", "TypedDict")  # how the names of bases end whose classes declare jobs or types


def fingerprint(*modules: str, files: tuple[str, ...] = ()) -> str:
    """Return a digest of the modules and of every module of this package they import, at any depth and anywhere in a file.

    A changed statement anywhere in the closure changes the digest. What cannot influence a result does not: comments, docstrings,
    formatting and line numbers; the name and place of a module, since imports count by what the imported module says; types, that is
    annotations outside of classes, typed dictionaries and imports for type checkers; and declarations of stages, since what they say
    reaches a job through its specification. Imports that only types and declarations need are not followed. Modules that are imported
    by a name computed at run time (the methods) are not found: name them.

    Parameters
    ----------
    *modules : dotted names inside ``selectbench``
    files : other files of the package that are read at run time, relative to it

    Returns
    -------
    16 hexadecimal digits
    """
    digest = hashlib.sha256()
    for text in sorted({_spell_module(name) for name in import_closure(*modules)}):
        digest.update(f"{text}\0".encode())
    for name in sorted(files):
        digest.update(f"{Path(name).name}\0".encode() + (_ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def import_closure(*modules: str) -> set[str]:
    """Return the modules and every module of this package they import, directly or not; empty packages are left out."""
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in closure:
            closure.add(name)
            waiting.extend(_find_imports(name))
    return {name for name in closure if _code(name).body}


@cache
def _find_source(name: str) -> Path | None:
    """Return the file of a module of this package, without importing it."""
    path = _ROOT.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _code(name: str) -> ast.Module:
    """Return what a module says at run time: without docstrings, types and declarations, and the imports that only these need."""
    source = _find_source(name)
    if source is None:
        raise ModuleNotFoundError(f"no module {name!r} in this package", name=name)
    tree = ast.parse(source.read_text(encoding="utf-8"))
    _drop_docstrings(tree)
    dropped = [node for node in tree.body if _is_declaration(node)]
    tree.body = [node for node in tree.body if not _is_declaration(node)]
    annotations = _Annotations()
    annotations.visit(tree)
    needed = _list_names(*dropped, *annotations.dropped) - _list_names(tree)
    tree.body = [kept for node in tree.body if (kept := _drop_imports(node, needed)) is not None]
    return tree


class _Annotations(ast.NodeTransformer):
    """Drop the annotations of functions and variables; those of classes stay, since dataclasses are made of them."""

    def __init__(self) -> None:
        self.dropped: list[ast.expr] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg) and argument.annotation is not None:
                self.dropped.append(argument.annotation)
                argument.annotation = None
        if node.returns is not None:
            self.dropped.append(node.returns)
            node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [inner if isinstance(inner, ast.AnnAssign) else self.visit(inner) for inner in node.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.dropped.append(node.annotation)
        return None if node.value is None else ast.Assign(targets=[node.target], value=node.value)


def _is_declaration(node: ast.stmt) -> bool:
    """Tell whether a statement declares a stage or a type, or is for type checkers alone."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if not isinstance(node, ast.ClassDef):
        return False
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return any(isinstance(base, ast.Name) and base.id.endswith(_DECLARED) for base in bases)


def _list_names(*nodes: ast.AST) -> set[str]:
    return {inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _drop_imports(node: ast.stmt, names: set[str]) -> ast.stmt | None:
    """Return an import without these names; None if none is left, and any other statement as it is."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) not in names]
        return node if node.names else None
    return node


@cache
def _find_imports(name: str) -> frozenset[str]:
    """Return the package's modules that one module imports, parents included (importing ``a.b`` runs ``a`` too)."""
    found = {module for node in ast.walk(_code(name)) for module in _list_imported(node, name)}
    parents = {".".join(parts[:end]) for module in (*found, name) if (parts := module.split(".")) for end in range(1, len(parts))}
    return frozenset(found | parents)


def _list_imported(node: ast.AST, name: str) -> list[str]:
    """List the package's modules that a statement of the module ``name`` imports."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = _resolve_base(node, name)
        found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [module for module in found if module.split(".")[0] == _PACKAGE and _find_source(module)]


def _resolve_base(node: ast.ImportFrom, name: str) -> str:
    base = node.module or ""
    if not node.level:
        return base
    source = _find_source(name)
    package = name if source is not None and source.name == "__init__.py" else name.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + base, package)


@cache
def _spell_module(name: str) -> str:
    """Spell a module's code; where it imports a module of this package, the digest of that one's own text stands for its name."""
    return "".join(_spell(_code(name), name))


@cache
def _digest_text(name: str) -> str:
    """Return a digest of a module's own text, with the names of the package's modules left out."""
    return hashlib.sha256("".join(_spell(_code(name), None)).encode()).hexdigest()


def _spell(node: object, importer: str | None) -> Iterator[str]:
    """Spell a syntax tree out; empty fields are left out, so that the text is the same for every Python since 3.11.

    Parameters
    ----------
    node : the tree, or a value in it
    importer : the module that it is of, to name what it imports by content; None leaves the names of imported modules out
    """
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _spell_import(node, importer)
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field, value in ast.iter_fields(node):
            if value not in (None, []):
                yield f" {field}="
                yield from _spell(value, importer)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _spell(item, importer)
        yield "]"
    else:
        yield repr(node)


def _spell_import(node: ast.Import | ast.ImportFrom, importer: str | None) -> Iterator[str]:
    names = [(alias.name, alias.asname or alias.name) for alias in node.names]
    base = "" if isinstance(node, ast.Import) else node.module or ""
    is_inside = isinstance(node, ast.ImportFrom) and (node.level > 0 or base.split(".")[0] == _PACKAGE)
    is_inside = is_inside or (isinstance(node, ast.Import) and all(name.split(".")[0] == _PACKAGE for name, _ in names))
    if not is_inside:
        yield f"(import {base} {names})"
        return
    bound = [name.rpartition(".")[2] if isinstance(node, ast.Import) else name for name, _ in names]
    content = [] if importer is None else [_digest_text(module) for module in _list_imported(node, importer) if _code(module).body]
    yield f"(import {bound} {[asname for _, asname in names] if isinstance(node, ast.ImportFrom) else []} from {content})"


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                rest: list[ast.stmt] = node.body[1:]
                node.body = rest if rest or isinstance(node, ast.Module) else [ast.Pass()]
