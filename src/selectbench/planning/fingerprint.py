"""Fingerprint of the code that can influence a result: what a stage and all modules it imports say, wherever they lie."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

_PACKAGE = "selectbench"
_ROOT = Path(__file__).parents[1]
_DECLARATION = "Stage"  # how the names of bases end whose classes declare jobs to the plan
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # the fields that hold statements
_START = "selectbench.stages._warm_start"  # lets another process run a stage, which computes the same
_TYPES = ("TypedDict", "Spec")  # how the names of bases end whose classes are types, if they hold annotations alone


@cache
def fingerprint(*modules: str, files: tuple[str, ...] = ()) -> str:
    """Return a digest of the modules and of every module of this package they import, at any depth and anywhere in a file.

    A changed statement anywhere in the closure changes the digest. What cannot influence a result does not: comments, docstrings,
    formatting and line numbers; the names and places of modules and the order of imports, since imports count by what the imported
    module says; types, that is annotations outside of classes, classes of annotations alone and imports for type checkers; declarations
    of stages, since what they say reaches a job through its specification; and which process a stage runs in. Imports that only types
    and declarations need are not followed, so a module must not be imported for its side effects under such a name. Modules that are
    imported by a name computed at run time (the methods) are not found: name them.

    Parameters
    ----------
    *modules : dotted names inside ``selectbench``
    files : other files of the package that are read at run time, relative to it; one that is missing counts as empty

    Returns
    -------
    16 hexadecimal digits
    """
    digest = hashlib.sha256()
    for text in sorted(_spell_module(name) for name in import_closure(*modules)):
        digest.update(f"{text}\0".encode())
    for name in sorted(files):
        path = _ROOT / name
        digest.update(f"{path.name}\0".encode() + (path.read_bytes() if path.is_file() else b""))
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
    return {name for name in closure if _code(name).tree.body}


@cache
def _find_source(name: str) -> Path | None:
    """Return the file of a module of this package, without importing it."""
    path = _ROOT.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Code(NamedTuple):
    """What a module says at run time, and the names that it imports for types and declarations alone, with the modules they come from."""

    tree: ast.Module
    dropped: dict[str, str]


@cache
def _code(name: str) -> _Code:
    """Return what a module says at run time: without docstrings, types and declarations, and the imports that only these need."""
    source = _find_source(name)
    if source is None:
        raise ModuleNotFoundError(f"no module {name!r} in this package", name=name)
    tree = ast.parse(source.read_text(encoding="utf-8"))
    _drop_docstrings(tree)
    _drop_start(tree, name)
    declared = [node for node in tree.body if _is_declaration(node)]
    checked = [node for node in tree.body if _is_for_type_checkers(node)]
    kept = [node for node in tree.body if node not in declared]
    tree.body = [inner for node in kept for inner in (node.orelse if node in checked and isinstance(node, ast.If) else [node])]
    annotations = _Annotations()
    annotations.visit(tree)
    needed = _list_names(*declared, *(node.test for node in checked if isinstance(node, ast.If)), *annotations.dropped) - _list_names(tree)
    dropped = {bound: module for node in tree.body for bound, module in _bind_names(node, name) if bound in needed}
    tree.body = [left for node in tree.body if (left := _drop_imports(node, needed)) is not None]
    return _Code(tree, dropped)


class _Annotations(ast.NodeTransformer):
    """Drop the annotations of functions and variables; those of classes stay, since dataclasses are made of them."""

    def __init__(self) -> None:
        self.dropped: list[ast.expr] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in _BLOCKS:
            if hasattr(node, field):
                setattr(node, field, [self.visit(inner) for inner in getattr(node, field)])
        return node

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

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.dropped.append(node.annotation)
        if node.value is not None:
            return ast.Assign(targets=[node.target], value=node.value)
        return ast.AnnAssign(target=node.target, annotation=ast.Constant(None), value=None, simple=node.simple)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_declaration(node: ast.stmt) -> bool:
    """Tell whether a class declares a stage, or is a typed dictionary of annotations alone."""
    if not isinstance(node, ast.ClassDef):
        return False
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    names = [base.id for base in bases if isinstance(base, ast.Name)]
    is_bare = all(isinstance(inner, ast.Pass) or (isinstance(inner, ast.AnnAssign) and inner.value is None) for inner in node.body)
    return any(name.endswith(_DECLARATION) or (is_bare and name.endswith(_TYPES)) for name in names)


def _list_names(*nodes: ast.AST) -> set[str]:
    """Return the names in syntax trees; ``ast.walk`` is correct here too, and takes three times as long."""
    names, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            names.add(node.id)
            continue
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                waiting.append(value)
            elif isinstance(value, list):
                waiting.extend(inner for inner in value if isinstance(inner, ast.AST))
    return names


def _drop_imports(node: ast.stmt, names: set[str]) -> ast.stmt | None:
    """Return an import without these names; None if none is left, and any other statement as it is."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) not in names]
        return node if node.names else None
    return node


def _bind_names(node: ast.AST, name: str) -> list[tuple[str, str]]:
    """List (bound name, the package's module that it comes from) of a statement of the module ``name``, if it imports."""
    if isinstance(node, ast.ImportFrom):
        base = _resolve_base(node, name)
        found = [(alias.asname or alias.name, _name_module(base, alias.name)) for alias in node.names]
    elif isinstance(node, ast.Import):
        found = [(alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names]
    else:
        return []
    return [(bound, module) for bound, module in found if module.split(".")[0] == _PACKAGE and _find_source(module)]


def _name_module(base: str, imported: str) -> str:
    """Return the module that ``from base import imported`` is about: a module of that name inside a package, else the base."""
    inner = f"{base}.{imported}"
    return inner if inner.split(".")[0] == _PACKAGE and _find_source(inner) else base


@cache
def _find_imports(name: str) -> frozenset[str]:
    """Return the package's modules that one module imports, parents included (importing ``a.b`` runs ``a`` too)."""
    found = {module for node in _walk_statements(_code(name).tree) for module in _follow(node, name)}
    parents = {".".join(parts[:end]) for module in (*found, name) if (parts := module.split(".")) for end in range(1, len(parts))}
    return frozenset(found | parents)


def _follow(node: ast.AST, name: str) -> Iterator[str]:
    """Yield the modules that a statement imports from, and those that pass a name on which they themselves do not need at run time."""
    for _, module in _bind_names(node, name):
        yield module
        if isinstance(node, ast.ImportFrom):
            yield from (_code(module).dropped[alias.name] for alias in node.names if alias.name in _code(module).dropped)


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
    return "".join(part if isinstance(part, str) else _join_imports(part, deep=True) for part in _spell_parts(name))


@cache
def _digest_text(name: str) -> str:
    """Return a digest of a module's own text, without what the modules that it imports say."""
    parts = (part if isinstance(part, str) else _join_imports(part, deep=False) for part in _spell_parts(name))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


class _Import(NamedTuple):
    """A bound name, spelled, and the module of this package that it comes from, if it does; that one's digest follows the text."""

    text: str
    module: str | None


def _join_imports(imports: list[_Import], deep: bool) -> str:
    """Spell imports that stand together, in an order that is no matter of names.

    Parameters
    ----------
    deep : whether imported modules of this package count by what they say
    """
    return "".join(sorted(f"{text}{_digest_text(module) if deep and module else ''})" for text, module in imports))


@cache
def _spell_parts(name: str) -> list[str | list[_Import]]:
    """Spell a module's code out: text, and between it the imports that stand together."""
    parts: list[str | list[_Import]] = []
    _spell(_code(name).tree, name, parts)
    return list(_merge_texts(parts))


def _merge_texts(parts: list[str | list[_Import]]) -> Iterator[str | list[_Import]]:
    """Yield the same with texts that follow each other as one."""
    text: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        else:
            yield "".join(text)
            yield part
            text = []
    yield "".join(text)


def _spell(node: object, importer: str, parts: list[str | list[_Import]]) -> None:
    """Spell a syntax tree out; empty fields are left out, so that the text is the same for every Python since 3.11.

    Parameters
    ----------
    node : the tree, or a value in it
    importer : the module that it is of
    parts : what the text is added to
    """
    if isinstance(node, ast.AST):
        parts.append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != []:
                parts.append(f" {field}=")
                _spell(value, importer, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for is_import, items in groupby(node, key=lambda item: isinstance(item, ast.Import | ast.ImportFrom)):
            if is_import:
                parts.append([spelled for item in items for spelled in _spell_import(item, importer)])
            else:
                for item in items:
                    _spell(item, importer, parts)
        parts.append("]")
    else:
        parts.append(repr(node))


def _spell_import(node: ast.Import | ast.ImportFrom, importer: str) -> Iterator[_Import]:
    """Yield every bound name."""
    inside = dict(_bind_names(node, importer))
    for alias in node.names:
        if isinstance(node, ast.Import):
            bound, origin, taken = alias.asname or alias.name.partition(".")[0], "", alias.name
        else:
            bound, origin, taken = alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}", alias.name
        if bound not in inside:
            yield _Import(f"(import {origin} {taken} as {alias.asname}", None)
            continue
        is_module = inside[bound].rpartition(".")[2] == taken.rpartition(".")[2] and inside[bound] != _find_base(node, importer)
        yield _Import(f"(import {'' if is_module else taken} as {bound} from ", inside[bound])


def _find_base(node: ast.Import | ast.ImportFrom, importer: str) -> str:
    return _resolve_base(node, importer) if isinstance(node, ast.ImportFrom) else ""


def _walk_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement below a node, and what holds statements; expressions, which are most of a tree, hold none."""
    for field in _BLOCKS:
        for inner in getattr(node, field, ()):
            yield inner
            yield from _walk_statements(inner)


def _drop_start(tree: ast.Module, name: str) -> None:
    """Drop the import of the function that lets another process run a stage, and its call."""
    imports = [node for node in tree.body if any(module == _START for _, module in _bind_names(node, name))]
    bound = {origin for node in imports for origin, _ in _bind_names(node, name)}
    calls = [node for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _list_names(node) & bound]
    tree.body = [node for node in tree.body if node not in [*imports, *calls]]


def _drop_docstrings(tree: ast.Module) -> None:
    for node in (tree, *_walk_statements(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                rest: list[ast.stmt] = node.body[1:]
                node.body = rest if rest or isinstance(node, ast.Module) else [ast.Pass()]
