"""Map the sets of clusters that agents explored to the plane, so that sets with common clusters lie near each other."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selectbench.artefacts.specs import StatesSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_sealed
from selectbench.seeds import derive_seed
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages.search_clusters import SearchClusters

if TYPE_CHECKING:
    from selectbench.artefacts.states import Explored, StateMap
    from selectbench.planning.plan import Plan

LEAST_SETS = 10  # the smallest number for which UMAP is used
_DIGITS = 4
_BEYOND = 2.0  # above any Jaccard distance: by default UMAP does not place sets that share nothing with others, such as the empty one


@dataclass(frozen=True)
class MapStates(Stage):
    """The map of the states that a paper's agents explored."""

    paper: str

    name = "map_states"
    reads = ("searches",)
    writes = {"states": "{results}/{paper}/states.json"}
    record = "states"
    log = "{results}/logs/states/{paper}.log"

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return what the agents of the paper's maps explored, one file per data set, method and seed."""
        entry = plan.config.papers[self.paper]
        tables = {figure["table"] for figure in entry["figures"].values() if figure["kind"] == "states"}
        ids = sorted({run for table in tables for run in plan.table_runs(self.paper, table)})
        runs = [plan.runs[name] for name in ids if plan.config.is_search(plan.runs[name].method)]
        searches = dict.fromkeys(SearchClusters(run.dataset, run.proxy, run.method, str(run.seed)) for run in runs)
        return {"searches": [Output(search, "states") for search in searches]}

    def specify(self, plan: "Plan") -> StatesSpec:
        """Return the paper and the seed of its maps."""
        return {"paper": self.paper, "seed": derive_seed("states", self.paper), "code": fingerprint_stage(self.name)}


def map_states(searches: list[dict[str, Any]], seed: int) -> "list[StateMap]":
    """Return one map per data set, number of clusters, keep fraction and seed, with the positions of every agent's sets.

    Parameters
    ----------
    searches : results of ``search_clusters``, each for one agent, keep fraction and seed
    seed : of the maps
    """
    groups: dict[tuple[str, int, str, int], list[dict[str, Any]]] = {}
    for search in sorted(searches, key=lambda search: (search["dataset"], search["seed"])):
        groups.setdefault((search["dataset"], search["clusters"], search["keep"], search["seed"]), []).append(search)
    return [map_group(found, derive_seed(seed, *key)) for key, found in groups.items()]


def map_group(searches: list[dict[str, Any]], seed: int) -> "StateMap":
    """Return the map of the sets that several agents explored among the same clusters."""
    first = searches[0]
    sets = sorted({tuple(state["chosen"]) for search in searches for state in search["states"]})
    masks = np.zeros((len(sets), first["clusters"]), dtype=bool)
    for row, chosen in enumerate(sets):
        masks[row, list(chosen)] = True
    name, places = place_masks(masks, seed)
    where = dict(zip(sets, np.round(places, _DIGITS).tolist(), strict=True))
    methods: list[Explored] = []
    for search in searches:
        explored = [tuple(state["chosen"]) for state in search["states"]]
        methods.append(
            {
                "method": search["method"],
                "title": search["title"],
                "best": None if search["best"] is None else explored.index(tuple(search["best"])),
                "x": [where[chosen][0] for chosen in explored],
                "y": [where[chosen][1] for chosen in explored],
                "top1": [round(state["top1"], _DIGITS) for state in search["states"]],
                "size": [len(chosen) for chosen in explored],
            }
        )
    return {
        "dataset": first["dataset"],
        "clusters": first["clusters"],
        "keep": first["keep"],
        "seed": first["seed"],
        "horizon": first["horizon"],
        "map": name,
        "methods": methods,
    }


def place_masks(masks: np.ndarray, seed: int) -> tuple[Literal["umap", "pca"], np.ndarray]:
    """Return the kind of map and the positions (M, 2) of masks (M, C): UMAP by Jaccard distance, principal components if masks are few."""
    if len(masks) < LEAST_SETS:
        centred = masks - masks.sum(axis=0) / max(len(masks), 1)
        rows = np.concatenate([centred, np.zeros((2, masks.shape[1]))])
        return "pca", (centred @ np.linalg.svd(rows, full_matrices=False)[2][:2].T)
    import umap

    neighbours = min(15, len(masks) - 1)
    mapper = umap.UMAP(neighbours, metric="jaccard", disconnection_distance=_BEYOND, n_epochs=200, random_state=seed % (1 << 32), n_jobs=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="gradient function")  # it warns that new points cannot be mapped back
        return "umap", mapper.fit_transform(masks).astype(np.float64)


def write_states(spec: StatesSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write the maps of the states that agents explored, which the inputs list."""
    searches = [search for path in inputs["searches"] for search in read_sealed(path)["searches"]]
    seal_artefact(outputs["states"], {"paper": spec["paper"], "groups": map_states(searches, spec["seed"])}, spec["code"], inputs)


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, MapStates, write_states))
