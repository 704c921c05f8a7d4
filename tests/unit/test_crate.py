"""Crates: every file described and checked, valid by the validator of the RO-Crate community, and never half written."""

import gzip
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import requests
import rocrate
import yaml
from requests_cache import CachedRequest, CachedResponse, CachedSession
from rocrate.rocrate import ROCrate
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.services import validate

from selectbench.cli import main
from selectbench.errors import RecordError, SelectbenchError
from selectbench.evidence.contents import FOLDERS, PROJECT
from selectbench.evidence.crate import write_crate
from selectbench.planning.plan import load_plan
from selectbench.records.records import read_records

METADATA = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.3/context"
UNKNOWN = ("ORCID", "ROR", "affiliation", "URL", "contactPoint")  # what CITATION.cff does not know of authors


def plan_tiny(root, results: Path, **overrides):
    """Plan scale tiny with its results below a folder."""
    return load_plan(root, {"scale": "tiny", "results": str(results), **overrides})


def read_graph(folder: Path) -> dict[str, dict]:
    """Return identifier → entity of a crate."""
    return {entity["@id"]: entity for entity in json.loads((folder / METADATA).read_text(encoding="utf-8"))["@graph"]}


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def list_references(value) -> list[str]:
    return [item["@id"] for item in as_list(value)]


@pytest.fixture(scope="module")
def plan(root, committed):
    return plan_tiny(root, committed / "results")


@pytest.fixture(scope="module")
def crate(plan, root, tmp_path_factory) -> Path:
    """The crate of all committed results of scale tiny."""
    folder = tmp_path_factory.mktemp("crates") / "tiny"
    write_crate(plan, folder, root)
    return folder


@pytest.fixture(scope="module")
def small_project(root, tmp_path_factory) -> Path:
    """The project's texts, and of its configuration and workflow one file per kind."""
    place = tmp_path_factory.mktemp("project")
    names = [*PROJECT, *(next(path.relative_to(root).as_posix() for path in sorted(root.glob(pattern))) for pattern in FOLDERS)]
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, place / name)
    return place


@pytest.fixture(scope="module")
def small_plan(root, committed):
    """A plan with one table and one figure of one paper, which a validator checks in seconds."""
    plan = plan_tiny(root, committed / "results", papers=["data_agent"])
    entry = plan.config.papers["data_agent"]
    name, figure = next(iter(entry["figures"].items()))
    entry["tables"] = {figure["table"]: entry["tables"][figure["table"]]}
    entry["figures"], entry["claims"] = {name: figure}, {}
    return plan


def test_every_file_is_described_and_every_description_has_its_file(crate):
    described = {name for name, entity in read_graph(crate).items() if "File" in as_list(entity["@type"])}
    assert described | {METADATA} == list_files(crate)
    assert set(list_references(read_graph(crate)["./"]["hasPart"])) == described


def test_sizes_checksums_and_kinds_are_those_of_the_files(crate, root, committed):
    for name, entity in read_graph(crate).items():
        if "File" in as_list(entity["@type"]):
            content = (crate / name).read_bytes()
            assert content == ((committed if name.startswith("results/") else root) / name).read_bytes()
            assert (entity["sha256"], entity["contentSize"]) == (hashlib.sha256(content).hexdigest(), str(len(content)))
            assert entity["name"] and entity["description"]
            assert entity["encodingFormat"] != "text/plain" or Path(name).suffix in ("", ".smk", ".lock")


def test_the_crate_has_all_committed_results(crate, root, committed):
    if committed == root:
        pytest.skip("without git, the working folder may hold more than what is committed")
    assert list_files(crate / "results/tiny") == list_files(committed / "results/tiny")
    assert [path.name for path in (crate / "results").iterdir()] == ["tiny"]


def test_the_crate_has_the_whole_configuration_and_workflow(crate, root):
    for folder in ("config", "workflow"):
        assert list_files(crate / folder) == list_files(root / folder)


def test_references_lead_to_entities(crate):
    graph = read_graph(crate)
    values = [item for entity in graph.values() for value in entity.values() for item in as_list(value) if isinstance(item, dict)]
    named = {item["@id"] for item in values}
    assert named <= set(graph) | {"https://w3id.org/ro/crate/1.3"}
    entities = {name for name in graph if name not in (METADATA, "./")}
    assert entities <= named, "an entity to which nothing refers"


def test_artefacts_have_titles_and_say_what_they_were_made_from(crate, plan):
    graph = read_graph(crate)
    paper = plan.config.papers["rl_selector"]
    for suffix in ("csv", "md", "tex", "cells.json"):
        table = graph[f"results/tiny/rl_selector/tables/main.{suffix}"]
        assert paper["tables"]["main"]["title"] in table["name"]
        assert paper["title"] in table["description"]
        assert list_references(table["isBasedOn"]) == ["results/tiny/rl_selector/records.jsonl.gz"]
    assert len({graph[f"results/tiny/rl_selector/tables/main.{suffix}"]["name"] for suffix in ("csv", "md", "tex")}) == 3
    overlap = graph["results/tiny/rl_selector/figures/overlap.svg"]
    assert paper["figures"]["overlap"]["title"] in overlap["name"]
    assert "results/tiny/rl_selector/overlaps.json" in list_references(overlap["isBasedOn"])
    verdict = graph["results/tiny/rl_selector/verdict.md"]
    assert "results/tiny/rl_selector/tables/main.cells.json" in list_references(verdict["isBasedOn"])
    for name, entity in graph.items():
        is_made = (
            "/tables/" in name
            or "/figures/" in name
            or "/verdict." in name
            or name in ("results/tiny/index.html", "results/tiny/index.json")
        )
        assert ("isBasedOn" in entity) == is_made


def test_the_run_leads_from_the_configuration_to_the_results(crate):
    graph = read_graph(crate)
    run, workflow = graph["#run-tiny"], graph["workflow/Snakefile"]
    rows = [row for path in (crate / "results/tiny").glob("*/records.jsonl.gz") for row in read_records(path).values()]
    provenances = [part["provenance"] for row in rows for part in (row, row["evaluation"]) if part]
    assert run["@type"] == "CreateAction"
    assert list_references(graph["./"]["mentions"]) == ["#run-tiny"]
    assert list_references(graph["./"]["mainEntity"]) == list_references(run["instrument"]) == ["workflow/Snakefile"]
    assert set(list_references(run["object"])) == {name for name in graph if name.startswith("config/")}
    assert set(list_references(run["result"])) == {name for name in graph if name.startswith("results/")}
    assert run["startTime"] == min(provenance["started"] for provenance in provenances)
    assert run["endTime"] == graph["./"]["datePublished"] == max(provenance["finished"] for provenance in provenances)
    facts = {graph[name]["name"]: as_list(graph[name]["value"]) for name in list_references(run["additionalProperty"])}
    assert {"device", "processor", "commit", "version"} <= set(facts)
    for name in ("device", "processor", "version"):
        assert facts[name] == sorted({provenance[name] for provenance in provenances if provenance.get(name)})
    required = [graph[name] for name in list_references(workflow["softwareRequirements"])]
    software = {(entity["name"], entity["version"]) for entity in required if entity["@type"] == "SoftwareApplication"}
    assert software == {library for provenance in provenances for library in provenance["versions"].items()} | {
        ("Python", provenance["python"]) for provenance in provenances
    }
    (language,) = list_references(workflow["programmingLanguage"])
    assert graph[language]["name"] == "Snakemake"
    assert f"\nsnakemake=={graph[language]['version']} " in (crate / "requirements.lock").read_text(encoding="utf-8")


def test_the_crate_is_described_as_the_citation_is(crate, root):
    graph, cited = read_graph(crate), yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    top = graph["./"]
    assert top["name"].startswith(f"{cited['title']}: ")
    assert top["description"].startswith(cited["abstract"])
    assert (top["version"], top["keywords"]) == (cited["version"], cited["keywords"])
    assert list_references(top["license"]) == [f"https://spdx.org/licenses/{cited['license']}"]
    assert [graph[name]["name"] for name in list_references(top["author"])] == [author["name"] for author in cited["authors"]]
    papers = [graph[name] for name in list_references(top["citation"])]
    assert [(paper["name"], paper["datePublished"]) for paper in papers] == [
        (paper["title"], str(paper["year"])) for paper in cited["references"]
    ]
    assert [paper["identifier"] for paper in papers] == [paper["identifiers"][0]["value"] for paper in cited["references"]]
    names = [[graph[name]["name"] for name in list_references(paper["author"])] for paper in papers]
    assert names == [[f"{author['given-names']} {author['family-names']}" for author in paper["authors"]] for paper in cited["references"]]


def keep_context(cache: Path) -> None:
    """Put the context of the specification, which the library holds, where the validator keeps what it has read from the network."""
    context = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_bytes()
    assert json.loads(context)["@id"] == CONTEXT
    request = requests.Request("GET", CONTEXT).prepare()
    with CachedSession(cache_name=str(cache), backend="sqlite") as session:
        response = CachedResponse(
            status_code=200,
            url=CONTEXT,
            headers={"Content-Type": "application/ld+json"},
            content=context,
            request=CachedRequest.from_request(request),
        )
        session.cache.save_response(response)


def find_issues(folder: Path, cache: Path) -> list:
    """Return all issues of the specification's required and recommended rules, without a network."""
    keep_context(cache)
    settings = ValidationSettings(
        rocrate_uri=folder, profile_identifier="ro-crate-1.3", requirement_severity=Severity.RECOMMENDED, offline=True, cache_path=cache
    )
    return list(validate(settings).get_issues())


def test_the_crate_is_valid(small_plan, small_project, tmp_path):
    write_crate(small_plan, tmp_path / "crate", small_project)
    issues = find_issues(tmp_path / "crate", tmp_path / "cache")
    assert [issue.message for issue in issues if issue.severity >= Severity.REQUIRED] == []
    assert [issue.message for issue in issues if not any(word in issue.message for word in UNKNOWN)] == []
    assert issues, "the validator knows recommended rules that this crate cannot meet"


def test_a_zip_holds_what_the_folder_holds_and_a_second_export_is_equal(small_plan, small_project, tmp_path):
    count = write_crate(small_plan, tmp_path / "crate", small_project)
    for name in ("first.zip", "second.zip"):
        assert write_crate(small_plan, tmp_path / name, small_project) == count
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert sorted(archive.namelist()) == sorted(list_files(tmp_path / "crate"))
        assert len(archive.namelist()) == count + 1
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "crate" / name).read_bytes()
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"crate", "first.zip", "second.zip"}


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_the_library_reads_a_crate_back(small_plan, small_project, tmp_path, name):
    count = write_crate(small_plan, tmp_path / name, small_project)
    crate = ROCrate(tmp_path / name)
    assert len(crate.get_by_type("File")) == count
    assert crate.mainEntity.lang.name == "Snakemake"
    assert crate.get("#run-tiny")["instrument"] is crate.mainEntity
    assert {rule.id for rule in as_list(crate.mainEntity["hasPart"])} == {"workflow/rules/artefacts.smk"}


def test_missing_results_are_one_line(small_project, root, committed, tmp_path):
    plan = plan_tiny(root, tmp_path / "results", papers=["cluster_mdp"])
    with pytest.raises(SelectbenchError) as some:
        write_crate(plan, tmp_path / "crate", small_project)
    first = tmp_path / "results/tiny/cluster_mdp/tables/main.csv"
    assert str(some.value).startswith(f"{first}: no such file (")
    assert int(str(some.value).partition("(")[2].split()[0]) > 40
    assert str(some.value).endswith(" files missing); run `snakemake --cores 2 --config scale=tiny` to make them")
    assert not (tmp_path / "crate").exists()
    shutil.copytree(committed / "results/tiny", tmp_path / "results/tiny")
    (tmp_path / "results/tiny/cluster_mdp/tables/main.tex").unlink()
    with pytest.raises(SelectbenchError, match=r"main\.tex: no such file \(1 file missing\); run `snakemake"):
        write_crate(plan, tmp_path / "crate", small_project)


def test_a_missing_file_of_the_project_is_one_line(small_plan, small_project, tmp_path):
    shutil.copytree(small_project, tmp_path / "project")
    (tmp_path / "project/LICENSE").unlink()
    with pytest.raises(SelectbenchError, match=r"LICENSE: no such file \(1 file missing\); export in a complete checkout"):
        write_crate(small_plan, tmp_path / "crate", tmp_path / "project")


def test_copies_of_figures_are_included_where_they_exist(small_project, root, committed, tmp_path):
    shutil.copytree(committed / "results/tiny", tmp_path / "results/tiny")
    (tmp_path / "results/tiny/cluster_mdp/figures/break_even.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "results/tiny/cluster_mdp/figures/break_even.png").unlink(missing_ok=True)
    (tmp_path / "results/tiny/cluster_mdp/figures/notes.txt").write_text("no figure\n")
    write_crate(plan_tiny(root, tmp_path / "results", papers=["cluster_mdp"]), tmp_path / "crate", small_project)
    files = list_files(tmp_path / "crate/results/tiny/cluster_mdp/figures")
    assert {"break_even.svg", "break_even.pdf"} <= files
    assert not {"break_even.png", "notes.txt"} & files
    assert read_graph(tmp_path / "crate")["results/tiny/cluster_mdp/figures/break_even.pdf"]["encodingFormat"] == "application/pdf"


def test_results_without_records_are_one_line(small_project, root, committed, tmp_path):
    shutil.copytree(committed / "results/tiny", tmp_path / "results/tiny")
    (tmp_path / "results/tiny/cluster_mdp/records.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(RecordError, match="no records of runs"):
        write_crate(plan_tiny(root, tmp_path / "results", papers=["cluster_mdp"]), tmp_path / "crate", small_project)


def test_existing_output_is_refused_and_an_empty_folder_is_used(small_plan, small_project, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine\n")
    (tmp_path / "old.zip").write_bytes(b"mine")
    (tmp_path / "folder.zip").mkdir()
    for name in ("full", "old.zip", "full/mine.txt", "folder.zip"):
        with pytest.raises(SelectbenchError, match=f"{name}: already exists"):
            write_crate(small_plan, tmp_path / name, small_project)
    assert list_files(tmp_path) == {"full/mine.txt", "old.zip"}
    (tmp_path / "empty").mkdir()
    write_crate(small_plan, tmp_path / "empty", small_project)
    assert (tmp_path / "empty" / METADATA).exists()


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_a_crate_is_complete_or_absent(small_plan, small_project, tmp_path, monkeypatch, name):
    def fill_disk(*_, **__):
        raise OSError(28, "No space left on device", "figure.svg")

    monkeypatch.setattr("rocrate.model.metadata.Metadata.write", fill_disk)
    monkeypatch.setattr("rocrate.model.metadata.Metadata.stream", fill_disk)
    with pytest.raises(SelectbenchError, match=r"the crate cannot be written \(figure\.svg: No space left on device\)"):
        write_crate(small_plan, tmp_path / "crates" / name, small_project)
    assert list((tmp_path / "crates").iterdir()) == []


def test_the_command_writes_a_crate(root, committed, tmp_path, monkeypatch, capsys):
    for name in (*PROJECT, "config", "workflow"):
        if "/" not in name:
            (tmp_path / name).symlink_to(root / name)
    (tmp_path / "results").mkdir()
    shutil.copytree(committed / "results/tiny", tmp_path / "results/tiny")
    monkeypatch.chdir(tmp_path)
    main(["export", "--crate", "made/tiny.zip", "--scale", "tiny"])
    printed = capsys.readouterr().out
    with zipfile.ZipFile("made/tiny.zip") as archive:
        assert printed == f"made/tiny.zip: {len(archive.namelist()) - 1} files of scale tiny as an RO-Crate\n"
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--crate", "made/tiny.zip"])
    assert capsys.readouterr().err == "error: made/tiny.zip: already exists; name another folder or zip file, or delete it first\n"
