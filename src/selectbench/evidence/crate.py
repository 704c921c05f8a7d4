"""A results folder as an RO-Crate: files, and JSON-LD that says what each is and what it was made from, by what, under which licence."""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocrate.model import ContextEntity, Entity
from rocrate.rocrate import ROCrate

from selectbench.errors import RecordError, SelectbenchError
from selectbench.evidence.contents import WORKFLOW, Content, list_contents
from selectbench.planning.strict_yaml import read_yaml
from selectbench.records.files import digest_file
from selectbench.records.records import COLLECTION, read_records

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.records.rows import Provenance, Row

SPECIFICATION = "1.3"  # the version whose JSON-LD context the library holds, so that crates are checked without a network
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
MEDIA_TYPES = {
    **{".csv": "text/csv", ".html": "text/html", ".md": "text/markdown", ".tex": "application/x-tex"},
    **{".json": "application/json", ".gz": "application/gzip", ".cff": "application/yaml", ".yaml": "application/yaml"},
    **{".yml": "application/yaml", ".toml": "application/toml", ".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml"},
}
FACTS = {  # property of the run → what its values are
    "device": "Devices that models were trained and evaluated on: cpu, or the name of an accelerator",
    "processor": "Processors of the machines",
    "arithmetic": "Widest instructions that libraries used on a CPU: avx2, or native for all that it has",
    "version": "Versions of selectbench that made the records",
    "commit": "Commits of the code that made the records; -dirty marks uncommitted changes",
}


def write_crate(plan: "Plan", output: Path, root: Path = Path()) -> int:
    """Write the results of a scale as an RO-Crate and return the number of its files.

    Parameters
    ----------
    plan : of the scale
    output : the folder, or the zip file if it ends in ``.zip``; a folder may exist if it is empty
    root : folder of the project, whose configuration, workflow and environment go with the results

    Raises
    ------
    SelectbenchError
        The output exists, or files are missing or cannot be read or written.
    """
    refuse_existing(output)
    contents = list_contents(plan, root)
    try:
        place_crate(describe_crate(plan, contents, read_yaml(root / "CITATION.cff", Path("CITATION.cff"))), output)
    except OSError as error:
        raise SelectbenchError(f"{output}: the crate cannot be written ({error.filename or output}: {error.strerror})") from None
    return len(contents)


def refuse_existing(output: Path) -> None:
    """Raise if something would be overwritten."""
    is_free = not any(output.iterdir()) if output.is_dir() and output.suffix != ".zip" else not os.path.lexists(output)
    if not is_free:
        raise SelectbenchError(f"{output}: already exists; name another folder or zip file, or delete it first")


def place_crate(crate: ROCrate, output: Path) -> None:
    """Write a crate beside its place and move it there once it is complete."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        complete = Path(folder) / output.name
        if output.suffix == ".zip":
            crate.write_zip(complete)
        else:
            crate.write(complete)
        os.replace(complete, output)


def describe_crate(plan: "Plan", contents: Sequence[Content], citation: Mapping[str, Any]) -> ROCrate:
    """Return the crate, not yet written; equal files give equal descriptions.

    Parameters
    ----------
    plan : of the scale
    contents : its files
    citation : ``CITATION.cff``
    """
    provenances = read_provenances(contents)
    crate = ROCrate(version=SPECIFICATION)
    describe_root(crate, plan, citation, max(provenance["finished"] for provenance in provenances))
    snakemake = find_locked(next(content.source for content in contents if content.name == "requirements.lock"), "snakemake")
    for content in contents:
        add_content(crate, content, snakemake)
    crate.get("README.md")["about"] = crate.root_dataset
    software = add_software(crate, provenances)
    describe_workflow(crate, citation, contents, software)
    crate.root_dataset["mentions"] = add_run(crate, plan, contents, provenances)
    unwrap_single_values(crate)
    return crate


def unwrap_single_values(crate: ROCrate) -> None:
    """Replace lists of one value by the value, as the specification asks."""
    for entity in crate.get_entities():
        properties = entity.properties()
        properties.update({name: value[0] for name, value in properties.items() if isinstance(value, list) and len(value) == 1})


def read_provenances(contents: Iterable[Content]) -> "list[Provenance]":
    """Return the provenance of every training and evaluation on record."""
    rows: list[Row] = [row for content in contents if content.source.name == COLLECTION for row in read_records(content.source).values()]
    if not rows:
        raise RecordError("the results have no records of runs; a crate needs at least one")
    return [part["provenance"] for row in rows for part in (row, row.get("evaluation")) if part]


def describe_root(crate: ROCrate, plan: "Plan", citation: Mapping[str, Any], date: str) -> None:
    """Describe the crate as a whole, as ``CITATION.cff`` describes the benchmark.

    Parameters
    ----------
    date : when the newest record was finished, in ISO 8601
    """
    root = crate.root_dataset
    title = plan.config.scale["title"]
    crate.name = f"{citation['title']}: results at scale {plan.scale}"
    crate.description = (
        f"{citation['abstract']} These are the results at scale {title}: records of all runs, tables, figures and verdicts, with the"
        " configuration, the workflow and the environment that made them."
    )
    crate.keywords = list(citation["keywords"])
    crate.datePublished = date
    crate.license = add_entity(
        crate,
        f"https://spdx.org/licenses/{citation['license']}",
        "CreativeWork",
        name=f"{citation['license']} License",
        description=f"SPDX identifier {citation['license']}; its text is the file LICENSE",
    )
    root["version"] = citation["version"]
    authors = [add_author(crate, author) for author in citation["authors"]]
    root["author"], root["publisher"] = authors, authors
    root["citation"] = [add_paper(crate, paper) for paper in citation["references"]]


def add_entity(crate: ROCrate, identifier: str, kind: str, /, **properties: object) -> Entity:
    """Add what is not a file: a person, a licence, a paper, a property, a run."""
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


def add_author(crate: ROCrate, author: Mapping[str, str]) -> Entity:
    """Add an author of ``CITATION.cff``: a person with given and family names, or an organisation with one name."""
    is_person = "family-names" in author
    name = f"{author['given-names']} {author['family-names']}" if is_person else author["name"]
    names = {"givenName": author["given-names"], "familyName": author["family-names"]} if is_person else {}
    return add_entity(crate, name_entity(name), "Person" if is_person else "Organization", name=name, **names)


def add_paper(crate: ROCrate, paper: Mapping[str, Any]) -> Entity:
    """Add a paper that ``CITATION.cff`` refers to by its arXiv number."""
    number = find_arxiv(paper)
    return add_entity(
        crate,
        f"https://arxiv.org/abs/{number}",
        "ScholarlyArticle",
        name=paper["title"],
        author=[add_author(crate, author) for author in paper["authors"]],
        datePublished=str(paper["year"]),
        identifier=f"arXiv:{number}",
    )


def find_arxiv(paper: Mapping[str, Any]) -> str:
    """Return the arXiv number of a reference of ``CITATION.cff``."""
    values: list[str] = [identifier["value"] for identifier in paper["identifiers"]]
    return next(value.removeprefix("arXiv:") for value in values if value.startswith("arXiv:"))


def name_entity(name: str) -> str:
    """Return the identifier within the crate of what has this name."""
    return "#" + "-".join("".join(character if character.isalnum() else " " for character in name.lower()).split())


def add_content(crate: ROCrate, content: Content, snakemake: str | None) -> None:
    """Add a file with its kind, size, checksum and sources; the workflow is added as one, for a version of Snakemake."""
    properties: dict[str, Any] = {
        "name": content.title,
        "description": content.description,
        "encodingFormat": MEDIA_TYPES.get(content.source.suffix, "text/plain"),
        "contentSize": str(content.source.stat().st_size),
        "sha256": digest_file(content.source),
    }
    if content.made_from:
        properties["isBasedOn"] = [{"@id": name} for name in content.made_from]
    if content.name == WORKFLOW:
        crate.add_workflow(content.source, content.name, properties=properties, main=True, lang="snakemake", lang_version=snakemake)
    else:
        crate.add_file(content.source, content.name, properties=properties)


def find_locked(lock: Path, package: str) -> str | None:
    """Return the version of a package in a lock file, or None if it is not pinned there."""
    pinned = re.search(rf"^{re.escape(package)}==([^\s;]+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return pinned[1] if pinned else None


def add_software(crate: ROCrate, provenances: "Iterable[Provenance]") -> list[Entity]:
    """Add the versions of Python and of the libraries that the records name."""
    versions = {("Python", provenance["python"]) for provenance in provenances}
    versions |= {library for provenance in provenances for library in provenance["versions"].items()}
    return [
        add_entity(
            crate,
            name_entity(f"{name} {version}"),
            "SoftwareApplication",
            name=name,
            version=version,
            url="https://www.python.org" if name == "Python" else f"https://pypi.org/project/{name}",
        )
        for name, version in sorted(versions)
    ]


def describe_workflow(crate: ROCrate, citation: Mapping[str, Any], contents: Iterable[Content], software: Sequence[Entity]) -> None:
    """Say of what the workflow consists, what it needs, and to which profile its description conforms."""
    workflow = crate.mainEntity
    workflow["version"] = citation["version"]
    language = workflow["programmingLanguage"]
    for name in ("identifier", "url"):  # plain addresses: as references, they would be entities that the crate does not describe
        language[name] = language.properties()[name]["@id"]
    workflow["hasPart"] = [crate.get(content.name) for content in contents if content.name.startswith("workflow/rules/")]
    workflow["softwareRequirements"] = [*software, crate.get("requirements.lock")]
    workflow["conformsTo"] = add_entity(crate, BIOSCHEMAS, "CreativeWork", name="Bioschemas ComputationalWorkflow", version="1.0")


def add_run(crate: ROCrate, plan: "Plan", contents: Sequence[Content], provenances: "Sequence[Provenance]") -> Entity:
    """Add the run of the workflow: from the configuration to records and what was made of them."""
    return add_entity(
        crate,
        f"#run-{plan.scale}",
        "CreateAction",
        name=f"Run of the workflow at scale {plan.scale}",
        description="Trainings and evaluations on record, from the first start to the last end, and the artefacts made from them",
        instrument=crate.mainEntity,
        object=[crate.get(content.name) for content in contents if content.name.startswith("config/")],
        result=[crate.get(content.name) for content in contents if content.name.startswith("results/")],
        startTime=min(provenance["started"] for provenance in provenances),
        endTime=max(provenance["finished"] for provenance in provenances),
        actionStatus="http://schema.org/CompletedActionStatus",
        additionalProperty=[
            add_entity(crate, f"#run-{name}", "PropertyValue", name=name, value=values, description=FACTS[name])
            for name, values in gather_facts(provenances).items()
        ],
    )


def gather_facts(provenances: "Iterable[Provenance]") -> dict[str, list[str]]:
    """Return property of the run → its distinct values, without those that no record knows."""
    found: dict[str, set[str]] = {name: set() for name in FACTS}
    for provenance in provenances:
        found["device"].add(provenance["device"])
        found["processor"].add(provenance.get("processor", ""))
        found["arithmetic"].add(provenance.get("arithmetic", ""))
        found["version"].add(provenance["version"])
        found["commit"].add(f"{provenance['commit'] or ''}{'-dirty' if provenance['dirty'] else ''}")
    return {name: sorted(values - {""}) for name, values in found.items() if values - {""}}
