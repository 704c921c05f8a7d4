"""Whatever a file under config/ contains, either the plan is made or a one-line error names the file. No other errors occur."""

import copy
import json
import shutil
import warnings
from functools import cache, reduce
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selectbench.errors import SelectbenchError
from selectbench.planning import config as config_module
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import to_json
from selectbench.stages._subsets import find_subset
from selectbench.stages.draw_figure import DrawFigure
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.evaluate_texts import EvaluateTexts
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.judge_claims import JudgeClaims
from selectbench.stages.train_targets import TrainTargets

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "config").rglob("*") if path.is_file())
SCALES = {f"config/scale/{scale}.yaml": scale for scale in ("fast", "full", "small", "smoke", "tiny")}
NUMBERS = [0, -1, 1, 2, 3.0, 0.5, 10**30, -(10**30), 1e300, float("nan"), float("inf"), -float("inf")]
WORDS = [
    "",
    "x",
    "el2n",
    "random",
    "digits",
    "convnet",
    "resnet18",
    "test",
    "none",
    "full",
    "a\nb",
    "../x",
    "é",
    "1/0",
    "nan",
    "1e9999999",
    "0.5",
    "x" * 5000,
]
ODD = st.one_of(
    st.sampled_from([*NUMBERS, *WORDS, True, False, None, [], {}, [[]], [None], {"x": {"y": 1}}, [[[[[["deep"]]]]]], [1, 1], ["x", "x"]]),
    st.text(max_size=8),
)
LINES = [
    *(b"\xff\xfe\x00", b"\x00", b"\t- x", b"? [a]\n: b\n", b"a: &a [*a]\n", b"x: !!python/object/apply:os.system [true]\n"),
    *(b"x: !!map [y, z]\n", b"x: !!int many\n", b"x: !!timestamp never\n", b"x: 2001-99-99\n", b"x: !!set {y}\n", b"x: !!binary '*'\n"),
    *(b"1: one\n", b"null: none\n", b"2001-01-01: day\n", b"x: " + b"9" * 5000 + b"\n", b"x: " + b"[" * 3000 + b"\n", b"- list\n"),
    *(b"%YAML 9.9\n", b"<<: 5\n", b"<<: [*nobody]\n", b"x: *nobody\n", b"--- 1\n--- 2\n", b"'open", b"x: {y: \n", b"x: 1:99:99\n"),
    *(b"x: 0o9\n", b"x: .nan\n"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copytree(ROOT / "workflow/schemas", folder / "workflow/schemas")
    return folder


@pytest.fixture(scope="module", autouse=True)
def memory():
    """Unchanged files are checked only once; each test changes a single file."""
    checked, read = {}, config_module._read_checked

    def read_once(root, name, schema, overrides=None):
        path = root / name
        key = (name, str(overrides), path.read_bytes() if path.is_file() else None)
        if key not in checked:
            checked[key] = read(root, name, schema, overrides)
        return checked[key]

    patch = pytest.MonkeyPatch()
    patch.setattr(config_module, "_read_checked", read_once)
    yield
    patch.undo()


@cache
def read_original(name):
    """Return a file's content and the places of all values in it."""
    content = yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content, list_places(content)


def list_places(value, place=()):
    """Return the places of all values in a document, as keys and positions from the top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, child in inner for found in list_places(child, (*place, key)))]


def look_up(content, place):
    """Return the value at a place."""
    return reduce(lambda holder, key: holder[key], place, content)


def mutate(content, place, kind, odd):
    """Return the document with one change."""
    content = copy.deepcopy(content)
    if not place:
        return odd
    *way, last = place
    holder = look_up(content, way)
    if kind == "drop":
        del holder[last]
    elif kind == "put":
        holder[last] = odd
    elif kind == "nest":
        holder[last] = [holder[last], [holder[last]]]
    elif isinstance(holder, list):
        holder.append(holder[last])
    else:
        holder[str(odd) if kind == "rename" else "twin"] = holder.pop(last) if kind == "rename" else holder[last]
    return content


def pick_scale(name):
    """Return the smallest scale that reads a file; None for a file that names a scale itself."""
    return None if name == "config/config.yaml" else SCALES.get(name, "smoke")


def spell(content):
    return yaml.dump(content, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True, sort_keys=False).encode()


def is_json(text):
    """Tell whether a text is standard JSON, without NaN."""
    return bool(json.loads(text, parse_constant=lambda _: 1 / 0))


def plan(project, scale):
    """Plan a scale and specify some of its jobs, or return the one-line reason why this is impossible."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = load_plan(project, scale and {"scale": scale})
        for stages in ((TrainTargets, FinetuneTargets), (EvaluateTargets, EvaluateTexts)):
            for batch in [job for stage in stages for job in stage.list_wanted(made)][:2]:
                assert is_json(to_json(batch.specify(made)))
        for paper, entry in made.config.papers.items():
            assert is_json(to_json(JudgeClaims(paper).specify(made)))
            assert all(is_json(to_json(DrawFigure(paper, figure).specify(made))) for figure in list(entry["figures"])[:3])
        for run in filter(made.has_subset, list(made.runs.values())[::40]):
            assert is_json(to_json(find_subset(made, run).job.specify(made)))
    except SelectbenchError as error:
        return str(error)
    return None


def check(project, name, content, scale):
    path = project / name
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        problem = plan(project, scale)
    finally:
        path.write_bytes(before)
    if problem is not None:
        assert "\n" not in problem and len(problem) < 2000, problem[:2000]
        assert "config/" in problem, problem
    return problem


@settings(max_examples=450, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_value_plans_or_is_explained(project, data):
    name = data.draw(st.sampled_from([file for file in FILES if file.endswith(".yaml")]))
    content, places = read_original(name)
    numbers = [place for place in places if type(look_up(content, place)) in (int, float)]
    if numbers and data.draw(st.integers(0, 2)) == 0:
        changed = mutate(content, data.draw(st.sampled_from(numbers)), "put", data.draw(st.sampled_from(NUMBERS)))
        check(project, name, spell(changed), pick_scale(name))
        return
    place = data.draw(st.sampled_from(places))
    changed = mutate(content, place, data.draw(st.sampled_from(["drop", "put", "put", "put", "nest", "double", "rename"])), data.draw(ODD))
    check(project, name, spell(changed), pick_scale(name))


@settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_bytes_plan_or_are_explained(project, data):
    name = data.draw(st.sampled_from(FILES))
    content = (ROOT / name).read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    inserted = data.draw(st.one_of(st.sampled_from(LINES), st.binary(max_size=4), st.sampled_from([b"", b"\n"])))
    check(project, name, content[:start] + inserted + content[end:], pick_scale(name))


@pytest.mark.parametrize("name", FILES)
def test_files_of_nothing_and_of_noise_are_explained(project, name):
    for content in (b"", b"\xff\xff", b"[]", b"a: &a {b: *a}\n", json.dumps({"x": 1}).encode()):
        problem = check(project, name, content, pick_scale(name))
        if not (content == b"" and name.endswith(".csv")):
            assert problem is None or name in problem
    if name.endswith(".yaml") and name != "config/scale/full.yaml":
        assert problem is not None or name.startswith(("config/scale/", "config/seeds/"))
