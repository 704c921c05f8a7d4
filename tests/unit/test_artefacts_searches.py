"""Figures of cluster searches: break-even, maps of explored states, and the coherence of clusters."""

import json
import subprocess
import sys

import numpy as np
import pytest
from artefact_fixtures import DIGITS, by_id, make_clusters, make_figure_spec, make_records, make_states, run_id
from matplotlib.collections import PathCollection

from selectbench.artefacts.break_even import find_break_even, read_shares
from selectbench.artefacts.figures import draw_figure
from selectbench.errors import ConfigError, RecordError
from selectbench.records.files import read_sealed, write_sealed
from selectbench.stages.map_states import map_states, place_masks


@pytest.fixture(scope="module")
def records():
    return by_id(make_records())


@pytest.mark.parametrize(
    ("selection", "training", "even"),
    [(0.0, 0.5, 1), (0.4, 0.5, 1), (0.5, 0.5, 2), (3.0, 0.5, 7), (3.1, 0.5, 7), (0.0, 1.0, None), (2.0, 1.5, None), (150.0, 0.25, 201)],
)
def test_break_even_by_hand(selection, training, even):
    # 3 + 6 · 0.5 = 6 is not yet less than six full trainings, 3 + 7 · 0.5 = 6.5 is less than seven
    assert find_break_even(selection, training) == even


def test_break_even_is_the_least_number_that_pays():
    draw = np.random.default_rng(3)
    for selection, training in zip(draw.uniform(0, 20, 200), draw.uniform(0, 1.05, 200), strict=True):
        paying = [number for number in range(1, 5000) if selection + number * training < number]
        even = find_break_even(selection, training)
        assert (even is None or even >= 5000) if not paying else even == paying[0]


def test_costs_are_paired_with_full_data_by_seed(records):
    runs, full = [run_id(DIGITS, "el2n", "0.3", seed) for seed in (2, 0)], [run_id(DIGITS, "full", "1", seed) for seed in range(3)]
    time, visits = (read_shares(records, runs, full, axis) for axis in ("wall_s", "sample_visits"))
    # selection takes 4.13 s, training 6 s per pool and 0.05 s per seed
    assert time.selection == pytest.approx((4.13 / 6 + 4.13 / 6.1) / 2)
    assert time.training == pytest.approx((1.8 / 6 + 1.9 / 6.1) / 2)
    assert visits == (1.0, pytest.approx(0.3))
    assert read_shares(records, runs, full[1:2], "wall_s") is None


def test_break_even_figure_has_time_above_visits_and_tells_the_numbers(records):
    figure = draw_figure(make_figure_spec("break_even"), records)
    assert [axes.get_ylabel().split(",")[0] for axes in figure.axes] == ["time per target", "", "sample visits per target", ""]
    visits = {line.get_label(): line for line in figure.axes[2].lines if not line.get_label().startswith("_")}
    assert list(visits) == ["random", "random_balanced", "el2n", "moderate"]
    assert visits["el2n"].get_xdata()[[0, -1]].tolist() == [1, 1000]
    assert visits["el2n"].get_ydata()[[0, -1]].tolist() == pytest.approx([1.3, 0.301])
    (marked,) = [line for line in figure.axes[3].lines if line.get_marker() not in ("None", None)]
    assert marked.get_xydata().tolist() == [[2, pytest.approx(0.8)]]  # EL2N; random pays off from the first target on
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "break-even in targets: time | visits, for each panel"
    # EL2N: 1 full training of selection and 0.3 of training; moderate has no run on the second data set
    assert [text.get_text() for text in legend.get_texts()] == [
        "Full data",
        "Random: 1, 1 | 1, 1",
        "Random, class-balanced: 1, 1 | 1, 1",
        "EL2N: 1, 1 | 2, 2",
        "Moderate-DS: 1, — | 2, —",
        "Not built yet:\nRL-Selector",
    ]
    assert figure.get_supxlabel() == "2 runs omitted: no value"


def test_a_selection_never_pays_if_training_gets_no_cheaper(records):
    dear = {
        run: record | ({"training": record["training"] | {"wall_s": 7.0}} if record["run"]["method"] == "el2n" else {})
        for run, record in records.items()
        if record["training"]
    }
    spec = make_figure_spec("break_even", with_holes=False)
    labels = [text.get_text() for text in draw_figure(spec, dear).legends[0].get_texts()]
    assert "EL2N: never | 2" in labels


def test_break_even_refuses_holes_and_unknown_keep_fractions(records):
    with pytest.raises(RecordError, match="partial: true"):
        draw_figure(make_figure_spec("break_even", partial=False), records)
    with pytest.raises(ConfigError, match=r"figure break_even: the table has no keep fraction 0.4; did you mean"):
        draw_figure(make_figure_spec("break_even") | {"keep": "0.4"}, records)


def test_states_have_a_panel_a_seed_a_marker_an_agent_and_rings():
    figure = draw_figure(make_figure_spec("states"), {}, states=make_states())
    first, second, bar = figure.axes
    assert first.get_title(loc="left") == "scikit-learn digits, seed 0\n12 clusters, UMAP"
    assert second.get_title(loc="left") == "scikit-learn digits, seed 1\n12 clusters, two principal components"
    assert bar.get_ylabel() == "validation accuracy of the proxy (%)"
    el2n, ring, _, other_ring = first.collections
    assert ring.get_offsets().tolist() == [[make_states()[0]["methods"][0][axis][35] for axis in ("x", "y")]]
    assert other_ring.get_offsets().tolist() == [[make_states()[0]["methods"][1][axis][19] for axis in ("x", "y")]]
    assert el2n.get_sizes()[:5].tolist() == [7, 7, 7, 20, 7]  # only sets of all three clusters are complete
    assert len(second.collections) == 1  # this search chose nothing
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["EL2N", "Moderate-DS", "Chosen"]
    limits = {points.get_clim() for axes in (first, second) for points in axes.collections if points.get_array() is not None}
    assert len(limits) == 1


def test_states_of_other_tables_are_left_out():
    spec, states = make_figure_spec("states"), make_states()
    first = states[0]
    strange = first["methods"][1] | {"method": "other"}
    figure = draw_figure(spec, {}, states=[first | {"methods": [first["methods"][0], strange]}])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["EL2N", "Chosen"]
    for other in ({"keep": "0.7"}, {"dataset": "letters"}, {"methods": [strange]}, {"methods": []}):
        assert "no agent of this table" in draw_figure(spec, {}, states=[first | other]).texts[0].get_text()


def test_coherence_has_a_panel_a_clustering_and_means_over_seeds():
    figure = draw_figure(make_figure_spec("coherence"), {}, clusters=make_clusters())
    plain, stratified = figure.axes
    assert plain.get_title(loc="left") == "scikit-learn digits\n6 clusters, k-means"
    assert stratified.get_title(loc="left") == "scikit-learn digits\n6 clusters, k-means within labels"
    assert plain.texts[0].get_text().splitlines() == [
        "silhouette 0.11",
        "label purity 0.75",
        "neighbours in same cluster 0.60 (chance 0.30)",
        "neighbours with same label 0.55 (chance 0.25)",
    ]
    first, second = (points for points in plain.collections if isinstance(points, PathCollection))
    assert first.get_offsets().tolist() == [[1.0, 0.3], [0.9, 0.2], [0.8, 0.1], [0.7, 0.0], [0.5, -0.1]]
    assert second.get_offsets()[-1].tolist() == pytest.approx([0.5, -0.15])
    assert first.get_sizes()[3] == 4 * first.get_sizes()[1]
    assert len(figure.legends[0].get_texts()) == 2


def test_clusters_nobody_made_say_so():
    assert "no clusters" in draw_figure(make_figure_spec("coherence"), {}).texts[0].get_text()


def make_search(method: str, sets: list[tuple[int, ...]], best: tuple[int, ...] | None, seed: int = 0) -> dict:
    return {
        "dataset": "tweets",
        "method": method,
        "title": method.title(),
        "seed": seed,
        "clusters": 12,
        "keep": "0.25",
        "horizon": 3,
        "best": None if best is None else list(best),
        "states": [{"chosen": list(chosen), "loss": 1.0, "top1": 50 + len(chosen) + 0.00001} for chosen in sets],
    }


def draw_sets(count: int, seed: int) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(seed)
    return [(), *(tuple(sorted(map(int, draw.choice(12, draw.integers(1, 4), replace=False)))) for _ in range(count))]


def test_equal_sets_of_different_agents_share_a_place():
    few, many = [(), (1,), (1, 2, 3)], [(1, 2, 3), *draw_sets(30, 0)]
    group, other = map_states([make_search("b", many, None, 1), make_search("a", few, (1, 2, 3)), make_search("b", many, many[0])], 7)
    assert {key: group[key] for key in ("dataset", "clusters", "keep", "seed", "horizon", "map")} == {
        "dataset": "tweets", "clusters": 12, "keep": "0.25", "seed": 0, "horizon": 3, "map": "umap",
    }  # fmt: skip
    first, second = group["methods"]
    assert [first["method"], second["method"], other["methods"][0]["method"]] == ["a", "b", "b"]
    assert (first["best"], second["best"], other["methods"][0]["best"]) == (2, 0, None)
    for axis in ("x", "y"):
        assert first[axis][2] == second[axis][0]
        assert first[axis][0] == second[axis][1]
        assert np.isfinite(second[axis]).all()  # the empty set, which overlaps with no other, also has a place
    assert first["size"] == [0, 1, 3]
    assert first["top1"] == [50.0, 51.0, 53.0]


def test_maps_repeat_and_hang_on_the_seed():
    searches = [make_search("a", draw_sets(40, 1), None)]
    first, again, other = (map_states(searches, seed)[0]["methods"][0]["x"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_few_sets_are_placed_by_principal_components():
    masks = np.zeros((4, 6), dtype=bool)
    masks[1, 0] = masks[2, 1] = masks[3, :2] = True
    name, places = place_masks(masks, 0)
    assert name == "pca"
    # the four sets span a plane that preserves their distances: 1 for sets one cluster apart, or √2
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.testing.assert_allclose(distances, np.linalg.norm(masks[:, None].astype(float) - masks[None], axis=-1), atol=1e-12)
    assert place_masks(masks[:1], 0)[1].tolist() == [[0.0, 0.0]]


def test_the_stage_maps_the_files_it_is_given(tmp_path):
    searches = [make_search("a", [(), (1,), (1, 2, 3)], (1, 2, 3)), make_search("b", [], None)]
    for search in searches:
        write_sealed(tmp_path / f"{search['method']}.json", {"searches": [search]})
    command = [sys.executable, "-m", "selectbench.stages.map_states", "--searches", *map(str, sorted(tmp_path.iterdir()))]
    spec = {"paper": "cluster_mdp", "seed": 5, "code": "0"}
    command += ["--states", str(tmp_path / "states.json")]
    process = subprocess.run(command, capture_output=True, text=True, check=False, input=json.dumps(spec))
    assert (process.returncode, process.stderr) == (0, "")
    states = read_sealed(tmp_path / "states.json")
    assert (states["paper"], states["groups"], states["code"]) == ("cluster_mdp", map_states(searches, 5), "0")


def test_agents_that_explored_nothing_have_an_empty_map():
    (group,) = map_states([make_search("a", [], None)], 0)
    assert group["map"] == "pca"
    assert group["methods"][0]["x"] == []
