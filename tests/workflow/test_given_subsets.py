"""Subsets that other code has chosen become a row of the table, at the cost that their author reports."""

import json

import numpy as np

from conftest import duplicate

OUT = "results/smoke"
KEPT, POOL = 448, 896


def test_a_file_of_ids_and_one_line_are_a_row(finished_table, tmp_path):
    project = duplicate(finished_table, tmp_path / "copy")
    rng = np.random.default_rng(0)
    chosen = {seed: rng.permutation(POOL)[:KEPT] for seed in (0, 1)}
    seeds, ids = np.repeat([0, 1], KEPT), np.concatenate([chosen[0], chosen[1]])
    np.savez(project.path("mine.npz"), dataset=np.full(2 * KEPT, "digits"), keep=np.full(2 * KEPT, 0.5), seed=seeds, id=ids)
    methods = project.path("config/methods.yaml")
    line = "mine: {title: Mine, subsets: mine.npz, cost: {wall_s: 60, sample_visits: 1792}}\n"
    methods.write_text(methods.read_text(encoding="utf-8") + line, encoding="utf-8")
    jobs = project.jobs()
    assert jobs["read_subsets"] == 2 and not {"score_samples", "select_subsets", "train_proxy", "prepare_data"} & jobs.keys()
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-3000:]

    table = json.loads(project.path(f"{OUT}/rl_selector/tables/main.cells.json").read_text(encoding="utf-8"))
    (row,) = [row for row in table["panels"][0]["rows"] if row["id"] == "mine"]
    cell = row["cells"]["0.5"]
    assert cell["n"] == 2 and cell["holes"] == []
    (note,) = [note["text"] for note in table["footnotes"] if note["mark"] in row["footnotes"]]
    assert note == "subsets chosen by other code; the cost of choosing them is what their author reports"
    for run, seed in zip(cell["runs"], (0, 1), strict=True):
        record = json.loads(project.path(f"{OUT}/runs/{run}/train.json").read_text(encoding="utf-8"))
        assert (record["selection"]["wall_s"], record["selection"]["sample_visits"]) == (60, 1792)
        with np.load(project.path(f"{OUT}/subsets/digits/none/mine/seed-{seed}.npz")) as subsets:
            assert subsets["0.5"].tolist() == chosen[seed].tolist()

    np.savez(
        project.path("mine.npz"), dataset=np.full(KEPT, "digits"), keep=np.full(KEPT, 0.5), seed=np.zeros(KEPT, dtype=int), id=chosen[0]
    )
    result = project.snakemake()
    assert result.returncode != 0
    assert "rl_selector/main: 1 of 10 runs has no value; first: " in result.stderr + result.stdout
    assert "mine.npz has no subset for digits, keep 0.5, seed 1" in result.stderr + result.stdout
