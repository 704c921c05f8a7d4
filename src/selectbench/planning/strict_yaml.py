"""Read YAML of unknown origin: plain values, unique text keys, and no more of them than a person would write."""

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from selectbench.errors import ConfigError

MOST_BYTES = 4 << 20
MOST_VALUES = 200_000  # every use of an alias counts
DEEPEST = 50
LONGEST_KEY = 100
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)  # raised for values that do not match their tag


if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):
    """Plain YAML, in which duplicate keys, keys that are not words, and aliases that grow without bound are errors."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            measure_node(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            check_keys([key_node for key_node, _ in node.value if key_node.tag != "tag:yaml.org,2002:merge"])
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def check_depth(text: str) -> None:
    """Raise if values are nested so deeply that constructing them would exhaust the stack.

    Raises
    ------
    yaml.parser.ParserError
        With the line.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.parser.ParserError(None, None, f"values are nested more than {DEEPEST} deep", event.start_mark)  # type: ignore[arg-type]  # a mark of either loader


def check_keys(nodes: list[yaml.Node]) -> None:
    """Raise for the first key of a mapping that is not a word or is a duplicate.

    Raises
    ------
    yaml.constructor.ConstructorError
        With the line of the key.
    """
    first: dict[str, int] = {}
    for node in nodes:
        if node.tag != "tag:yaml.org,2002:str" or not isinstance(node, yaml.ScalarNode):
            found = f"{node.value!r} is not text: put it in quotes" if isinstance(node, yaml.ScalarNode) else "is itself a list or mapping"
            raise yaml.constructor.ConstructorError(None, None, f"a key {found}", node.start_mark)
        if len(node.value) > LONGEST_KEY or not node.value.isprintable():
            raise yaml.constructor.ConstructorError(None, None, f"a key is not a word of at most {LONGEST_KEY} characters", node.start_mark)
        if node.value in first:
            problem = f"duplicate key {node.value!r} (first in line {first[node.value]})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        first[node.value] = node.start_mark.line + 1


def measure_node(root: yaml.Node) -> int:
    """Return the number of values in a document, counting every use of an alias.

    Raises
    ------
    yaml.constructor.ConstructorError
        They are too many or too deep, or an alias contains itself.
    """
    sizes: dict[int, int] = {}

    def fail(node: yaml.Node, problem: str) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    def measure(node: yaml.Node, depth: int) -> int:
        if depth > DEEPEST:
            fail(node, f"aliases nest values more than {DEEPEST} deep, or an alias contains itself")
        if id(node) not in sizes:
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            children = [child for pair in inner for child in (pair if isinstance(pair, tuple) else (pair,))]
            size = 1 + sum(measure(child, depth + 1) for child in children)
            if size > MOST_VALUES:
                fail(node, f"aliases expand it to more than {MOST_VALUES:,} values")
            sizes[id(node)] = size
        return sizes[id(node)]

    return measure(root, 0)


def read_yaml(path: Path, name: Path) -> dict[str, Any]:
    """Read one YAML mapping; ``name`` is the path errors show.

    Raises
    ------
    ConfigError
        In one line: the file cannot be read, is not YAML, or is not what a configuration may hold.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(f"{name}: has {size:,} bytes; a configuration has at most {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from None
    content = parse_yaml(text, str(name))
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: holds a {type(content).__name__} instead of keys and values")
    return content


def parse_yaml(text: str, name: str) -> Any:
    """Return the value that a text spells; ``name`` is the place errors show.

    Raises
    ------
    ConfigError
        In one line: it is not YAML, or not what a configuration may hold.
    """
    try:
        check_depth(text)
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{name}: not valid YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, *_UNREADABLE) as error:
        raise ConfigError(f"{name}: not valid YAML: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
