"""The front page: every paper's claims with their verdicts at every scale that has results."""

from collections.abc import Mapping

from selectbench.artefacts.formats import HOLE
from selectbench.artefacts.page import inline_svg, render_template
from selectbench.artefacts.verdict import SYMBOLS, count_verdicts

Verdicts = Mapping[str, Mapping[str, dict]]


def render_front(spec: dict, verdicts: Verdicts, drawing: tuple[str, str] | None) -> str:
    """Return ``index.html`` of all scales.

    Parameters
    ----------
    spec : ``{"title", "scales": [{"id", "title"}, …], "papers": [{"id", "title"}, …], "figure": {"id", "title", "caption", …}}``
        Scales from the quickest on.
    verdicts : scale → paper → what ``judge_claims`` wrote; a scale without results is empty
    drawing : the title of a scale and its figure as SVG
    """
    scales = [scale for scale in spec["scales"] if verdicts[scale["id"]]]
    papers = [
        paper | {"claims": list_claims(paper["id"], scales, verdicts)}
        for paper in spec["papers"]
        if any(paper["id"] in verdicts[scale["id"]] for scale in scales)
    ]
    figure = None
    if drawing:
        figure = spec["figure"] | {"scale": drawing[0], "svg": inline_svg(drawing[1], "front", spec["figure"]["title"], set())}
    return render_template(
        "front.html.j2",
        title=spec["title"],
        papers=papers,
        scales=[describe_scale(scale, verdicts[scale["id"]]) for scale in scales],
        counts=count_verdicts([verdict for found in verdicts.values() for verdict in found.values()]),
        figure=figure,
    )


def list_claims(paper: str, scales: list[dict], verdicts: Verdicts) -> list[dict]:
    """Return a paper's claims, in its order, each with one cell a scale: its verdict there, or None.

    A claim's text is that of the largest scale that has judged it.
    """
    found = {scale["id"]: {claim["id"]: claim for claim in verdicts[scale["id"]].get(paper, {"claims": []})["claims"]} for scale in scales}
    claims: dict[str, dict] = {}
    for scale in reversed(scales):
        for name, claim in found[scale["id"]].items():
            claims.setdefault(name, {key: claim[key] for key in ("id", "statement", "by", "source")})
    for name, claim in claims.items():
        cells = [(scale["id"], found[scale["id"]].get(name)) for scale in scales]
        claim["cells"] = [
            None
            if judged is None
            else {"scale": scale, "symbol": SYMBOLS[judged["verdict"]], **{key: judged[key] for key in ("verdict", "why")}}
            for scale, judged in cells
        ]
    return list(claims.values())


def describe_scale(scale: dict, verdicts: Mapping[str, dict]) -> dict:
    """Return what a scale ran on: facts as (name, text) pairs, and how many claims have which verdict."""
    origins = [verdict["provenance"] for verdict in verdicts.values()]

    def unite(key: str) -> str:
        return ", ".join(sorted({str(item) for origin in origins for item in origin.get(key, ())})) or HOLE

    num_runs, num_failed = (sum(origin[what] for origin in origins) for what in ("runs", "failed"))
    trained, evaluated = (sum(origin.get(f"{what}_s", 0.0) for origin in origins) for what in ("training", "evaluation"))
    facts = [
        ("Devices", unite("devices")),
        ("Processors", unite("processors")),
        ("Runs", f"{num_runs:,}, each counted by every paper it serves, of which {num_failed:,} failed"),
        ("Seeds", unite("seeds")),
        ("Time", f"{format_duration(trained)} of training and {format_duration(evaluated)} of evaluation, one run after the other"),
        ("Commits", ", ".join(sorted({commit[:10] for origin in origins for commit in origin["commits"]})) or HOLE),
    ]
    return scale | {"facts": facts, "counts": count_verdicts(list(verdicts.values()))}


def format_duration(seconds: float) -> str:
    """Return ``"41 s"``, ``"12.5 min"`` or ``"3.2 h"``; a dash for no time at all."""
    if seconds <= 0:
        return HOLE
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
