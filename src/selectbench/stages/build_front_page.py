"""Build the page of all scales: every claim with its verdict at every scale that has results, in one self-contained HTML file."""

from pathlib import Path

from selectbench.artefacts.front import render_front
from selectbench.errors import RecordError
from selectbench.records.files import read_json, write_text
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def build_front_page(spec: dict, *, html: Path) -> None:
    """Write the page of whatever is there: scales that other workflows are at work on are shown as far as they have come."""
    results, verdicts = Path(spec["results"]), {}
    for scale in spec["scales"]:
        paths = {paper["id"]: results / scale["id"] / paper["id"] / "verdict.json" for paper in spec["papers"]}
        verdicts[scale["id"]] = {paper: read_json(path) for paper, path in paths.items() if path.exists()}
    write_text(html, render_front(spec, verdicts, read_drawing(spec, verdicts)))


def read_drawing(spec: dict, verdicts: dict[str, dict[str, dict]]) -> tuple[str, str] | None:
    """Return the title of the largest scale that has the figure of the specification, and its SVG; None if no scale has it."""
    figure = spec["figure"]
    for scale in reversed(spec["scales"] if figure else []):
        path = Path(spec["results"]) / scale["id"] / figure["paper"] / "figures" / f"{figure['id']}.svg"
        if figure["paper"] in verdicts[scale["id"]] and path.exists():
            try:
                return scale["title"], path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RecordError(f"{path}: not a readable drawing ({error})") from None
    return None


def main() -> None:
    """The specification names the scales, the papers and the figure; what they have is read from the folder of results."""
    arguments = parse_artefact_arguments(__doc__, [], ["html"])
    build_front_page(arguments.spec, html=arguments.html)


if __name__ == "__main__":
    run_stage(main)
