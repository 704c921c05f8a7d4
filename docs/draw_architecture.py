"""Draw the rooms of ``src/selectbench`` and the imports between them: ``make architecture`` writes ``docs/architecture.svg``.

Rooms and their order come from the import contracts in ``pyproject.toml``, arrows from the code's own imports. An arrow that others
imply (a room that is reached through a room in between as well) is left out, so that the picture stays readable.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "architecture.svg"
PACKAGE = "selectbench"

_WIDTH, _LEFT, _TOP = 760, 20, 20
_BOX_WIDTH, _BOX_HEIGHT, _GAP, _STEP = 132, 30, 24, 62
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1c2733; text-anchor: middle; }
rect { fill: #eef3f8; stroke: #5b7a99; rx: 5; }
rect.module { fill: #ffffff; stroke-dasharray: 4 3; }
path { fill: none; stroke: #5b7a99; stroke-width: 1.2; opacity: .75; }
""".strip()


def read_layers(root: Path = ROOT) -> list[list[str]]:
    """Return the rooms of each layer, from the top down, as the first import contract names them."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return [[room.strip() for room in layer.split("|")] for layer in contracts[0]["layers"]]


def find_arrows(layers: list[list[str]]) -> dict[str, set[str]]:
    """Return room → the rooms that it imports."""
    graph = grimp.build_graph(PACKAGE)
    rooms = {room for layer in layers for room in layer}
    arrows: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        importer = find_room(module, rooms)
        if importer is not None:
            imported = {find_room(other, rooms) for other in graph.find_modules_directly_imported_by(module)}
            arrows[importer] |= {room for room in imported if room is not None and room != importer}
    return arrows


def find_room(module: str, rooms: set[str]) -> str | None:
    """Return the room of a module by its dotted name; None for the package itself."""
    name = module.split(".")[1] if "." in module else ""
    return name if name in rooms else None


def drop_implied(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows that no others imply: to rooms that no imported room reaches as well."""

    def reach(room: str) -> set[str]:
        return arrows[room].union(*(reach(other) for other in arrows[room]))

    return {room: {other for other in found if not any(other in reach(between) for between in found)} for room, found in arrows.items()}


def draw(layers: list[list[str]], arrows: Mapping[str, set[str]], packages: set[str]) -> str:
    """Return the picture as SVG text.

    Parameters
    ----------
    layers : rooms from the top down
    arrows : room → rooms that it imports
    packages : the rooms that are folders; the others are single modules
    """
    middles = dict(place_rooms(layers))
    height = 2 * _TOP + _STEP * (len(layers) - 1) + _BOX_HEIGHT
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">', f"<style>{_STYLE}</style>"]
    lines.append("<title>Rooms of selectbench; lines run from a room to the rooms below that it imports</title>")
    for room in sorted(arrows):
        for other in sorted(arrows[room]):
            (x, y), (to_x, to_y) = middles[room], middles[other]
            start, end = y + _BOX_HEIGHT / 2, to_y - _BOX_HEIGHT / 2
            bend = (end - start) / 2
            lines.append(f'<path d="M{x:g},{start:g} C{x:g},{start + bend:g} {to_x:g},{end - bend:g} {to_x:g},{end:g}"/>')
    for room, (x, y) in middles.items():
        kind, label = ("", f"{room}/") if room in packages else (' class="module"', room)
        corner = f'x="{x - _BOX_WIDTH / 2:g}" y="{y - _BOX_HEIGHT / 2:g}"'
        lines.append(f'<rect{kind} {corner} width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"/>')
        lines.append(f'<text x="{x:g}" y="{y + 5:g}">{label}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def place_rooms(layers: list[list[str]]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield every room with the middle of its box; layers stand in turn left, in the middle and right, so that lines pass between."""
    for row, layer in enumerate(layers):
        width = len(layer) * _BOX_WIDTH + (len(layer) - 1) * _GAP
        room_left = _WIDTH - 2 * _LEFT - width
        left = _LEFT + room_left * (0.2, 0.5, 0.8)[row % 3]
        for column, room in enumerate(layer):
            yield room, (left + column * (_BOX_WIDTH + _GAP) + _BOX_WIDTH / 2, _TOP + row * _STEP + _BOX_HEIGHT / 2)


def draw_architecture() -> str:
    """Return the picture of the code as it is."""
    layers = read_layers()
    packages = {path.parent.name for path in (ROOT / "src" / PACKAGE).glob("*/__init__.py")}
    return draw(layers, drop_implied(find_arrows(layers)), packages)


if __name__ == "__main__":
    DRAWING.write_text(draw_architecture(), encoding="utf-8")
    print(f"{DRAWING.relative_to(ROOT)}: drawn")
