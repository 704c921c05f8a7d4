"""The results pages in a real browser: every control is used, by mouse and by keyboard, without any error or warning.

The pages are built from the committed tables, figures and verdicts, and from rule-based subsets of real digits.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser, find_chromium

from selectbench.artefacts.break_even import find_break_even
from selectbench.artefacts.formats import format_cost
from selectbench.planning.plan import Plan, load_plan
from selectbench.records.files import read_sealed, write_array, write_arrays, write_sealed
from selectbench.records.records import read_records
from selectbench.stages.build_front_page import BuildFrontPage, build_front_page
from selectbench.stages.build_page import BuildPage, build_page
from selectbench.stages.collect_subsets import CollectSubsets, collect_subsets
from selectbench.stages.compare_subsets import CompareSubsets, compare_subsets

PAPER = "rl_selector"
POOL = 120  # samples
FIGURES = 3  # per paper: each takes the browser a while
SIZES = {"phone": (360, 740), "desk": (1280, 900)}


def keep_what_is_there(spec: dict, folder: Path) -> dict:
    """Reduce a page's specification to tables and a few figures whose files are committed."""
    for paper in spec["papers"]:
        paper["tables"] = [name for name in paper["tables"] if (folder / paper["id"] / f"tables/{name}.cells.json").exists()]
        paper["figures"] = [item for item in paper["figures"] if (folder / paper["id"] / f"figures/{item['id']}.svg").exists()]
        paper["figures"] = paper["figures"][:FIGURES]
    return spec


def write_pool(data: str, is_text: bool) -> np.ndarray:
    """Write a pool of ten classes of samples, or three of texts, in the place of a prepared data set; return the labels."""
    pool, labels = Path(data).parent / "pool", np.arange(POOL) % 10
    if is_text:
        labels = labels % 3
        pool.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": f"text {number} <b>&amp;"}) for number in range(POOL)]
        (pool / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        images = np.zeros((POOL, 1, 8, 8), dtype=np.uint8)
        images[np.arange(POOL), 0, labels % 8, np.arange(POOL) % 8] = 255
        write_array(pool / "images.npy", images)
    write_array(pool / "labels.npy", labels)
    return labels


def write_subsets(plan: Plan, paper: str) -> None:
    """Write pools, subsets and the browser; the scores of the m-th method are those of the first, rotated by m samples."""
    browser, comparison = CollectSubsets(paper), CompareSubsets(paper)
    spec = browser.specify(plan)
    methods = list(dict.fromkeys(run["method"] for dataset in spec["datasets"] for run in dataset["runs"]))
    for dataset in spec["datasets"]:
        num = len(write_pool(dataset["data"], dataset["is_text"]))
        for run in dataset["runs"]:
            scores = np.roll(np.arange(num, dtype=float), 3 * methods.index(run["method"]) + run["seed"])
            keeps = {other["keep"] for other in dataset["runs"] if other["subset"] == run["subset"]}
            write_arrays(Path(run["subset"]), {keep: np.argsort(-scores)[: round(float(keep) * num)] for keep in sorted(keeps)})
            if run["scores"]:
                write_arrays(Path(run["scores"]), {"scores": scores, "ids": np.arange(num)})
    write_sealed(Path(browser.find_output(plan, "browser")), collect_subsets(spec))
    overlaps = comparison.specify(plan)
    overlaps["groups"] = [group | {"num_pool": POOL} for group in overlaps["groups"]]
    write_sealed(Path(comparison.find_output(plan, "overlaps")), {"paper": paper, "overlaps": compare_subsets(overlaps)})


@pytest.fixture(scope="module")
def site(root, committed, tmp_path_factory) -> Path:
    """A folder of results with the front page and the page of scale tiny."""
    place = tmp_path_factory.mktemp("site")
    for part in ("config", "workflow"):
        shutil.copytree(root / part, place / part)
    shutil.copytree(committed / "results/tiny", place / "results/tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        plan = load_plan(place)
        for paper in plan.browsing_papers():
            write_subsets(plan, paper)
        page, front = BuildPage(), BuildFrontPage()
        spec = keep_what_is_there(page.specify(plan), place / plan.folder)
        papers = [(paper["id"], Path(plan.folder) / paper["id"]) for paper in spec["papers"]]
        build_page(
            spec,
            {
                "verdicts": [folder / "verdict.json" for _, folder in papers],
                "tables": [
                    folder / f"tables/{table}.cells.json"
                    for paper, (_, folder) in zip(spec["papers"], papers, strict=True)
                    for table in paper["tables"]
                ],
                "figures": [
                    folder / f"figures/{item['id']}.svg"
                    for paper, (_, folder) in zip(spec["papers"], papers, strict=True)
                    for item in paper["figures"]
                ],
                "records": [folder / "records.jsonl.gz" for _, folder in papers],
                "subsets": [Path(CollectSubsets(paper).find_output(plan, "browser")) for paper in plan.browsing_papers()],
                "overlaps": [Path(CompareSubsets(paper).find_output(plan, "overlaps")) for paper in plan.browsing_papers()],
            },
            {name: place / path for name, path in page.list_outputs(plan).items()},
        )
        build_front_page(front.specify(plan), {}, {name: place / path for name, path in front.list_outputs(plan).items()})
    return place / "results"


@pytest.fixture(scope="module")
def chromium():
    browser = Browser(find_chromium())
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    """The browser at desktop width; any complaint of a page fails the test."""
    chromium.complaints.clear()
    chromium.set_size(*SIZES["desk"])
    chromium.prefer(prefers_color_scheme="light")
    yield chromium
    chromium.run("1")
    assert chromium.complaints == []


@pytest.fixture
def page(browser, site):
    """The page of scale tiny."""
    browser.open(site / "tiny/index.html")
    return browser


def list_column(page: Browser, table: str, column: int) -> list[list[float | None]]:
    """Return the numbers in a table's column, panel by panel, as displayed."""
    return page.run(f"""[...document.querySelector({json.dumps(table)}).tBodies].map((body) => [...body.rows].slice(1)
        .map((row) => row.cells[{column}]?.dataset.value).map((value) => value === undefined ? null : Number(value)))""")


def is_sorted(panels: list[list[float | None]], sign: int) -> bool:
    numbers = [[value for value in panel if value is not None] for panel in panels]
    holes_last = all(panel[: len(found)] == found for panel, found in zip(panels, numbers, strict=True))
    return holes_last and all(found == sorted(found, key=lambda value: sign * value) for found in numbers)


def test_a_complaint_is_noticed(chromium, tmp_path):
    chromium.complaints.clear()
    (tmp_path / "bad.html").write_text(
        '<meta charset="utf-8"><link rel="icon" href="data:,"><script>console.error("oh"); console.warn("ah"); fetch("http://127.0.0.1:9/x");'
        'setTimeout(() => { throw new Error("no"); });</script>'
    )
    chromium.open(tmp_path / "bad.html")
    chromium.run("new Promise((done) => setTimeout(done, 300))")
    found = "\n".join(chromium.complaints)
    assert all(part in found for part in ("console error: ['oh']", "console warning: ['ah']", "request: http://127.0.0.1:9/x", "Error: no"))
    chromium.complaints.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["index.html", "tiny/index.html"])
def test_pages_fit_their_window_and_follow_the_systems_theme(browser, site, name, size, theme):
    browser.set_size(*SIZES[size])
    browser.prefer(prefers_color_scheme=theme)
    browser.open(site / name)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    red, green, blue = browser.run("getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)")
    assert (red + green + blue > 600) == (theme == "light")
    assert browser.run(
        "[...document.querySelectorAll('.plate')].every((plate) => getComputedStyle(plate).backgroundColor === 'rgb(255, 255, 255)')"
    )
    assert browser.run(
        "document.querySelectorAll('[id]').length === new Set([...document.querySelectorAll('[id]')].map((item) => item.id)).size"
    )


def test_the_theme_is_chosen_by_a_button_and_remembered(page, site):
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.click("#theme")
    assert page.run("[document.documentElement.dataset.theme, document.getElementById('theme').ariaPressed]") == ["dark", "true"]
    page.open(site / "index.html")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    page.run("document.getElementById('theme').focus()")
    page.press("Enter")
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.run("localStorage.clear()")


def test_the_front_page_links_into_the_pages_of_scales(browser, site):
    browser.open(site / "index.html")
    links = browser.run("[...document.querySelectorAll('main a')].map((link) => link.getAttribute('href'))")
    claims = [claim["id"] for claim in read_sealed(site / f"tiny/{PAPER}/verdict.json")["claims"]]
    assert [f"tiny/index.html#{PAPER}-claim-{claim}" for claim in claims] == [link for link in links if f"#{PAPER}-claim" in link]
    browser.open(site / "tiny/index.html")
    anchors = json.dumps([link.partition("#")[2] for link in links if "#" in link])
    assert browser.run(f"{anchors}.every((id) => document.getElementById(id))")


def test_every_link_of_the_contents_leads_somewhere_and_the_skip_link_comes_first(page):
    assert page.run("[...document.querySelectorAll('nav a, .skip')].every((link) => document.querySelector(link.getAttribute('href')))")
    page.press("Tab")
    assert page.run("document.activeElement.className") == "skip"
    assert page.run("document.activeElement.getBoundingClientRect().left >= 0")
    page.press("Enter")
    assert page.run("document.activeElement.id") == "content"


def test_every_column_sorts_up_down_and_back(page):
    script = """[...document.querySelectorAll('table.sortable')].flatMap((table) => {
        const headings = [...table.tHead.rows[0].cells].slice(1);
        const read = (column) => [...table.tBodies].map((body) => [...body.rows].slice(1)
            .map((row) => row.cells[column + 1]?.dataset.value).map((value) => value === undefined ? null : Number(value)));
        const text = () => [...table.rows].map((row) => row.className + row.textContent).join();
        const before = text();
        return headings.map((heading, column) => {
            const steps = [0, 1, 2].map(() => { heading.querySelector('.sort').click(); return [heading.ariaSort, read(column)]; });
            return { steps, restored: text() === before };
        });
    })"""
    columns = page.run(script)
    assert len(columns) > 50
    for column in columns:
        (up, rising), (down, falling), (back, _) = column["steps"]
        assert (up, down, back, column["restored"]) == ("ascending", "descending", "none", True)
        assert is_sorted(rising, 1) and is_sorted(falling, -1)
    assert page.run("document.querySelectorAll('tr.control').length") > 20


def test_sorting_works_by_mouse_and_by_keyboard_and_another_column_takes_over(page):
    table = f"table:has(#{PAPER}-table-main)"
    page.click(f"{table} th:nth-child(2) .sort")
    assert is_sorted(list_column(page, table, 1), 1)
    page.run(f"document.querySelector('{table} th:nth-child(3) .sort').focus()")
    page.press("Enter")
    page.press(" ")
    assert is_sorted(list_column(page, table, 2), -1)
    assert page.run(f"[...document.querySelector('{table}').tHead.rows[0].cells].slice(1, 3).map((cell) => cell.ariaSort)") == [
        "none",
        "descending",
    ]
    assert page.run(f"document.querySelector('{table}').tBodies[0].rows[0].className") == "heading"


def test_a_number_opens_to_its_runs_by_mouse(page, site):
    cell = f"table:has(#{PAPER}-table-main) tr:nth-child(4) td:nth-child(2) .cell"
    page.hover(cell)
    assert page.run("!document.getElementById('tip').hidden && /^5 runs; 95 % interval [\\d.]+ to [\\d.]+$/.test(tip.textContent)")
    page.click(cell)
    assert page.run("!document.getElementById('inspector').hidden && document.getElementById('tip').hidden")
    rows = page.run("[...document.querySelectorAll('#inspector tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4"]
    records = read_records(site / f"tiny/{PAPER}/records.jsonl.gz")
    for run, _, value, seconds, origin in rows:
        record = records[run]
        assert value == f"{record['test']['test']['top1']:.2f}"
        assert seconds == f"{round(record['training']['wall_s'], 2):g} s"
        assert origin.startswith(f"{record['provenance']['device']}, {record['provenance']['commit'][:10]}")
    page.click("#close")
    assert page.run("document.getElementById('inspector').hidden && document.activeElement.classList.contains('cell')")


def test_a_number_opens_and_closes_by_keyboard_and_focus_returns(page):
    page.run("document.querySelectorAll('.cell')[7].focus()")
    page.press("Enter")
    assert page.run("document.activeElement.id") == "inspector"
    page.press("Escape")
    assert page.run("document.getElementById('inspector').hidden && document.activeElement === document.querySelectorAll('.cell')[7]")
    page.press("Tab")  # focus moves on, and announces briefly what the next number is
    assert page.run("document.activeElement === document.querySelectorAll('.cell')[8] && !document.getElementById('tip').hidden")
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden")


def test_every_number_opens(page):
    page.run("for (const cell of document.querySelectorAll('.cell')) cell.click()")
    title = page.run("[document.getElementById('inspector-title').textContent, document.querySelectorAll('#inspector tbody tr').length]")
    assert title[0] and title[1]


def test_all_comparisons_of_claims_unfold(page):
    page.run("for (const summary of document.querySelectorAll('details:not([open]) summary')) summary.click()")
    assert page.run("[...document.querySelectorAll('details')].every((item) => item.open)")
    page.set_size(*SIZES["phone"])
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def read_groups(page: Browser, paper: str) -> dict[str, int]:
    """Return the title of every group in the subset browser and the number of samples it shows."""
    return dict(
        page.run(f"""[...document.querySelectorAll('.browser[data-paper="{paper}"] .group')].map((group) =>
            [group.querySelector('[aria-label]').ariaLabel, group.querySelectorAll('.picture, .text').length])""")
    )


def test_the_subset_browser_shows_what_is_kept(page):
    form = f'.browser[data-paper="{PAPER}"] form'
    offered = page.run(f"[...document.querySelector('{form}').elements.first.options].map((option) => option.value)")
    assert {"random", "el2n", "rl_selector"} <= set(offered)
    page.choose(f"{form} [name=first]", "el2n")
    page.choose(f"{form} [name=keep]", "0.4")
    assert read_groups(page, PAPER) == {"Kept by EL2N": 48, "Dropped": 72}
    page.choose(f"{form} [name=order]", "first")
    first = page.run(f"document.querySelector('.browser[data-paper={PAPER}] .picture').ariaLabel")
    assert "EL2N ranks 1 of 120" in first
    page.choose(f"{form} [name=label]", 3)
    assert sum(read_groups(page, PAPER).values()) == 12
    assert page.run(f"document.querySelector('.browser[data-paper={PAPER}] .picture').ariaLabel").startswith("3, sample ")
    page.choose(f"{form} [name=label]", "")
    page.choose(f"{form} [name=second]", "random")
    groups = read_groups(page, PAPER)
    assert list(groups) == ["Kept by both", "Only by EL2N", "Only by Random", "Dropped by both"]
    assert sum(groups.values()) == 120 and groups["Only by EL2N"] == groups["Only by Random"] == 48 - groups["Kept by both"]
    page.choose(f"{form} [name=order]", "second")
    page.choose(f"{form} [name=seed]", 1)
    counts = page.run(f"[...document.querySelectorAll('.browser[data-paper={PAPER}] .counts td')].map((cell) => Number(cell.textContent))")
    assert sum(counts) == 120
    page.choose(f"{form} [name=first]", "rl_selector")
    assert "an agent chose the subset" in page.run(f"document.querySelector('.browser[data-paper={PAPER}] .line').textContent")


def test_pictures_tell_their_score_on_hover_and_to_the_arrow_keys(page):
    browser = f".browser[data-paper={PAPER}]"
    page.choose(f"{browser} [name=first]", "el2n")
    page.hover(f"{browser} .picture:nth-child(3)")
    line = f"document.querySelector('{browser} .line').textContent"
    assert page.run(line) == page.run(f"document.querySelector('{browser} .picture:nth-child(3)').ariaLabel")
    page.run(f"document.querySelector('{browser} .picture').focus()")
    for key, place in (("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        page.press(key)
        pictures = f"[...document.querySelector('{browser} .pictures').children]"
        assert page.run(f"document.activeElement === {pictures}.at({place})")
        assert page.run(line) == page.run("document.activeElement.ariaLabel")
    assert page.run(f"{pictures}.filter((item) => item.tabIndex === 0).length") == 1


@pytest.mark.parametrize("size", SIZES)
def test_what_is_told_moves_no_square(page, size):
    page.set_size(*SIZES[size])
    matrix = f".overlap[data-paper={PAPER}] .matrix"
    places = page.run(f"""[...document.querySelectorAll({json.dumps(matrix + " button")})].map((button) => {{
        button.dispatchEvent(new PointerEvent("pointerenter"));
        return document.querySelector({json.dumps(matrix)}).getBoundingClientRect().top + scrollY;
    }})""")
    assert len(places) > 100 and len(set(places)) == 1


def test_texts_are_browsed_alike(page):
    browser = ".browser[data-paper=cluster_mdp]"
    page.choose(f"{browser} [name=first]", "length")
    page.choose(f"{browser} [name=second]", "random")
    assert sum(read_groups(page, "cluster_mdp").values()) == 120
    assert page.run(f"document.querySelector('{browser} .text span').textContent").endswith("<b>&amp;")


def test_the_overlap_matrix_tells_values_and_opens_both_methods(page, site):
    matrix, browser = f".overlap[data-paper={PAPER}]", f".browser[data-paper={PAPER}]"
    found = {item["keep"]: item for item in read_sealed(site / f"tiny/{PAPER}/overlaps.json")["overlaps"]}
    item = found["0.4"]
    page.choose(
        f"{matrix} select", page.run(f"[...document.querySelectorAll('{matrix} option')].find((item) => item.textContent === '40 %').value")
    )
    rows = page.run(f"[...document.querySelectorAll('{matrix} tbody th')].map((cell) => cell.textContent.replace(/ +\\d+$/, ''))")
    row, column = rows.index("EL2N"), rows.index("Random")
    share = item["overlap"][item["methods"].index("el2n")][item["methods"].index("random")]
    square = f"{matrix} tbody tr:nth-child({row + 1}) td:nth-child({column + 2}) button"
    page.hover(square)
    told = page.run(f"document.querySelector('{matrix} .line').textContent")
    assert (
        told
        == f"EL2N and Random: {100 * share:.0f} % of the kept samples in common (chance 40 %), Jaccard index {share / (2 - share):.2f}."
    )
    page.run(f"document.querySelector('{matrix} tbody button').focus()")
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.run(f"document.activeElement === document.querySelector('{matrix} tbody tr:nth-child(2) td:nth-child(3) button')")
    page.click(square)
    controls = f"document.querySelector('{browser} form').elements"
    assert page.run(f"[{controls}.first.value, {controls}.second.value, {controls}.keep.value]") == ["el2n", "random", "0.4"]
    assert page.run(f"document.activeElement === {controls}.first")
    assert read_groups(page, PAPER)["Kept by both"] == pytest.approx(48 * share, abs=2)  # the matrix shows all seeds, the browser one


def test_the_cost_explorer_agrees_with_the_cost_tables_and_break_even(page, site):
    script = """((root) => {
        const controls = root.querySelector('form').elements;
        const set = (name, value) => {
            if (name === 'selection') controls[name].checked = value; else controls[name].value = value;
            controls[name].dispatchEvent(new Event('input', { bubbles: true }));
        };
        const found = [];
        for (const panel of [...controls.panel.options].map((option) => option.value)) {
            set('panel', panel);
            for (const keep of [...controls.keep.options].map((option) => option.value)) {
                set('keep', keep);
                for (const [targets, selection] of [[1, true], [7, true], [1, false]]) {
                    set('targets', targets);
                    set('selection', selection);
                    const rows = [...root.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent));
                    found.push([Number(panel), keep, targets, selection, rows]);
                }
            }
        }
        return found;
    })(document.querySelector('.costs[data-paper=PAPER]'))"""
    for paper in ("rl_selector", "data_agent", "cluster_mdp"):
        costs = read_sealed(site / f"tiny/{paper}/verdict.json")["costs"]
        found = page.run(script.replace("PAPER", paper))
        assert {(panel, keep) for panel, keep, *_ in found} == {
            (i, column["id"]) for i, cost in enumerate(costs) for column in cost["columns"]
        }
        for panel, keep, targets, with_selection, rows in found:
            expected = [(row["title"], row["cells"][keep]) for row in costs[panel]["rows"] if row["cells"].get(keep)]
            assert [row[0] for row in rows] == [title for title, _ in expected]
            for (_, _, total, even), (_, parts) in zip(rows, expected, strict=True):
                assert float(total) == pytest.approx(parts["training"] + with_selection * parts["selection"] / targets, abs=0.00501)
                if (targets, with_selection) == (1, True):
                    assert total == format_cost(parts).partition(" ")[0]
                number = find_break_even(parts["selection"], parts["training"])
                assert even == {None: "never", 1: "1 target (always)"}.get(number, f"{number or 0:,} targets")


def test_the_cost_explorer_takes_any_number_of_targets(page):
    explorer = f".costs[data-paper={PAPER}]"
    first = f"document.querySelector('{explorer} tbody tr:last-child').textContent"
    whole = page.run(first)
    for number, alike in (("", True), (0, True), (2, False)):
        page.choose(f"{explorer} [name=targets]", number)
        assert (page.run(first) == whole) == alike
    page.click(f"{explorer} [name=selection]")
    assert page.run(f"document.querySelectorAll('{explorer} .bar i').length") > 0


def test_every_control_has_a_name_and_is_reached_by_tab(page):
    unnamed = page.run("""[...document.querySelectorAll('button, select, input, summary, a')].filter((item) =>
        !(item.textContent.trim() || item.ariaLabel || item.labels?.length)).map((item) => item.outerHTML.slice(0, 80))""")
    assert unnamed == []
    unreachable = page.run("""[...document.querySelectorAll('select, input, summary, a, .sort, .cell, #theme')].filter((item) =>
        item.checkVisibility() && item.tabIndex < 0).length""")
    assert unreachable == 0


def test_motion_is_spared_for_those_who_ask(page):
    page.prefer(prefers_reduced_motion="reduce")
    assert page.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
