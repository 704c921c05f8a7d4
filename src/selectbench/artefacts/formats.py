"""Texts: how numbers, costs and names are printed in Markdown, LaTeX and on the page."""

import math
from collections.abc import Iterable

from selectbench.artefacts.cells import (
    COST_METRICS,
    PROXY_LOSS,
    PROXY_TRAININGS,
    SETS_COMPLETED,
    TOTAL_VISITS,
    TOTAL_WALL,
    TRAINING_VISITS,
    TRAINING_WALL,
    Cost,
)

LOSSES, COUNTS, SECONDS = (
    ("loss", PROXY_LOSS),
    (TOTAL_VISITS, TRAINING_VISITS, PROXY_TRAININGS, SETS_COMPLETED),
    (TOTAL_WALL, TRAINING_WALL),
)
BELOW_RANDOM = "▼"
HOLE = "—"
NOT_BUILT = "not built yet"
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_"},
    "→": r"$\rightarrow$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "ε": r"$\varepsilon$",
    "–": "--",
    "—": "---",
    "√": r"$\surd$",
    "▼": r"$\blacktriangledown$",
}


def count_in_letters(number: int) -> str:
    """Return a, b, …, z, aa, ab, … for 0, 1, 2, …."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def format_range(numbers: Iterable[int]) -> str:
    """Return ``"5"`` for equal numbers, ``"3–5"`` for others and ``"0"`` for none."""
    found = list(numbers) or [0]
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)}–{max(found)}"


def format_keep(keep: str) -> str:
    """Return a keep fraction as a percentage: ``"30 %"``."""
    return f"{100 * float(keep):g} %"


def format_number(value: float, metric: str) -> str:
    """Return a value as it is printed: with one decimal; three for a loss, none for a count, two for less than 10 s."""
    if metric in COUNTS:
        return f"{value:,.0f}"
    if metric in SECONDS and value < 10:
        return f"{value:.2f}"
    return f"{value:.3f}" if metric in LOSSES else f"{value:.1f}"


def format_run_value(value: float, metric: str) -> str:
    """Return the value of one run, with one more decimal than a mean."""
    if metric in COUNTS:
        return f"{value:,.0f}"
    return f"{value:.4g}" if metric in LOSSES else f"{value:.2f}"


def format_signed(value: float, decimals: int) -> str:
    """Return a value with its sign (a true minus); zero has none."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def format_difference(mean: float, low: float | None, high: float | None, metric: str, against: str = "") -> str:
    """Return a paired difference and its interval: ``"+0.42 [−0.10, +0.94]"``; positive = better.

    Costs, whose differences are logarithms, are shown as the ratio to the cost they are compared with:
    ``"0.50× the cost of full data [0.25×, 1.00×]"``.
    """
    if metric in COST_METRICS:
        of = f" of {against}" if against else ""
        text, bounds = f"{format_ratio(mean)} the cost{of}", [format_ratio(bound) for bound in (high, low) if bound is not None]
    else:
        decimals = 3 if metric in LOSSES else 2
        text, bounds = format_signed(mean, decimals), [format_signed(bound, decimals) for bound in (low, high) if bound is not None]
    return f"{text} [{', '.join(bounds)}]" if bounds else text


def format_ratio(saving: float) -> str:
    """Return the ratio of two costs, ``"2.94×"``, from the logarithm of its inverse; two digits where the ratio is less than 0.1."""
    ratio = math.exp(-saving)
    return f"{ratio:.2g}×" if ratio < 0.1 else f"{ratio:.2f}×"


def count_seeds(numbers: Iterable[int]) -> str:
    """Return ``"n = 5 seeds"``, ``"n = 1 seed"``, or a range."""
    text = format_range(numbers)
    return f"n = {text} seed" if text == "1" else f"n = {text} seeds"


def format_cost(cost: Cost | None) -> str:
    """Return ``"1.33 (1.02 + 0.31)"``: total, selection and training as shares of full-data training."""
    return HOLE if cost is None else f"{cost['total']:.2f} ({cost['selection']:.2f} + {cost['training']:.2f})"


def escape_markdown(text: str) -> str:
    """Escape what would break a Markdown table or be read as markup."""
    for character in "\\|*_<":
        text = text.replace(character, f"\\{character}")
    return text


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters and replace the symbols we use by commands."""
    text = "".join(LATEX.get(character, character) for character in text)
    return text.replace("“", "``").replace("”", "''")
