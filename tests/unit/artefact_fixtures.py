"""Synthetic records and specs for the artefact tests; run this file to regenerate the stored records and golden files."""

import math
from pathlib import Path

import numpy as np

CODE = "fingerprint"
GOLDEN = Path(__file__).parents[1] / "golden"
DIGITS, BLOBS = "digits/convnet-to-resnet8", "blobs/mlp-to-mlp"
TITLES = {
    "full": "Full data",
    "random": "Random",
    "random_balanced": "Random, class-balanced",
    "el2n": "EL2N",
    "moderate": "Moderate-DS",
    "rl_selector": "RL-Selector",
}
TOP1 = {"full": 97.0, "random": 92.0, "random_balanced": 92.6, "el2n": 89.0, "moderate": 94.1}
PROXY_S = {"el2n": 4.1, "moderate": 4.1}
COLUMNS = [{"id": "0.3", "title": "30 %"}, {"id": "0.5", "title": "50 %"}]
FAILED = f"{BLOBS}/equal_epochs/el2n/keep-0.3/seed-1"
SEARCHED = ("el2n", "moderate")  # records of these have a trajectory, as if a search had found their subsets
FIGURE_TITLES = {
    "accuracy_by_keep": "Accuracy by keep fraction",
    "cost": "Accuracy by total cost",
    "trajectory": "How the search went",
    "overlap": "Overlap of the subsets",
    "measured": "Error by cover",
    "break_even": "When a selection pays",
    "states": "Explored states",
    "coherence": "Coherence of the clusters",
}
MISSING = f"{BLOBS}/equal_epochs/random_balanced/keep-0.3/seed-2"


def run_id(place: str, method: str, keep: str, seed: int) -> str:
    return f"{place}/equal_epochs/{method}/keep-{keep}/seed-{seed}"


def make_record(place: str, method: str, keep: str, seed: int) -> dict:
    """Return a row as it is collected."""
    from selectbench.records.records import merge_records

    return merge_records(*make_pair(place, method, keep, seed))


def make_pair(place: str, method: str, keep: str, seed: int) -> tuple[dict, dict | None]:
    """Return the sealed records of a training and of its evaluation, which is None for the run that failed."""
    from selectbench.records.files import digest_value, seal
    from selectbench.records.records import SCHEMA, WEIGHTS

    run = run_id(place, method, keep, seed)
    dataset, proxy_to_target = place.split("/")
    proxy, target = proxy_to_target.split("-to-")
    share = float(keep)
    seed_effect = 0.4 * math.sin(2.1 * seed + 1)
    own_effect = 0.3 * math.sin(3.7 * seed + len(method))
    top1 = round(TOP1[method] + 12 * (share - 0.5) * (method != "full") + seed_effect + own_effect, 2)
    proxy_s = PROXY_S.get(method, 0.0)
    kept = round(share * 1400)
    axes = {"id": run, "dataset": dataset, "proxy": proxy, "target": target, "regime": "equal_epochs", "method": method}
    axes |= {"keep": keep, "seed": seed, "own_recipe": ""}
    origin = {"run": run, "spec": {"regime": "equal_epochs", "recipe": "0" * 64}, "choice": "0" * 64, "data": "1" * 64, "start": None}
    provenance = {
        "command": "train",
        "commit": "0123456789",
        "dirty": False,
        "version": "0.1.0",
        "code": CODE,
        "versions": {"torch": "2.9.0"},
        "device": "cpu",
        "host": "somewhere",
        "python": "3.11.7",
        "started": "2025-12-31T23:59:50Z",
        "finished": "2026-01-01T00:00:00Z",
    }
    done = {"schema": SCHEMA, "run": axes, "status": "ok", "failure": None, "provenance": provenance}
    train = done | {
        "key": digest_value(origin),
        "made_from": origin,
        "num_pool": 1400,
        "num_kept": kept,
        "noise": None,
        "tokens": None,
        "warm_start": None,
        "best_epoch": {"epoch": 12, "top1": round(top1 + 0.25, 2)},
        "training": {
            "epochs": 20,
            "steps": kept // 10,
            "micro_batch": None,
            "sample_visits": 20 * kept,
            "forward_visits": 20 * kept,
            "backward_visits": 20 * kept,
            "wall_s": round(6 * share + 0.05 * seed, 2),
            "encode_s": 0.0,
            "unreadable": 0,
            "peak_memory_mb": 512.0,
            "peak_device_memory_mb": None,
            "final_loss": 0.01,
            "test_top1_by_epoch": [],
        },
        "selection": {
            "proxy_share": float(proxy_s > 0),
            "sources": {"proxy": {"wall_s": proxy_s, "sample_visits": 28000, "peak_memory_mb": 512.0}} if proxy_s else {},
            "score_s": 0.02,
            "select_s": 0.01,
            "wall_s": proxy_s + 0.03 if method != "full" else 0.0,
            "sample_visits": 28000 if proxy_s else 0,
            "peak_memory_mb": 512.0,
            "subset_sha256": "0" * 64,
            "class_counts": [kept],
        },
        "model": {"name": target},
        "recipe": {"epochs": 20},
        "seeds": {"init": seed, "streams": ["target", dataset, seed], "selection": seed},
        "sha256": {WEIGHTS: "2" * 64},
    }
    if method in SEARCHED:
        train["selection"]["trajectory"] = make_trajectory(share, seed, run != FAILED)
    if run == FAILED:
        reached = ("schema", "run", "provenance", "key", "made_from", "selection")
        train = {name: value if name in reached else None for name, value in train.items()}
        train |= {"status": "failed", "failure": {"reason": "loss is not finite\nat step 12", "log_tail": "…"}}
        return seal(train), None
    tests = {"test": "3" * 64, "mnist_shift": "4" * 64}
    tested = {"run": run, "spec": origin["spec"], "training": train["key"], "weights": "2" * 64, "tests": tests}
    evaluate = done | {
        "key": digest_value(tested),
        "made_from": tested,
        "wall_s": 0.0,
        "test": {
            "test": {"top1": top1, "loss": round((100 - top1) / 30, 4), "num": 397, "unreadable": 0},
            "mnist_shift": {
                **{"top1": round(top1 - 20, 2), "loss": 0.9, "num": 397, "unreadable": 0},
                **{"clean_top1": top1, "clean_num": 397},
            },
        },
    }
    return seal(train), seal(evaluate)


def make_trajectory(share: float, seed: int, succeeds: bool) -> dict:
    """Return five epochs that approach the keep fraction; a failed run drifts away and has no correlation."""
    open_share = [round((0.9 - 0.05 * seed) * 0.6**epoch, 4) if succeeds else 1 + 0.05 * epoch for epoch in range(5)]
    return {
        "epoch": [1, 2, 3, 4, 5],
        "kept_fraction": [round(share + 0.3 * value * (1 if succeeds else 2), 4) for value in open_share],
        "reward": [round(1 - value, 4) for value in open_share],
        "redundancy": [round(2 + value, 4) for value in open_share],
        "regret": open_share,
        "correlation": [round(1 - value, 4) if succeeds else None for value in open_share],
        "chosen_epoch": 5 - seed if succeeds else None,
    }


def make_measurements() -> list[dict]:
    """Return measurements of one proposition with three seeds: y = x² over three decades, times noise, and a correlation."""
    x = [round(0.01 * 1.02**place, 6) for place in range(400)]
    return [
        {
            "seed": seed,
            "dataset": "digits",
            "propositions": {
                "cover_bound": {
                    "x_label": "ε-sample cover of the subset",
                    "y_label": "gradient error",
                    "x": x,
                    "y": [round(value**2 * math.exp(0.5 * math.sin(7 * place + seed)), 8) for place, value in enumerate(x)],
                    "statistic": {"spearman": round(0.8 + 0.05 * seed, 2), "slope": -0.1},
                }
            },
        }
        for seed in range(3)
    ]


def make_overlaps() -> list[dict]:
    methods = ["random", "random_balanced", "el2n", "moderate"]
    overlaps = []
    for keep in ("0.3", "0.5"):
        chance = float(keep)
        overlap = [[round(chance + 0.1 * (row - column) ** 2 / 4, 4) if row != column else 1.0 for column in range(4)] for row in range(4)]
        overlap[3][3] = None
        overlaps.append({"dataset": "digits", "keep": keep, "chance": chance, "methods": methods, "overlap": overlap})
    return overlaps


def make_subsets() -> dict:
    """Return a browser with twelve samples of three classes and three methods, one without scores, for one keep fraction and two seeds."""
    from selectbench.artefacts.browser import describe_methods, pack_pictures

    ids, rng = np.arange(12), np.random.default_rng(0)
    runs, files = [], {}
    for method in ("random", "el2n", "moderate"):
        for seed in (0, 1):
            scores = rng.permutation(12).astype(float)
            files[f"{method}/{seed}"] = {"0.5": np.argsort(-scores)[:6]}
            if method != "moderate":
                files[f"{method}/{seed}/scores"] = {"scores": scores, "ids": ids}
            runs.append({"method": method, "keep": "0.5", "seed": seed, "subset": f"{method}/{seed}", "scores": f"{method}/{seed}/scores"})
    pictures = pack_pictures(rng.integers(0, 256, (12, 1, 8, 8)).astype(np.uint8))
    about = {"id": "digits", "title": "Digits", "num_pool": 12, "ids": None, "labels": (ids % 3).tolist(), "classes": ["a", "b", "c"]}
    return {"paper": "rl_selector", "datasets": [{**about, "pictures": pictures, "methods": describe_methods(runs, ids, files, files)}]}


def make_states() -> list[dict]:
    """Return maps for two seeds: two agents on a spiral, each with a chosen set; with the second seed, one chose nothing."""

    def explore(method: str, count: int, best: int | None) -> dict:
        angles = [0.4 * place + len(method) for place in range(count)]
        return {
            "method": method,
            "title": TITLES[method],
            "best": best,
            "x": [round(angle * math.cos(angle), 4) for angle in angles],
            "y": [round(angle * math.sin(angle), 4) for angle in angles],
            "top1": [round(40 + 0.5 * place, 4) for place in range(count)],
            "size": [place % 4 for place in range(count)],
        }

    axes = {"dataset": "digits", "clusters": 12, "keep": "0.3", "horizon": 3}
    return [
        {**axes, "seed": 0, "map": "umap", "methods": [explore("el2n", 40, 35), explore("moderate", 20, 19)]},
        {**axes, "seed": 1, "map": "pca", "methods": [explore("el2n", 8, None)]},
    ]


def make_clusters() -> list[dict]:
    """Return the coherence of two clusterings with two seeds; one cluster of each has no measured sample."""
    return [
        {
            "dataset": "digits",
            "clustering": clustering,
            "clusters": 6,
            "seed": seed,
            "coherence": {
                "sizes": [40, 80, 160, 320, 20, 60],
                "purities": [1.0, 0.9 - 0.1 * seed, 0.8, 0.7, 0.6, 0.5],
                "silhouettes": [0.3, 0.2, 0.1, 0.0, None, -0.1 - 0.05 * seed],
                "silhouette": 0.1 + 0.02 * seed,
                "purity": 0.75,
                "neighbours_in_cluster": 0.6,
                "neighbours_in_label": 0.5 + 0.1 * seed,
                "chance_in_cluster": 0.3,
                "chance_in_label": 0.25,
            },
        }
        for clustering in ("stratified", "kmeans")
        for seed in range(2)
    ]


def make_records() -> list[dict]:
    digits = [
        make_record(DIGITS, method, keep, seed)
        for method in ("random", "random_balanced", "el2n", "moderate")
        for keep in ("0.3", "0.5")
        for seed in range(3)
    ]
    blobs = [make_record(BLOBS, method, "0.3", seed) for method in ("random", "random_balanced", "el2n") for seed in range(3)]
    full = [make_record(place, "full", "1", seed) for place in (DIGITS, BLOBS) for seed in range(3)]
    return [record for record in [*digits, *blobs, *full] if record["run"]["id"] != MISSING]


def by_id(records: list[dict]) -> dict[str, dict]:
    return {record["run"]["id"]: record for record in records}


def make_cells(place: str, method: str, keeps: list[str], reported: dict[str, float] | None = None) -> dict:
    return {
        keep: {
            "runs": [run_id(place, method, keep, seed) for seed in range(3)],
            "reported": {"value": reported[keep], "evidence": "paper-table", "note": ""} if reported and keep in reported else None,
        }
        for keep in keeps
    }


def make_row(place: str, method: str, keeps: list[str], reported: dict[str, float] | None = None) -> dict:
    planned = method == "rl_selector"
    return {
        "id": method,
        "title": TITLES[method],
        "control": method in ("full", "random", "random_balanced"),
        "planned": planned,
        "cells": {} if planned else make_cells(place, method, ["1"] if method == "full" else keeps, reported),
    }


def make_panels(reported: dict[str, float] | None = None, with_holes: bool = True) -> list[dict]:
    methods = ("full", "random", "random_balanced", "el2n", "moderate", "rl_selector")
    panels = [
        {
            "id": "digits",
            "title": "scikit-learn digits, ConvNet → ResNet-8",
            "test_set": "test",
            "absent": None,
            "rows": [make_row(DIGITS, method, ["0.3", "0.5"], reported if method == "el2n" else None) for method in methods],
        }
    ]
    if with_holes:
        rows = [make_row(BLOBS, method, ["0.3"]) for method in ("full", "random", "random_balanced", "el2n", "rl_selector")]
        panels.append({"id": "blobs", "title": "Blobs & rings, MLP → MLP", "test_set": "test", "absent": None, "rows": rows})
    panels.append(
        {
            "id": "imagenet",
            "title": "ImageNet-1k, ResNet-18 → ResNet-50",
            "test_set": None,
            "absent": "needs the ImageNet-1k files",
            "rows": [],
        }
    )
    return panels


def make_table_spec(scale: str = "tiny", partial: bool = True, with_holes: bool = True) -> dict:
    return {
        "paper": "rl_selector",
        "id": "main",
        "kind": "grid",
        "scale": scale,
        "title": "Accuracy by keep fraction",
        "note": "Subsets are chosen with the proxy & transferred to the target.",
        "metric": "top1",
        "regime": "equal_epochs",
        "partial": partial,
        "tolerance": 1.0,
        "compare_reported": scale == "full",
        "columns": COLUMNS,
        "panels": make_panels({"0.3": 86.0, "0.5": 92.34}, with_holes),
        "code": CODE,
    }


def retest(spec: dict, test_set: str) -> dict:
    """Return the spec with all its panels on another test set."""
    return spec | {"panels": [panel | {"test_set": test_set} for panel in spec["panels"]]}


def make_costs_spec(partial: bool = True, with_holes: bool = True) -> dict:
    return make_table_spec(partial=partial, with_holes=with_holes) | {
        "id": "costs",
        "kind": "cost_to_reach",
        "title": "Total cost to reach an accuracy",
        "note": "Against static methods and full training.",
        "targets": [0.9, 0.95, 0.97, 1.0],
    }


def make_figure_spec(kind: str, partial: bool = True, with_holes: bool = True) -> dict:
    return {
        "paper": "rl_selector",
        "id": kind,
        "scale": "tiny",
        "title": FIGURE_TITLES[kind],
        "kind": kind,
        "caption": "Means over three seeds with 95 % t-intervals.",
        "metric": "top1",
        "partial": partial,
        "columns": COLUMNS,
        "panels": make_panels(None, with_holes),
        "code": CODE,
        **{
            "trajectory": {"quantity": "regret", "methods": list(SEARCHED)},
            "measured": {"proposition": "cover_bound"},
            "break_even": {"keep": "0.3"},
        }.get(kind, {}),
    }


def make_comparison(label: str, better: tuple[str, str, str], worse: tuple[str, str, str], metric: str = "top1") -> dict:
    return {
        "label": label,
        "panel": better[0],
        "keep": better[2],
        "method": better[1],
        "against": worse[1],
        "against_title": "full data" if worse[1] == "full" else TITLES[worse[1]],
        "form": "pair",
        "metric": metric,
        "test_set": "test",
        "better": [run_id(*better, seed) for seed in range(3)],
        "worse": [run_id(*worse, seed) for seed in range(3)],
        "higher_is_better": metric == "top1",
        "allowance": 0.0,
    }


def make_claims_spec() -> dict:
    def digits(method: str, keep: str) -> tuple[str, str, str]:
        return (DIGITS, method, keep)

    def claim(name: str, statement: str, by: str, comparisons: list[dict], unavailable: str | None = None) -> dict:
        return {
            "id": name,
            "statement": statement,
            "by": by,
            "source": "Table 1" if by == "paper" else None,
            "table": "main",
            "unavailable": unavailable,
            "not_compared": [],
            "scope": "every",
            "construction": None,
            "learners": [],
            "comparisons": comparisons,
        }

    keeps = ("0.3", "0.5")
    return {
        "paper": "rl_selector",
        "scale": "tiny",
        "confidence": 0.95,
        "code": CODE,
        "claims": [
            claim("best", "RL-Selector beats every baseline at every keep fraction.", "paper", [], "rl_selector is not built yet"),
            claim(
                "moderate",
                "Moderate-DS beats EL2N at every keep fraction.",
                "paper",
                [
                    make_comparison(f"digits, keep {keep}: Moderate-DS − EL2N", digits("moderate", keep), digits("el2n", keep))
                    for keep in keeps
                ],
            ),
            claim(
                "el2n",
                "EL2N beats uniform random at every keep fraction.",
                "field",
                [make_comparison(f"digits, keep {keep}: EL2N − Random", digits("el2n", keep), digits("random", keep)) for keep in keeps],
            ),
            claim(
                "balance",
                "Class balance helps random selection.",
                "field",
                [
                    make_comparison(f"digits, keep {keep}: balanced − uniform", digits("random_balanced", keep), digits("random", keep))
                    for keep in keeps
                ],
            ),
            claim(
                "blobs",
                "EL2N beats uniform random on blobs.",
                "field",
                [make_comparison("blobs, keep 0.3: EL2N − Random", (BLOBS, "el2n", "0.3"), (BLOBS, "random", "0.3"))],
            ),
            claim(
                "cheap",
                "Random at half the data costs less than full-data training.",
                "field",
                [make_comparison("digits, keep 0.5: Random / full data", digits("random", "0.5"), digits("full", "1"), "total_visits")],
            ),
            make_measured_claim("spearman", above=0.5),
        ],
    }


def make_measured_claim(statistic: str, **bound: float) -> dict:
    return {
        "id": "cover",
        "statement": "The error grows with the cover.",
        "by": "paper",
        "source": "Proposition 1",
        "table": None,
        "unavailable": None,
        "not_compared": [],
        "scope": "every",
        "construction": None,
        "learners": [],
        "comparisons": [],
        "measured": {"proposition": "cover_bound", "statistic": statistic, **bound},
    }


def make_page_spec() -> dict:
    figures = [{key: make_figure_spec(kind)[key] for key in ("id", "title", "caption")} | {"table": "main"} for kind in FIGURE_TITLES]
    tables = ["main", "costs"]
    browse = {"methods": [[name, title] for name, title in TITLES.items() if name != "full"], "datasets": {"digits": "Digits"}}
    about = {"id": "rl_selector", "title": "RL-Selector", "citation": "ICCV 2025, arXiv 2506.21037"}
    papers = [{**about, "tables": tables, "figures": figures, "browse": browse}]
    return {"title": "Does RL-guided data selection pay?", "scale": "tiny", "scale_id": "tiny", "papers": papers, "code": CODE}


def write_golden() -> None:
    from selectbench.artefacts.tables import fill_table, render_csv, render_latex, render_markdown
    from selectbench.artefacts.verdict import make_verdict
    from selectbench.artefacts.verdict import render_markdown as render_verdict
    from selectbench.records.records import read_records, write_collection

    write_collection(GOLDEN / "records.jsonl", make_records())
    records = read_records(GOLDEN / "records.jsonl")
    tables = {spec["id"]: fill_table(spec, records) for spec in (make_table_spec(), make_costs_spec())}
    verdict = make_verdict(make_claims_spec(), list(tables.values()), records, make_measurements())
    texts = {"verdict.md": render_verdict(verdict)}
    for name, table in tables.items():
        texts |= {f"{name}.csv": render_csv(table), f"{name}.md": render_markdown(table), f"{name}.tex": render_latex(table)}
    for name, text in texts.items():
        (GOLDEN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_golden()
