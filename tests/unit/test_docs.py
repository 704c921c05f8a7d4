"""Links, index pages and named tests of the documentation exist. test_docs_commands.py runs its commands and Python blocks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_every_page_is_in_the_index():
    for folder in (ROOT / "docs", ROOT / "docs/decisions"):
        index = (folder / "README.md").read_text(encoding="utf-8")
        for page in folder.glob("*.md"):
            assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_tests_named_as_evidence_exist():
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    for name, function in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text):
        (path,) = (ROOT / "tests").rglob(name)
        assert f"def {function}" in path.read_text(encoding="utf-8"), f"{name}::{function}"


def test_the_glossary_defines_each_term_once_in_alphabetical_order():
    rows = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").partition("|---|---|\n")[2].strip().splitlines()
    terms = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert terms == sorted(set(terms), key=str.lower)
