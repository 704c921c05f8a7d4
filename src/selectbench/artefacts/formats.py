"""Texts: how numbers, costs and names are printed in Markdown, LaTeX and on the page."""

import math
import re
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
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula in spreadsheets
MARKUP = re.compile(  # what Markdown reads as more than a character
    r"""[\\|*_<`$~]            # everywhere
    |&(?=\#?\w+;)             # a named or numbered character
    |\[(?=[^\]]*\][(\[:])      # a link
    |\#(?=\#*\s*$)            # the end of a heading
    |^(?:>|\#|=|[-+](?=[\s-]|$)|:(?=\s|-))  # a block
    """,
    flags=re.VERBOSE,
)
ITEM = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")  # begins an item of a list
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_"},
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
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


def join_lines(text: str) -> str:
    """Return a text on one line, without control characters: titles, cells and notes have no others."""
    return CONTROL.sub("", " ".join(text.splitlines()).strip())


def escape_markdown(text: str) -> str:
    """Escape what would break a Markdown line or table cell, or be read as markup, on one line."""
    return ITEM.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", join_lines(text)))


def escape_paragraph(text: str) -> str:
    """Escape a heading or paragraph of Markdown; a ``_`` within a word, which is no markup, stays as it is."""
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", escape_markdown(text))


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters and replace the symbols we use by commands, on one line."""
    text = "".join(LATEX.get(character, character) for character in join_lines(text))
    return text.replace("“", "``").replace("”", "''")


def open_latex_row(text: str) -> str:
    """Return an escaped text that may begin a row: LaTeX takes ``[`` and ``*`` there for arguments of the line break before it."""
    return re.sub(r"^\s*([\[*])", r"{\1}", text)


def guard_csv(text: object) -> object:
    """Return a text that spreadsheets would run as a formula behind an apostrophe, which they do not show, and any other as it is."""
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text
