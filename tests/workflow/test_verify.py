"""selectbench verify and compare on a finished project: what adds up, and what an edit that is consistent in itself cannot hide."""

import gzip
import json
import shutil

from conftest import duplicate
from selectbench.records.files import read_sealed, write_sealed

BUDGET = "0.2"  # minutes


def test_a_finished_project_verifies(finished):
    result = finished.run("selectbench", "verify", "--minutes", BUDGET, "--cores", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in lines] == ["agrees"] * 5
    made = int(lines[-1].split()[1])
    assert made >= 1
    assert f"bits are equal for {made} of {made}" in result.stdout
    assert "not here" not in result.stdout
    assert finished.jobs() == {}


def test_a_forged_record_is_found_by_making_the_run_again(finished_table, tmp_path):
    """Digests are no signatures: every file of the forgery fits the others."""
    copy = duplicate(finished_table, tmp_path / "copy")
    results = copy.path("results/smoke")
    for record in results.glob("runs/**/evaluate.json"):
        content = read_sealed(record)
        for outcome in content["test"].values():
            outcome["top1"] = min(100.0, outcome["top1"] + 5.0)
        write_sealed(record, content)
    for collection in results.glob("*/records.jsonl.gz"):
        collection.unlink()
    again = copy.snakemake()
    assert again.returncode == 0, again.stderr[-2000:]
    result = copy.run("selectbench", "verify", "--minutes", BUDGET, "--cores", "2")
    assert result.returncode == 1
    kinds = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert kinds == ["agrees"] * 4 + ["differs"]
    assert "test was" in result.stdout


def test_what_does_not_follow_is_named(copy):
    table = copy.path("results/smoke/rl_selector/tables/main.cells.json")
    write_sealed(table, {**read_sealed(table), "title": "Another title"})
    verdict = copy.path("results/smoke/rl_selector/verdict.json")
    verdict.write_text(verdict.read_text(encoding="utf-8").replace("undecided", "supported", 1), encoding="utf-8")
    rows = copy.path("results/smoke/data_agent/records.jsonl.gz")
    lines = gzip.decompress(rows.read_bytes()).decode().splitlines()
    row = json.loads(lines[0])
    row["test"]["test"]["top1"] = 150.0
    rows.write_bytes(gzip.compress(("\n".join([json.dumps(row), *lines[1:]]) + "\n").encode()))
    result = copy.run("selectbench", "verify", "--minutes", "0")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "tables/main.cells.json: not what follows from the records" in result.stdout
    assert "verdict.json: edited or damaged" in result.stdout
    assert "data_agent/records.jsonl.gz: line 1" in result.stdout
    assert "to repair: rm -rf" in result.stdout


def test_two_results_are_compared(finished, tmp_path):
    shutil.copytree(finished.path("results"), tmp_path / "elsewhere")
    result = finished.run("selectbench", "compare", str(tmp_path / "elsewhere"))
    assert result.returncode == 0, result.stderr
    assert "0 differ" in result.stdout
    assert "between machines 0.00" in result.stdout
    missing = finished.run("selectbench", "compare", str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "no such file" in missing.stderr
