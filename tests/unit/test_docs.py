"""What the documents say works: their Python runs, their links lead somewhere, their commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_and_links_resolve(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_commands_named_in_documents_exist():
    helps = subprocess.run([sys.executable, "-m", "selectbench.cli", "--help"], capture_output=True, text=True, check=True).stdout
    for page in PAGES:
        for command in re.findall(r"^\s*selectbench ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert re.search(rf"^    {command}\s", helps, flags=re.MULTILINE), command
        for target in re.findall(r"^\s*make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE), target


def test_tests_named_as_evidence_exist():
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    for name, function in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text):
        (path,) = (ROOT / "tests").rglob(name)
        assert f"def {function}" in path.read_text(encoding="utf-8"), f"{name}::{function}"
