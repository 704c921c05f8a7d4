"""The front page: every paper's claims with their verdicts at every scale that has results."""

from collections.abc import Iterable, Mapping, Sequence

from selectbench.artefacts.formats import HOLE
from selectbench.artefacts.page import Shown, inline_svg, render_template
from selectbench.artefacts.specs import FrontSpec, Titled
from selectbench.artefacts.verdict import SYMBOLS, PaperVerdict, count_verdicts, name_source

Verdicts = Mapping[str, Mapping[str, PaperVerdict]]  # scale → paper → verdict


def render_front(spec: FrontSpec, verdicts: Verdicts, drawing: tuple[str, str] | None) -> str:
    """Return ``index.html`` of all scales.

    Parameters
    ----------
    spec : of the page, with scales in their order; the first one that has results leads
    verdicts : what ``judge_claims`` wrote; a scale without results is empty
    drawing : the title of a scale and its figure as SVG
    """
    scales = [scale for scale in spec["scales"] if verdicts[scale["id"]]]
    papers = [
        {**paper, "claims": list_claims(paper["id"], scales, verdicts)}
        for paper in spec["papers"]
        if any(paper["id"] in verdicts[scale["id"]] for scale in scales)
    ]
    figure: Shown | None = None
    if drawing and spec["figure"]:
        figure = {**spec["figure"], "scale": drawing[0], "svg": inline_svg(drawing[1], "front", spec["figure"]["title"], set())}
    return render_template(
        "front.html.j2",
        title=spec["title"],
        papers=papers,
        scales=[describe_scale(scale, verdicts[scale["id"]]) for scale in scales],
        lead=scales[0] if scales else None,
        counts=count_verdicts(verdicts[scales[0]["id"]].values()) if scales else [],
        figure=figure,
    )


def list_claims(paper: str, scales: Sequence[Titled], verdicts: Verdicts) -> list[Shown]:
    """Return a paper's claims, in its order, each with one cell per scale: its verdict there, or None.

    A claim's text is taken from the largest scale that has judged it.
    """
    judged_at = {scale["id"]: verdicts[scale["id"]].get(paper) for scale in scales}
    found = {scale: {claim["id"]: claim for claim in (verdict["claims"] if verdict else ())} for scale, verdict in judged_at.items()}
    claims: dict[str, Shown] = {}
    for scale in reversed(scales):
        for name, judged in found[scale["id"]].items():
            claims.setdefault(name, {"id": name, "statement": judged["statement"], "source": name_source(judged)})
    for name, claim in claims.items():
        cells = [(scale["id"], found[scale["id"]].get(name)) for scale in scales]
        claim["cells"] = [
            None
            if cell is None
            else {"scale": scale_id, "symbol": SYMBOLS[cell["verdict"]], "verdict": cell["verdict"], "why": cell["why"]}
            for scale_id, cell in cells
        ]
    return list(claims.values())


def describe_scale(scale: Titled, verdicts: Mapping[str, PaperVerdict]) -> Shown:
    """Return what a scale ran on: facts as (name, text) pairs, and how many claims have each verdict."""
    origins = [verdict["provenance"] for verdict in verdicts.values()]

    def unite(found: Iterable[Iterable[object]]) -> str:
        return ", ".join(sorted({str(item) for items in found for item in items})) or HOLE

    num_runs, num_failed = sum(origin["runs"] for origin in origins), sum(origin["failed"] for origin in origins)
    trained = sum(origin.get("training_s", 0.0) for origin in origins)
    evaluated = sum(origin.get("evaluation_s", 0.0) for origin in origins)
    facts = [
        ("Devices", unite(origin["devices"] for origin in origins)),
        ("Processors", unite(origin.get("processors", ()) for origin in origins)),
        ("Runs", f"{num_runs:,} (counted once per paper that uses them), {num_failed:,} failed"),
        ("Seeds", unite(origin["seeds"] for origin in origins)),
        ("Time", f"{format_duration(trained)} of training and {format_duration(evaluated)} of evaluation, summed over runs"),
        ("Commits", unite((commit[:10] for commit in origin["commits"]) for origin in origins)),
    ]
    return {**scale, "facts": facts, "counts": count_verdicts(verdicts.values())}


def format_duration(seconds: float) -> str:
    """Return ``"41 s"``, ``"12.5 min"`` or ``"3.2 h"``; a dash for no time at all."""
    if seconds <= 0:
        return HOLE
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
