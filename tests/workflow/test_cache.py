"""Outputs shared between workflows through Snakemake's cache: hits, misses, and altered entries."""

import re
import shutil

import pytest

from conftest import make_project
from selectbench.planning.plan import load_plan
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.search_clusters import SearchClusters
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_selectors import TrainSelectors

PLACE = "digits/convnet"
PROXY = [f"results/smoke/proxies/{PLACE}/seed-0.{form}" for form in ("npz", "pt", "json")]
SIGNALS = [*PROXY, *(f"results/smoke/gradients/{PLACE}/alignments/seed-0.{form}" for form in ("npz", "json"))]
SCORES = [f"results/smoke/scores/{PLACE}/moso/seed-0.{form}" for form in ("npz", "json")]
THEORY = f"results/smoke/theory/{PLACE}/seed-0.json"  # made from the proxy's signals and weights, and not cached


@pytest.fixture(scope="module")
def shared(root, tmp_path_factory):
    """A cache folder, and the project that filled it."""
    folder = tmp_path_factory.mktemp("entries")
    project = make_project(root, tmp_path_factory.mktemp("first"))
    result = make(project, folder, SCORES[0])
    assert result.returncode == 0, result.stderr
    return folder, project


def make(project, folder, target):
    """Make a file, sharing outputs through a folder."""
    command = ["snakemake", "--cores", "2", "--cache", "--", target]
    return project.run("env", f"SNAKEMAKE_OUTPUT_CACHE={folder}", *command)


def list_files(result, what: str) -> set[str]:
    """Return the outputs that Snakemake reported doing something with."""
    return set(re.findall(rf"{what} output file (\S+)", result.stderr))


def test_a_second_workflow_takes_what_a_first_has_made_and_it_is_byte_for_byte_what_it_would_have_made(shared, root, tmp_path):
    folder, first = shared
    second, alone = make_project(root, tmp_path / "second"), make_project(root, tmp_path / "alone")
    result = make(second, folder, SCORES[0])
    assert result.returncode == 0, result.stderr
    assert list_files(result, "Symlinking") == {*SIGNALS, *SCORES} and list_files(result, "Moving") == set()
    assert alone.snakemake("--", SCORES[0]).returncode == 0
    for name in (*SIGNALS, *SCORES):
        assert first.path(name).is_symlink() and second.path(name).resolve() == first.path(name).resolve()
        assert not alone.path(name).is_symlink()
    for name in (name for name in (*SIGNALS, *SCORES) if not name.endswith(".json")):
        assert second.path(name).read_bytes() == alone.path(name).read_bytes()
    assert second.snakemake("--", SCORES[0]).returncode == 0  # without the cache, outputs taken from it remain
    assert second.path(SCORES[0]).is_symlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "form"), [(truncate, ".npz"), (flip, ".npz"), (flip, ".pt")])
def test_an_altered_entry_is_told_before_anything_is_made_of_it(shared, root, tmp_path, damage, form):
    folder, first = shared
    copy = tmp_path / "entries"
    shutil.copytree(folder, copy)
    entry = copy / first.path(f"results/smoke/proxies/{PLACE}/seed-0{form}").resolve().name
    damage(entry)
    project = make_project(root, tmp_path / "project")
    result = make(project, copy, THEORY)
    assert result.returncode != 0
    assert f"seed-0{form}: does not match the SHA-256 in seed-0.json; delete" in result.stderr and str(entry) in result.stderr
    assert not project.path(THEORY).exists()


def test_seeds_keep_fractions_precisions_and_code_never_share_an_entry(root, tmp_path, monkeypatch):
    plan = load_plan(root, {"scale": "tiny"})
    proxies = [TrainProxy("digits", "convnet", seed) for seed in "01"]
    selectors = [TrainSelectors(dataset, "convnet", "rl_selector_tuned", "0") for dataset in ("digits", "digits_symmetric")]
    others = [EmbedSamples("digits", "0"), EmbedTexts("tweets"), SearchClusters("tweets", "minilm_head", "climb_disc", "0")]
    specs = [job.specify(plan) for job in (*proxies, *selectors, *others)]
    plan._keeps_of["digits", "convnet", "rl_selector_tuned", "0"].remove("0.2")
    fewer = selectors[0].specify(plan)
    assert {key for key in fewer if fewer[key] != specs[2][key]} == {"keeps"}
    recipe = plan.config.recipes["digits"]
    plan.config.recipes["digits"] = recipe | {"precision": "bf16"}
    changed = proxies[0].specify(plan)
    plan.config.recipes["digits"] = recipe
    assert {key for key in changed if changed[key] != specs[0][key]} == {"recipe"}
    monkeypatch.setattr("selectbench.planning.stage.fingerprint", lambda *modules, **files: "other")
    edited = proxies[0].specify(plan)
    assert {key for key in edited if edited[key] != specs[0][key]} == {"code"}
    spelled = [str(sorted(spec.items())) for spec in (*specs, fewer, changed, edited)]
    assert len(set(spelled)) == len(spelled)


def test_what_takes_long_and_trains_no_target_is_shared_and_its_record_describes_its_files(root):
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in (root / "workflow/rules").glob("*.smk"))
    rules = dict(re.findall(r"^rule (\w+):\n((?:^(?: .*)?\n)+)", text, flags=re.MULTILINE))
    shared = {name for name, body in rules.items() if 'cache: "omit-software"' in body}
    proxies, texts = (
        {"train_proxy", "train_replicates", "measure_gradients", "embed_samples", "score_samples"},
        {"embed_texts", "measure_texts"},
    )
    assert shared == proxies | texts | {"measure_influences", "train_selectors", "search_clusters"}
    for name in shared:
        assert "write_made(" in (root / f"src/selectbench/stages/{name}.py").read_text(encoding="utf-8")
