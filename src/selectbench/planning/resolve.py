"""From a paper's entries and a scale to what is run: tables with the runs of every cell, claims with the runs they compare."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from typing import NamedTuple

from selectbench.artefacts.specs import CellSpec, ClaimSpec, ComparisonSpec, LearnerSpec, PanelSpec, Reported, RowSpec, TableSpec
from selectbench.errors import ConfigError, suggest
from selectbench.planning.checks import check_patches
from selectbench.planning.config import Config, as_list, list_table_seeds
from selectbench.planning.entries import Compare, TableEntry
from selectbench.planning.runs import NO_PROXY, Run, format_keep

LEAST_SEEDS = 5  # of methods whose results another arithmetic changes; with three, verdicts changed with it


class Place(NamedTuple):
    """The axes of a panel, in the papers' names or in the ids of a scale."""

    dataset: str
    target: str
    test_set: str


def find_place(config: Config, place: Place) -> Place | None:
    """Return the ids that this scale maps a panel's names to; None unless all of them are mapped."""
    axes = config.scale["axes"]
    dataset, target, test_set = axes["dataset"][place.dataset], axes["model"][place.target], axes["test_set"][place.test_set]
    if dataset is None or target is None or test_set is None or test_set not in config.datasets[dataset]["test_sets"]:
        return None
    return Place(dataset, target, test_set)


def resolve_table(config: Config, reported: Sequence[Mapping[str, str]], paper: str, table: str) -> tuple[TableSpec, list[Run]]:
    """Return a table's specification, every panel, row and cell with the ids of its runs, and the runs.

    Parameters
    ----------
    reported : rows of ``config/reported/<paper>.csv``
    """
    entry = config.papers[paper]["tables"][table]
    where = entry["where"]
    keeps = sorted({format_keep(keep) for keep in where["keep"]} - {"1"}, key=Fraction)
    printed = {(row["dataset"], row["target"], row["method"], format_keep(row["keep"])): row for row in reported if row["table"] == table}
    places = [Place(*names) for names in product(where["dataset"], as_list(where["target"]), as_list(entry["test_set"]))]
    found = {place: find_place(config, place) for place in places} if is_run(config, paper, table) else {}
    present = {place: here for place, here in found.items() if here is not None}
    check_places(config, present, f"config/papers/{paper}.yaml: tables.{table}")
    panels: list[PanelSpec] = []
    runs: list[Run] = []
    for place, here in present.items():
        panel, panel_runs = resolve_panel(config, paper, entry, place, here, keeps, printed)
        panels.append({**panel, "id": name_panel(here, list(present.values()))})
        runs += panel_runs
    specification: TableSpec = {
        "paper": paper,
        "id": table,
        "scale": config.main["scale"],
        "title": entry["title"],
        "note": entry["note"],
        "kind": entry.get("kind", "grid"),
        "targets": entry.get("targets", []),
        "metric": entry.get("metric", "top1"),
        "regime": where["regime"],
        "partial": config.main["partial"] or entry.get("partial", False),
        "tolerance": entry["tolerance"],
        "compare_reported": config.scale["compare_reported"],
        "columns": [{"id": keep, "title": f"{100 * float(keep):g} %"} for keep in [*keeps, *(["1"] if has_controls(entry) else [])]],
        "panels": panels + (list_absences(config, places, list(present)) if is_run(config, paper, table) else [leave_out(config)]),
    }
    learners = list_learners(config, (row["id"] for panel in panels for row in panel["rows"]))
    if learners:
        specification["learners"] = learners
    return specification, runs


def check_places(config: Config, present: Mapping[Place, Place], where: str) -> None:
    """Raise if a scale maps two panels of a table to the same data set, target and test set; they would be the same runs twice.

    Parameters
    ----------
    present : panel in the papers' names → in this scale's ids
    where : the place of the table
    """
    first: dict[Place, Place] = {}
    for place, here in present.items():
        if here in first:
            axis, other, name = next(
                (axis, *pair) for axis, *pair in zip(Place._fields, first[here], place, strict=True) if pair[0] != pair[1]
            )
            mapped = f"{other!r} and {name!r} are both {getattr(here, axis)!r} at scale {config.main['scale']}"
            raise ConfigError(f"{where}: {axis}: {mapped}; map one of them to something else or to null")
        first[here] = place


def is_run(config: Config, paper: str, table: str) -> bool:
    """Tell whether a table is run at this scale: all are, unless the scale names the ones that are."""
    return "tables" not in config.scale or table in config.scale["tables"].get(paper, [])


def leave_out(config: Config) -> PanelSpec:
    """Return the empty panel of a table that a scale leaves out."""
    reason = f"the table is left out at scale {config.main['scale']}"
    return {"id": "left_out", "title": "All panels", "test_set": None, "absent": reason, "rows": []}


def name_panel(here: Place, present: Sequence[Place]) -> str:
    """Return the id of a panel: its data set, and its target and test set where a table has several.

    Parameters
    ----------
    here, present : ids of this panel, and of all that the scale has
    """
    parts = [here.dataset]
    parts += [here.target] if len({other.target for other in present}) > 1 else []
    parts += [here.test_set] if len({other.test_set for other in present}) > 1 else []
    return "-".join(parts)


def list_absences(config: Config, places: Sequence[Place], present: Sequence[Place]) -> list[PanelSpec]:
    """Return an empty panel with the reason for every name of the paper that no panel has at this scale."""
    scale, axes = config.main["scale"], config.scale["axes"]
    several_tests = len({place.test_set for place in places}) > 1
    absences = []
    for name in dict.fromkeys(place.dataset for place in places):
        dataset = axes["dataset"][name]
        tests = dict.fromkeys(place.test_set for place in places)
        if dataset is None and not (several_tests and present):
            absences.append((name, config.datasets.get(name, {"title": name})["title"], f"not mapped to a data set at scale {scale}"))
        elif dataset is not None and not {axes["test_set"][test] for test in tests} & set(config.datasets[dataset]["test_sets"]):
            title = config.datasets[dataset]["title"]
            absences.append((name, title, f"{title} has no {' or '.join(map(repr, tests))} test set at scale {scale}"))
    for name in dict.fromkeys(place.target for place in places):
        if axes["model"][name] is None:
            absences.append((name, config.models.get(name, {"title": name})["title"], f"not mapped to a model at scale {scale}"))
    for name in dict.fromkeys(place.test_set for place in places) if several_tests else ():
        if name not in {place.test_set for place in present}:
            absences.append((name, title_test_set(config, name), f"not mapped to a test set at scale {scale}"))
    return [{"id": name, "title": title, "test_set": None, "absent": reason, "rows": []} for name, title, reason in absences]


def title_test_set(config: Config, name: str) -> str:
    """Return the title of a paper's test set, as the data set that has it spells it."""
    found = (entry["test_sets"][name]["title"] for entry in config.datasets.values() if name in entry["test_sets"])
    return next(found, name)


def has_controls(entry: TableEntry) -> bool:
    """Tell whether the control rows stand in a table; in one whose metric only searches have, they would be empty."""
    return entry.get("controls", True)


def check_kinds(config: Config, place: tuple[str, str, str]) -> None:
    """Raise unless language models are given texts, and other models images that their patches tile.

    Parameters
    ----------
    place : data set, proxy, target
    """
    dataset, *models = place
    wanted = "language_models" if config.is_text(dataset) else "models"
    for model in models:
        if (config.models[model]["library"] == "transformers") != config.is_text(dataset):
            kind = "texts" if config.is_text(dataset) else "images"
            where = f"config/scale/{config.main['scale']}.yaml: axes.model"
            raise ConfigError(f"{where}: {model} cannot be trained on {dataset} ({kind}); choose a model from config/{wanted}.yaml")
        if not config.is_text(dataset):
            check_patches(config.models[model], config.find_images(dataset)["input_shape"], f"config/models.yaml: {model}")


def resolve_panel(
    config: Config,
    paper: str,
    entry: TableEntry,
    place: Place,
    here: Place,
    keeps: Sequence[str],
    printed: Mapping[tuple[str, str, str, str], Mapping[str, str]],
) -> tuple[PanelSpec, list[Run]]:
    """Return one panel of a table's entry, controls first, and its runs.

    Parameters
    ----------
    place, here : in the papers' names, and in this scale's ids
    keeps : keep fractions of the columns
    printed : (data set, target, method, keep fraction) → row of the paper's numbers
    """
    methods, where = config.methods, entry["where"]
    dataset, target, test_set = here
    proxy = find_proxy(config, where["proxy"])
    check_kinds(config, (dataset, proxy, target))
    controls = [name for name, method in methods.items() if method.get("control")] if has_controls(entry) else []
    named = [method for method in where["method"] if method not in controls]
    kinds = {find_kind(config, method) for method in named}
    added = (
        [method for method in list_additions(config) if fits_panel(config, method, dataset, kinds)] if where.get("additions", True) else []
    )
    seeds = list_table_seeds(config.scale, entry)
    recipe = config.scale["recipes"][config.base_of(dataset)].get("target_in", {}).get(paper, "")
    rows: list[RowSpec] = []
    runs: list[Run] = []
    for method in [*controls, *named, *added]:
        planned = bool(methods[method].get("planned"))
        cells: dict[str, CellSpec] = {}
        for keep in ["1"] if method == "full" else keeps:
            run = partial(make_run, config, where["regime"], (dataset, proxy, target), recipe, method, keep)
            cell = [] if planned else [run(seed) for seed in seeds]
            row = printed.get((place.dataset, place.target, method, keep)) or printed.get((place.dataset, "", method, keep))
            cells[keep] = {"runs": [run.id for run in cell], "reported": describe_reported(row)}
            runs += cell
        title = methods[method]["title"] + (" (added)" if method in added else "")
        rows.append({"id": method, "title": title, "control": method in controls, "planned": planned, "cells": cells})
    models = " → ".join(config.models[model]["title"] for model in (proxy, target))
    tests = config.datasets[dataset]["test_sets"]
    tested = "" if tests[test_set]["kind"] == "id" else f", tested on {tests[test_set]['title']}"
    panel: PanelSpec = {
        "id": dataset,
        "title": f"{config.datasets[dataset]['title']}, {models}{tested}",
        "test_set": test_set,
        "absent": None,
        "rows": rows,
    }
    return panel, runs


def find_proxy(config: Config, name: str) -> str:
    """Return the model that a paper's proxy is mapped to at this scale.

    Raises
    ------
    ConfigError
        The proxy is not mapped to a model, but a panel needs it.
    """
    proxy = config.scale["axes"]["model"][name]
    if proxy is None:
        raise ConfigError(f"config/scale/{config.main['scale']}.yaml: axes.model.{name}: is null, but tables at this scale use it as proxy")
    return proxy


def make_run(config: Config, regime: str, place: tuple[str, str, str], recipe: str, method: str, keep: str, seed: int) -> Run:
    """Return the run of these axes; axes that make no difference (the proxy of random, the regime of full data) are levelled.

    Parameters
    ----------
    place : data set, proxy, target
    recipe : of the target, if the paper has one of its own, or an empty name
    """
    dataset, proxy, target = place
    return Run(
        dataset=dataset,
        proxy=proxy if config.needs_proxy(method) else NO_PROXY,
        target=target,
        regime="equal_epochs" if method == "full" else regime,
        method=method,
        keep=keep,
        seed=seed,
        own_recipe=recipe,
    )


def find_kind(config: Config, method: str) -> str:
    """Return how a method chooses, which decides the tables in which an addition gets a row; subsets of other code belong to any."""
    if config.is_given(method):
        return "given"
    if config.is_dynamic(method) or config.is_search(method):
        return "dynamic" if config.is_dynamic(method) else "search"
    is_built = not config.methods[method].get("planned")
    return "text" if is_built and config.find_method(method).needs_texts() else "static"


def fits_panel(config: Config, method: str, dataset: str, kinds: Collection[str]) -> bool:
    """Tell whether an addition gets a row in a panel: it chooses as others do there, or has subsets of its data set."""
    if config.is_given(method):
        return dataset in config.given[method].datasets and bool({"static", "text", "search"} & set(kinds))
    return find_kind(config, method) in kinds


def list_additions(config: Config) -> list[str]:
    """Return the methods that no table names: an author's own. They get a row in each table with additions and methods of their kind."""
    return [name for name, method in config.methods.items() if not (name in config.named or method.get("control") or "method" in method)]


def describe_reported(row: Mapping[str, str] | None) -> Reported | None:
    """Return a printed number with its evidence."""
    return None if row is None else {"value": float(row["value"]), "evidence": row["evidence"], "note": row["note"]}


def resolve_claim(config: Config, tables: Mapping[tuple[str, str], TableSpec], paper: str, claim: str) -> ClaimSpec:
    """Return a claim as comparisons of runs, seed by seed; methods that are not built yet are named instead.

    Raises
    ------
    ConfigError
        The claim's table has no such row or keep fraction.
    """
    entry = config.papers[paper]["claims"][claim]
    stated: ClaimSpec = {
        "id": claim,
        "statement": entry["statement"],
        "by": entry["by"],
        "source": entry["source"],
        "table": entry["table"],
        "unavailable": None,
        "not_compared": [],
        "scope": "best" if "together" in entry else "every",
        "construction": entry.get("construction"),
        "learners": [],
        "comparisons": [],
    }
    if "measured" in entry:
        is_measured = any(panel["absent"] is None for panel in tables[paper, entry["table"]]["panels"])
        return {**stated, "measured": entry["measured"]} if is_measured else stated
    parts = {"compare": entry["compare"], **({"together": entry["together"]} if "together" in entry else {})}
    compared = [name for part in parts.values() for name in part["method"]]
    planned = [name for name in dict.fromkeys(compared) if config.methods[name].get("planned")]
    waiting = [name for part in parts.values() for name in part.get("against", ()) if config.methods[name].get("planned")]
    table, where = tables[paper, entry["table"]], f"config/papers/{paper}.yaml: claims.{claim}"
    if "provided" in entry:
        stated["provided"] = resolve_compare(config, table, entry["provided"], f"{where}.provided")
    return {
        **stated,
        "unavailable": f"not built yet: {', '.join(config.methods[name]['title'] for name in planned)}" if planned else None,
        "not_compared": [config.methods[name]["title"] for name in dict.fromkeys(waiting)],
        "learners": list_learners(config, compared) if entry.get("learning") else [],
        "comparisons": [item for key, part in parts.items() for item in resolve_compare(config, table, part, f"{where}.{key}")],
    }


def add_runs(claim: ClaimSpec, added: Mapping[str, Sequence[Run]]) -> ClaimSpec:
    """Return a claim whose comparisons have further seeds.

    Parameters
    ----------
    claim : as resolved
    added : folder of runs that differ in seed alone → the runs of further seeds
    """
    more: ClaimSpec = {**claim, "comparisons": [add_compared(item, added) for item in claim["comparisons"]]}
    if "provided" in claim:
        more["provided"] = [add_compared(item, added) for item in claim["provided"]]
    return more


def add_compared(item: ComparisonSpec, added: Mapping[str, Sequence[Run]]) -> ComparisonSpec:
    """Return a comparison whose runs have further seeds."""
    more: ComparisonSpec = {**item, "better": add_further(item["better"], added), "worse": add_further(item["worse"], added)}
    if "than_better" in item:
        more["than_better"] = add_further(item["than_better"], added)
    if "than_worse" in item:
        more["than_worse"] = add_further(item["than_worse"], added)
    return more


def add_further(runs: Sequence[str], added: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return the ids of runs, followed by those that differ from them in seed alone."""
    return [*runs, *(run.id for cell in list_cells(runs) for run in added.get(cell, ()))]


def list_cells(runs: Iterable[str]) -> list[str]:
    """Return the folders of runs that differ in seed alone, from the ids of runs."""
    return list(dict.fromkeys(name.rpartition("/")[0] for name in runs))


def resolve_compare(config: Config, table: TableSpec, compare: Compare, where: str) -> list[ComparisonSpec]:
    """Return the comparisons of runs that a claim asks for, one per panel, pair of methods and keep fraction.

    Raises
    ------
    ConfigError
        The table has no such row or keep fraction.
    """
    methods, test_sets = config.methods, config.scale["axes"]["test_set"]
    keeps = list_keeps(table, compare, where)
    wanted = [test_sets[name] for name in compare["test_set"]] if "test_set" in compare else None
    others: list[str | None] = list(compare["against"]) if "against" in compare else [None]
    pairs = [(name, other) for name, other in product(compare["method"], others) if not any(map(config.is_planned, (name, other)))]
    comparisons: list[ComparisonSpec] = []
    for panel in table["panels"]:
        rows = {row["id"]: row["cells"] for row in panel["rows"]}
        if not rows or (wanted is not None and panel["test_set"] not in wanted):
            continue
        for name, other in pairs:
            for method in (name, other):
                if method is not None and method not in rows:
                    raise ConfigError(f"{where}: table {table['id']!r} has no row {method!r}{suggest(method, rows)}")
            against = "a bound" if other is None else "full data" if other == "full" else methods[other]["title"]
            shared: ComparisonSpec = {
                "label": f"{panel['id']}: {methods[name]['title']}",
                "panel": panel["id"],
                "keep": None,
                "method": name,
                "against": other,
                "against_title": against,
                "form": "pair",
                "metric": compare["metric"],
                "test_set": panel["test_set"],
                "higher_is_better": compare["metric"] == "top1",
                "allowance": find_allowance(compare),
                "least_sd": find_least_sd(config, compare["metric"], name, other),
                "better": [],
                "worse": [],
            }
            if {name, other} & config.scale.get("arithmetic_sd", {}).keys():
                shared["least_seeds"] = LEAST_SEEDS
            margins = config.papers[table["paper"]].get("equivalence", {})
            if compare["metric"] in margins:
                shared["equivalence"] = margins[compare["metric"]]
            comparisons += resolve_pair(shared, compare, keeps, rows)
    return comparisons


def list_keeps(table: TableSpec, compare: Compare, where: str) -> list[str]:
    """Return the keep fractions of a claim: those it names, or all of its table.

    Raises
    ------
    ConfigError
        The table has no such keep fraction, a fraction is compared with itself, or a spread is asked for over fewer than two.
    """
    valid = [column["id"] for column in table["columns"] if column["id"] != "1"]
    named = [("keep", keep) for keep in compare.get("keep", ())] + ([("than", compare["than"])] if "than" in compare else [])
    for key, keep in ((key, format_keep(keep)) for key, keep in named):
        if keep not in valid:
            raise ConfigError(f"{where}.{key}: table {table['id']!r} has no keep fraction {keep}{suggest(keep, valid)}")
    keeps = [format_keep(keep) for keep in compare["keep"]] if "keep" in compare else valid
    if "than" in compare and format_keep(compare["than"]) in keeps:
        raise ConfigError(f"{where}.than: {compare['than']} is among the keep fractions that are compared with it; name others with keep")
    if compare.get("spread") and len(keeps) < 2:
        raise ConfigError(f"{where}.spread: a spread over keep fractions needs at least two of them, not {len(keeps)}")
    return keeps


def resolve_pair(
    shared: ComparisonSpec, compare: Compare, keeps: Sequence[str], rows: Mapping[str, Mapping[str, CellSpec]]
) -> list[ComparisonSpec]:
    """Return the comparisons of one pair of methods in one panel: one per keep fraction, or a single one of their spreads.

    Parameters
    ----------
    shared : what all of them have in common, with the beginning of the label
    compare, keeps : as claimed
    rows : of the panel
    """
    method, other, against = shared["method"], shared["against"], shared["against_title"]

    def list_runs(name: str | None, keep: str) -> list[str]:
        return [] if name is None else rows[name]["1" if name == "full" else keep]["runs"]

    def name_keeps(some: Iterable[str]) -> str:
        return ", ".join(f"{100 * float(keep):g} %" for keep in some)

    if compare.get("spread"):
        better, worse = ([run for keep in keeps for run in list_runs(name, keep)] for name in (method, other))
        label = f"{shared['label']} against {against}, spread over {name_keeps(keeps)}"
        return [{**shared, "form": "spread", "label": label, "better": better, "worse": worse}]
    comparisons: list[ComparisonSpec] = []
    for keep in keeps:
        found: ComparisonSpec = {**shared, "keep": keep, "better": list_runs(method, keep), "worse": list_runs(other, keep)}
        found["label"] = f"{shared['label']} at {name_keeps(['1' if method == 'full' else keep])}"
        if "bound" in compare:
            found |= {"form": "bound", "bound": compare["bound"], "label": f"{found['label']}, {compare['bound']:g} − value"}
        else:
            found["label"] += f" against {against}"
        if "than" in compare:
            than = format_keep(compare["than"])
            found |= {"form": "change", "than_better": list_runs(method, than), "than_worse": list_runs(other, than)}
            found["label"] += f", minus the same at {name_keeps([than])}"
        comparisons.append(found)
    return comparisons


def list_learners(config: Config, methods: Iterable[str]) -> list[LearnerSpec]:
    """Return the methods whose agent learns and has a twin, with the twin."""
    learners: list[LearnerSpec] = []
    for name in dict.fromkeys(methods):
        entry = config.methods[name]
        if "twin" in entry:
            learners.append({"method": name, "twin": entry["twin"]})
            if "published_updates" in entry:
                learners[-1]["published_updates"] = entry["published_updates"]
    return learners


def find_least_sd(config: Config, metric: str, method: str, other: str | None) -> float:
    """Return the standard deviation that the arithmetic alone gives the differences between two methods, where the scale says so."""
    declared = config.scale.get("arithmetic_sd", {}) if metric == "top1" else {}
    return math.hypot(declared.get(method, 0.0), declared.get(other, 0.0) if other else 0.0)


def find_allowance(compare: Compare) -> float:
    """Return what a claim adds to each difference.

    A ``margin`` is what the better side may lose, in the metric's unit; a ``factor`` is how many times cheaper it must be (costs are
    compared by logarithms).
    """
    if "margin" in compare:
        return compare["margin"]
    return -math.log(compare["factor"]) if "factor" in compare else 0.0
