"""The table of verdicts in README.md, between two markers, made from the verdicts of a scale.

The opening marker names the scale and the claims that are shown in full:
``<!-- verdicts tiny: rl_selector/transfers data_agent/lossless -->``.
"""

import re
from collections import Counter
from collections.abc import Mapping

from selectbench.artefacts.decisions import CONTRADICTED, EQUIVALENT, SUPPORTED, UNDECIDED
from selectbench.artefacts.formats import escape_markdown
from selectbench.artefacts.verdict import AUTHORS, SYMBOLS, PaperVerdict, format_worst
from selectbench.errors import ConfigError, suggest

COLUMNS = (SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED)
BLOCK = re.compile(r"(<!-- verdicts (\w+): ([\w/ ]+) -->\n)(.*?)(<!-- end of verdicts -->)", flags=re.DOTALL)


def find_shown(readme: str) -> tuple[str, set[str]] | None:
    """Return the scale whose verdicts README shows and the papers whose claims it names; None if it shows none."""
    found = BLOCK.search(readme)
    return (found[2], {name.partition("/")[0] for name in found[3].split()}) if found else None


def refresh_verdicts(readme: str, verdicts: Mapping[str, PaperVerdict], titles: Mapping[str, str]) -> str:
    """Return README with an up-to-date table of verdicts.

    Parameters
    ----------
    readme : the file's text
    verdicts : paper → content of its ``verdict.json``
    titles : paper → its name

    Raises
    ------
    ConfigError
        The marker names a claim that no paper has; the message suggests the closest one.
    """
    found = BLOCK.search(readme)
    if not found:
        return readme
    claims = {f"{paper}/{claim['id']}": (paper, claim) for paper, verdict in verdicts.items() for claim in verdict["claims"]}
    for name in found[3].split():
        if name not in claims:
            raise ConfigError(f"README.md: unknown claim {name!r} in the marker of its verdicts{suggest(name, claims)}")
    lines = ["| paper | claims | " + " | ".join(f"{SYMBOLS[kind]} {kind}" for kind in COLUMNS) + " |"]
    lines += ["|:--|:--|" + "--:|" * len(COLUMNS)]
    for paper, verdict in verdicts.items():
        for author, said in AUTHORS.items():
            counts = Counter(claim["verdict"] for claim in verdict["claims"] if claim["by"] == author)
            shown = " | ".join(str(counts[kind]) for kind in COLUMNS)
            link = f"[{escape_markdown(titles[paper])}](results/{found[2]}/{paper}/verdict.md)"
            others = "".join(f"; {counts[kind]} {SYMBOLS[kind]} {kind}" for kind in SYMBOLS if kind not in COLUMNS and counts[kind])
            lines.append(f"| {link} | {counts.total()} {said}{others} | {shown} |")
    lines += ["", "| claim | verdict | largest effect against the claim, or why there is none |", "|:--|:--|:--|"]
    for name in found[3].split():
        paper, claim = claims[name]
        statement, verdict_name, seeds = escape_markdown(claim["statement"]), claim["verdict"], claim.get("seeds")
        needed = f" (n ≈ {seeds})" if seeds is not None else ""
        named = f"{SYMBOLS[verdict_name]} {verdict_name}{needed}"
        worst = format_worst(claim) if claim["worst"] is not None else claim["why"]
        lines.append(f"| {escape_markdown(titles[paper])}: {statement} | {named} | {escape_markdown(worst)} |")
    return readme[: found.start()] + found[1] + "\n" + "\n".join(lines) + "\n\n" + found[5] + readme[found.end() :]
