"""The command line: ``selectbench`` with one command per word, such as ``selectbench plan``; ``selectbench --help`` lists them."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from selectbench import __version__
from selectbench.errors import ConfigError, SelectbenchError, describe_failure, needing_packages, spell_count, suggest
from selectbench.records.arithmetic import AVX2, pin_arithmetic
from selectbench.records.encoding import hold_utf8

if TYPE_CHECKING:
    from selectbench.artefacts.verdict import PaperVerdict
    from selectbench.planning.plan import Plan

ANYWHERE = ("select",)  # the commands that need no checkout of the project
OUTPUTS = (".npz", ".npy", ".txt", ".csv", "")  # endings of the files that `select` writes


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake is reported in one line, with exit status 2."""
    arguments = build_parser().parse_args(argv)
    try:
        if argv is None:
            hold_utf8()
        if arguments.command not in ANYWHERE:
            require_checkout(arguments.command)
            hold_arithmetic()
        with needing_packages(f"selectbench {arguments.command}", "`make setup` installs it"):
            arguments.run(arguments)
        sys.stdout.flush()
    except SelectbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        drop_output()
        sys.exit(1)
    except OSError as error:  # a full disk, a folder in the place of a file, missing rights
        drop_output()
        print(f"error: {describe_failure(error, arguments.command)}", file=sys.stderr)
        sys.exit(2)


def drop_output() -> None:
    """Drop what standard output refuses of what was printed, since Python would complain about it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def require_checkout(command: str) -> None:
    """Raise a ``ConfigError`` outside a checkout, which has the configuration and the workflow."""
    for name in ("config/config.yaml", "workflow/schemas"):
        if not Path(name).exists():
            raise ConfigError(f"{name}: no such file; run `selectbench {command}` in a checkout of selectbench")


def hold_arithmetic() -> None:
    """Compute as the stages of the workflow do, before any library is loaded that reads the settings."""
    from selectbench.planning.strict_yaml import read_yaml

    name = Path("config/config.yaml")
    pin_arithmetic(str(read_yaml(name, name).get("arithmetic", AVX2)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="selectbench", description="A reproducibility benchmark of data selection.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"selectbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")

    def add(name: str, run: Callable[[argparse.Namespace], None], help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    plan = add("plan", show_plan, "Show what a scale runs and what it costs, before anything starts.")
    plan.add_argument("--gpus", type=_parse_count, help="number of GPUs to schedule on (default: as many as its largest job requests)")
    simulate = add("simulate", show_simulation, "Schedule a scale's jobs on machines of several sizes, without running any.")
    simulate.add_argument("--gpus", type=_parse_count, nargs="+", help="numbers of GPUs, one schedule for each (default: 8 64)")
    for command, default in ((plan, "those of this machine"), (simulate, "as many as jobs request; without GPUs, those of this machine")):
        command.add_argument("--scale", help="a scale other than that of config/config.yaml")
        command.add_argument(
            "--config", nargs="+", default=[], metavar="KEY=VALUE", help="values that replace those of config/config.yaml, as for snakemake"
        )
        command.add_argument("--cores", type=_parse_count, help=f"number of cores (default: {default})")
    for name, run, help_text in (
        ("status", show_status, "Show which runs are done, missing or failed."),
        ("why", show_why, "Show what would run now, grouped by cause."),
        ("report", rebuild_report, "Redraw every table, figure, verdict and the results page from collected records, without torch."),
    ):
        add(name, run, help_text).add_argument("--scale", help="a scale other than that of config/config.yaml")

    export = add("export", export_results, "Package the results of a scale with their records, configuration and environment.")
    export.add_argument(
        "--crate", type=Path, required=True, metavar="PATH", help="the RO-Crate: a folder, or a zip file if it ends in .zip"
    )
    export.add_argument("--scale", help="a scale other than that of config/config.yaml")

    verify = add("verify", verify_results, "Check that results add up, and make a sample of runs again to compare them bit for bit.")
    verify.add_argument("--scale", help="a scale other than that of config/config.yaml")
    verify.add_argument("--minutes", type=_parse_minutes, default=5.0, help="time for making runs again; 0 makes none (default: 5)")
    verify.add_argument("--cores", type=_parse_count, help="number of cores (default: those of this machine)")
    verify.add_argument("--seed", type=int, default=0, help="seed of the sample (default: 0)")

    compare = add("compare", compare_results, "Compare a scale's results with those in another folder: runs, spread, verdicts.")
    compare.add_argument("folder", type=Path, help="the other results folder, with one subfolder per scale")
    compare.add_argument("--scale", help="a scale other than that of config/config.yaml")

    decide = add(
        "decide", decide_claims, "Give undecided claims more seeds, the cheapest first, and run them; again and again until time is up."
    )
    decide.add_argument("--scale", help="a scale other than that of config/config.yaml, whose file has the key 'decide'")
    decide.add_argument(
        "--minutes", type=_parse_minutes, default=60.0, help="time for further runs; 0 only tells what is next (default: 60)"
    )
    decide.add_argument("--cores", type=_parse_count, help="number of cores (default: those of this machine)")

    _add_records_parser(
        add("records", exchange_records, "Export, import or merge the records of runs, such as those made on other machines.")
    )

    data = add("data", manage_data, "List, fetch, check or prepare data sets, or add a file of your own texts.")
    data.add_argument("action", choices=["list", "fetch", "check", "prepare", "add"])
    data.add_argument(
        "name", nargs="?", help="a data set of config/datasets.yaml or config/corpora.yaml; for add, a .jsonl, .csv or .parquet file"
    )
    data.add_argument("--source", help="which of the data set's sources to fetch from")
    own = data.add_argument_group("add a file of your own texts")
    own.add_argument("--id", help="id of the new data set (default: the name of the file)")
    own.add_argument("--title", help="its name in tables and figures (default: the id)")
    own.add_argument("--text", nargs="+", help="the columns that make up the text")
    own.add_argument("--label", help="the column with the class, or with the correct option or its number")
    own.add_argument("--options", help="the column with the options of a question")

    select = add("select", select_own, "Select a subset of your own data from an .npz of signals.")
    select.add_argument("method", help="the id of a method")
    select.add_argument("--signals", type=Path, required=True, help=".npz with labels and what the method needs (see docs/signals.md)")
    select.add_argument("--keep", required=True, help="the keep fraction, in (0, 1]")
    select.add_argument("--seed", type=int, default=0, help="seed for ties and random draws (default: 0)")
    select.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method; may be repeated")
    select.add_argument(
        "--output", type=Path, help=".npz for ids and scores, .npy for ids, .txt or .csv for one id per line (default: print the ids)"
    )

    new_method = add("new-method", add_method, "Start a new method: write its file and its line in config/methods.yaml.")
    new_method.add_argument("name", help="the method's id, in lower case with underscores")
    return parser


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of devices; give a positive whole number")
    return int(text)


def _parse_minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes; give 0 or a positive number")
    return minutes


def _load_plan(arguments: argparse.Namespace) -> "Plan":
    from selectbench.planning.plan import load_plan

    scale = {"scale": arguments.scale} if arguments.scale else {}
    return load_plan(Path(), {**_parse_settings(getattr(arguments, "config", [])), **scale})


def _parse_settings(settings: Sequence[str]) -> dict[str, object]:
    """Return key → value, given what ``--config`` names as Snakemake's option of that name does."""
    from selectbench.planning.strict_yaml import parse_yaml

    values: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise ConfigError(f"--config {setting}: should be KEY=VALUE")
        values[key] = parse_yaml(value, f"--config {key}")
    return values


def show_plan(arguments: argparse.Namespace) -> None:
    """Print the jobs of a scale, the cost of each paper and of all, the basis of these numbers, and how accurate the last estimate was."""
    from selectbench.costs.costing import Costing
    from selectbench.costs.estimates import describe_costs, describe_last_estimate
    from selectbench.planning.plan import take_paper

    costing = Costing(_load_plan(arguments))
    plan, rows = costing.plan, costing.observed.recorded.rows
    parts = {entry["title"]: Costing(take_paper(plan, paper), costing.observed) for paper, entry in plan.config.papers.items()}
    runs, seeds = spell_count(len(plan.runs), "run"), plan.config.scale["seeds"]
    print(f"{plan.config.scale['title']}: {runs}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    for rule, count in Counter(job.rule for job in costing.jobs.values()).items():
        print(f"  {rule:<19}{count:>6} {'job' if count == 1 else 'jobs'}")
    for content in plan.config.papers.values():
        counts = {"table": len(content["tables"]), "figure": len(content["figures"]), "claim": len(content["claims"])}
        print(f"{content['title']}: {', '.join(spell_count(number, noun) for noun, number in counts.items())}")
    planned = [method["title"] for method in plan.config.methods.values() if method.get("planned")]
    if planned:
        print(f"Not built yet, shown as such in tables: {', '.join(planned)}")
    for problem in list_changed_data(plan):
        print(problem)
    done = [row for row in rows.values() if row["status"] == "ok"]
    if done:
        training = sum(row["training"]["wall_s"] for row in done)
        scoring = sum(row["selection"]["score_s"] + row["selection"]["select_s"] for row in done)
        took = f"{training / 60:.1f} min of training and {scoring / 60:.1f} min of scoring"
        print(f"Recorded at this scale: {spell_count(len(done), 'run')} took {took}")
    gpus = arguments.gpus if arguments.gpus is not None else max(job.gpus for job in costing.jobs.values())
    for line in describe_costs(costing, parts, gpus, arguments.cores or count_cores()):
        print(line)
    last = describe_last_estimate(costing)
    if last:
        print(last)


def list_changed_data(plan: "Plan") -> Iterator[str]:
    """Yield one line for each prepared data set of a plan whose files are no longer those that were prepared."""
    from selectbench.data.kinds import check_entry
    from selectbench.stages.prepare_data import PrepareData

    for name in plan.datasets():
        if Path(PrepareData(name).find_output(plan, "manifest")).exists():
            try:
                check_entry(name, plan.config.datasets[name], Path(plan.layout.resources), plan.test_sets(name))
            except SelectbenchError as error:
                yield f"Data set {name} has changed: {error}"


def show_simulation(arguments: argparse.Namespace) -> None:
    """Print makespan, utilisation and lower bounds for a scale's jobs on machines of several sizes."""
    from selectbench.costs.costing import Costing
    from selectbench.costs.estimates import describe_schedules

    costing = Costing(_load_plan(arguments))
    if costing.asks_gpu:
        machines = [(gpus, arguments.cores) for gpus in arguments.gpus or [8, 64]]
    else:
        machines = [(gpus, arguments.cores or count_cores()) for gpus in arguments.gpus or [0]]
    for line in describe_schedules(costing, machines):
        print(line)


def count_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show_status(arguments: argparse.Namespace) -> None:
    """Print how many runs of every table are done, every failed run with its reason and how to retry it, and damaged files."""
    from selectbench.errors import RecordError
    from selectbench.evidence.damage import describe_repair, find_damage, open_inventory
    from selectbench.evidence.retries import describe_retry
    from selectbench.planning.jobs import list_jobs
    from selectbench.records.records import EVALUATE, TRAIN, read_run, record_path

    plan = _load_plan(arguments)
    jobs = list_jobs(plan)
    inventory = open_inventory(plan)
    damages = find_damage(plan, jobs, inventory)
    inventory.save()
    state: dict[str, str] = {}
    failures: list[tuple[str, str, list[str]]] = []
    for stage in (TRAIN, EVALUATE):
        for manifest, job in jobs.items():
            for run in job.runs if job.stage.run_record == stage else ():
                path = record_path(Path(plan.folder), run.id, stage)
                if state.get(run.id) == "failed":  # a failed training is not evaluated
                    continue
                if not path.exists():
                    state[run.id] = "missing"
                    continue
                try:
                    record = read_run(Path(plan.folder), run.id, stage)
                except RecordError as error:
                    state[run.id] = "failed"
                    failures.append((run.id, str(error), [manifest, str(path)]))
                    continue
                state[run.id] = "done" if record["status"] == "ok" else "failed"
                if record["status"] != "ok":
                    failures.append((run.id, (record["failure"] or {}).get("reason", "no reason is given"), [manifest]))
    for paper, table in plan.tables:
        ids = plan.table_runs(paper, table)
        counts = Counter(state[name] for name in ids)
        details = ", ".join(f"{counts[name]} {name}" for name in ("missing", "failed") if counts[name])
        print(f"{paper}/{table}: {counts['done']} of {len(ids)} runs done{', ' + details if details else ''}")
    for name, reason, files in failures:
        print(f"failed: {name}: {reason}\n  {describe_retry(plan, plan.runs[name], files)}")
    for damage in damages:
        print(f"damaged: {damage.path}: {damage.problem}")
    if damages:
        print(f"  to repair: {describe_repair(plan, damages, jobs)}")


def show_why(arguments: argparse.Namespace) -> None:
    """Print what Snakemake would run and why, one line per rule and cause."""
    from selectbench.costs.reasons import find_reasons

    plan = _load_plan(arguments)
    command = [sys.executable, "-m", "snakemake", "--summary", "--config", f"scale={plan.scale}"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise ConfigError(next((line for line in lines if "Error" in line), lines[-1] if lines else "snakemake --summary failed"))
    jobs, runs = find_reasons(plan, result.stdout.splitlines())
    for reason, count in jobs.items():
        at_stake = f", {runs[reason]} {'run' if runs[reason] == 1 else 'runs'}" if runs[reason] else ""
        print(f"{reason.rule}: {reason.cause}: {count} {'job' if count == 1 else 'jobs'}{at_stake}")
    if not jobs:
        print("Nothing would run: everything is up to date.")


def verify_results(arguments: argparse.Namespace) -> None:
    """Print what of a scale's results agrees and what differs; exit with status 1 on a difference."""
    from selectbench.evidence import verify
    from selectbench.evidence.damage import open_inventory
    from selectbench.evidence.remake import check_remade
    from selectbench.planning.jobs import list_jobs

    plan = _load_plan(arguments)
    jobs = list_jobs(plan)
    rows, _ = verify.read_rows(plan)
    if not rows:
        raise ConfigError(f"{plan.folder}: no collected records to verify; run `snakemake --cores 2 --config scale={plan.scale}`")
    inventory = open_inventory(plan, contents=True)
    checks = [verify.check_files(plan, jobs, inventory), verify.check_sources(plan, jobs, inventory), verify.check_rows(plan)]
    agrees = verify.print_checks(checks)
    agrees &= verify.print_checks([verify.check_artefacts(plan)])
    if arguments.minutes:
        agrees &= verify.print_checks([check_remade(plan, rows, arguments.minutes * 60, arguments.seed, arguments.cores or count_cores())])
    if not agrees:
        sys.exit(1)


def compare_results(arguments: argparse.Namespace) -> None:
    """Print how two results of one scale differ: in bits, in accuracy beside the spread between seeds, and in verdicts."""
    from selectbench.evidence.compare import describe_comparison

    for line in describe_comparison(_load_plan(arguments), arguments.folder):
        print(line)


def decide_claims(arguments: argparse.Namespace) -> None:
    """Run what is missing, then give undecided claims more seeds, round by round, as long as the next round fits into the time."""
    from selectbench.evidence.deciding import decide_next

    end = time.monotonic() + 60 * arguments.minutes
    cores = arguments.cores or count_cores()
    while True:
        plan = _load_plan(arguments)
        if arguments.minutes:
            run_workflow(plan, cores)
        left = end - time.monotonic() if arguments.minutes else 0.0
        if not decide_next(Path(), plan, max(0.0, left) * cores):
            return


def run_workflow(plan: "Plan", cores: int) -> None:
    """Run the workflow of a scale, with its output on the terminal.

    Raises
    ------
    SelectbenchError
        It failed.
    """
    config = ["--config", f"scale={plan.scale}"]
    result = subprocess.run([sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "rules", *config], check=False)
    if result.returncode:
        raise SelectbenchError(f"the workflow failed; `snakemake --cores {cores} {' '.join(config)}` continues it")


def rebuild_report(arguments: argparse.Namespace) -> None:
    """Redraw all tables, figures, verdicts and pages from the collected records of a scale."""
    from selectbench.evidence.artefacts import is_artefact, list_artefacts, remake_artefact
    from selectbench.evidence.damage import refuse_damage
    from selectbench.planning.jobs import list_jobs

    plan = _load_plan(arguments)
    refuse_damage(plan, {name: job for name, job in list_jobs(plan).items() if not is_artefact(job.stage)})
    for artefact in list_artefacts(plan):
        remake_artefact(artefact)
    print(f"Redrew {Path(plan.folder) / 'index.html'} and the tables and figures beside it")
    refresh_readme(plan)


def refresh_readme(plan: "Plan") -> None:
    """Update the table of verdicts in README.md, if it shows this scale and no papers but those of the plan."""
    from selectbench.artefacts.readme import find_shown, refresh_verdicts
    from selectbench.records.files import read_sealed, write_text
    from selectbench.stages.judge_claims import JudgeClaims

    readme, papers = Path("README.md"), plan.config.papers
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    shown = find_shown(text)
    if shown and shown[0] == plan.scale and shown[1] <= set(papers):
        verdicts = {paper: cast("PaperVerdict", read_sealed(Path(JudgeClaims(paper).find_output(plan, "json")))) for paper in papers}
        write_text(readme, refresh_verdicts(text, verdicts, {paper: content["title"] for paper, content in papers.items()}))
        print(f"Updated the table of verdicts in {readme}, which shows scale {plan.scale}")


def export_results(arguments: argparse.Namespace) -> None:
    """Write the results of a scale as an RO-Crate."""
    from selectbench.evidence.crate import write_crate

    plan = _load_plan(arguments)
    count = write_crate(plan, arguments.crate)
    print(f"{arguments.crate}: {spell_count(count, 'file')} of scale {plan.scale} as an RO-Crate")


def _add_records_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="action", dest="action")
    export = actions.add_parser("export", help="write every finished run of a scale, with its subsets, to a zip file", allow_abbrev=False)
    take = actions.add_parser("import", help="add runs from zip files or collections of records, where they fit", allow_abbrev=False)
    merge = actions.add_parser("merge", help="write the runs of several files to one zip file", allow_abbrev=False)
    for action in (take, merge):
        action.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a zip file of `export` or `merge`, or a records.jsonl.gz")
    for action in (export, merge):
        action.add_argument("--output", type=Path, required=True, metavar="FILE.zip", help="the zip file to write; never overwritten")
    for action in (export, take):
        action.add_argument("--scale", help="a scale other than that of config/config.yaml")
    take.add_argument("--dry-run", action="store_true", help="check and tell, but write nothing")


def exchange_records(arguments: argparse.Namespace) -> None:
    """Export, import or merge the records of runs; the exit status is 1 if a run was refused or is in conflict."""
    from selectbench.evidence.exchange import export_runs, import_files
    from selectbench.evidence.merging import merge_files

    if arguments.action == "export":
        bundle = export_runs(_load_plan(arguments), arguments.output)
        print(f"{arguments.output}: {spell_count(len(bundle.rows), 'run')} of scale {bundle.scale}")
        return
    if arguments.action == "merge":
        outcome = merge_files(arguments.files, arguments.output)
        lines = outcome.describe("in one file only", "in several")
    else:
        outcome = import_files(_load_plan(arguments), arguments.files, dry_run=arguments.dry_run)
        lines = outcome.describe("to import" if arguments.dry_run else "imported", "already here")
    print("\n".join(lines))
    if not outcome.is_clean:
        sys.exit(1)


def manage_data(arguments: argparse.Namespace) -> None:
    """List, fetch, check or prepare data sets, or add a file of one's own texts."""
    from selectbench.data.fetch import fetch_dataset
    from selectbench.data.kinds import check_entry, prepare_entry
    from selectbench.data.placed import list_available
    from selectbench.planning.plan import load_plan
    from selectbench.records.files import write_sealed
    from selectbench.stages.prepare_data import PrepareData

    plan = load_plan(Path())
    datasets, resources = plan.config.datasets, Path(plan.layout.resources)
    if arguments.action == "add":
        add_own_texts(arguments, list(datasets), resources)
        return
    if arguments.action == "list":
        for name, entry in datasets.items():
            available = list_available(name, entry, resources)
            absent = [test_set for test_set in entry["test_sets"] if test_set not in available]
            try:
                check_entry(name, entry, resources, available)
                state = f"present, without {', '.join(absent)}" if absent else "present"
            except SelectbenchError as error:
                state = str(error)
            print(f"{name}: {entry['title']}, {entry['pool_size']:,} samples, {entry['classes']} classes: {state}")
        return
    if arguments.name not in datasets:
        raise ConfigError(f"config/datasets.yaml: unknown data set {arguments.name!r}{suggest(arguments.name, datasets)}")
    name, entry = arguments.name, datasets[arguments.name]
    available = list_available(name, entry, resources)
    if arguments.action == "fetch":
        print(f"{name}: {fetch_dataset(plan.config.base_of(name), entry, resources, arguments.source)}")
    elif arguments.action == "check":
        check_entry(name, entry, resources, available, full=True)
        print(f"{name}: present and intact")
    else:
        manifest = Path(PrepareData(name).find_output(plan, "manifest"))
        write_sealed(manifest, prepare_entry(name, entry, resources, available))
        print(f"{name}: {manifest.parent}")


def add_own_texts(arguments: argparse.Namespace, taken: Sequence[str], resources: Path) -> None:
    """Add a file of one's own texts to ``config/corpora.yaml``."""
    from selectbench.data.own_texts import OwnTexts, add_texts

    if not (arguments.name and arguments.text and arguments.label):
        raise ConfigError("data add: expected a file, --text with its columns of text, and --label with its column of labels")
    path = Path(arguments.name)
    name = arguments.id or path.stem
    own = OwnTexts(path, name, arguments.title or name, arguments.text, arguments.label, arguments.options)
    entry = add_texts(own, Path(), resources, taken)
    parts = {
        "to select from": entry["pool_size"],
        "for validation": entry["validation_size"],
        "for testing": entry["test_sets"]["test"]["size"],
    }
    sizes = ", ".join(f"{size:,} {use}" for use, size in parts.items())
    print(f"{name}: added to config/corpora.yaml: {sizes}; {entry['classes']} {'options' if own.options else 'classes'}")


def select_own(arguments: argparse.Namespace) -> None:
    """Select from the user's own signals, without any workflow."""
    from selectbench.records.files import is_same_file, write_array, write_arrays, write_text
    from selectbench.selection import select
    from selectbench.signals import Signals

    kind = "" if arguments.output is None else arguments.output.suffix.lower()
    if kind not in OUTPUTS:
        valid = f"valid endings: {', '.join(filter(None, OUTPUTS))}"
        raise SelectbenchError(f"--output {arguments.output}: ids are not written as {kind}; {valid}")
    parameters = {}
    for setting in arguments.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise SelectbenchError(f"--set {setting}: should be NAME=VALUE")
        parameters[name] = _parse_value(value)
    if "keep" in parameters or "seed" in parameters:
        raise SelectbenchError("--set: give keep and seed as --keep and --seed")
    if arguments.output is not None and is_same_file(arguments.output, arguments.signals):
        other = arguments.signals.with_name(f"{arguments.signals.stem}-kept{arguments.output.suffix}")
        raise SelectbenchError(f"--output: {arguments.output} is the file of --signals, and would replace it; name another, e.g. {other}")
    signals = Signals.load(arguments.signals)
    subset = select(arguments.method, signals, arguments.keep, seed=arguments.seed, **parameters)
    lines = "".join(f"{sample}\n" for sample in subset.ids)
    if arguments.output is None:
        sys.stdout.write(lines)
        return
    try:
        if kind == ".npz":
            scores = {} if subset.scores is None else {"scores": subset.scores}
            write_arrays(arguments.output, {"ids": subset.ids, **scores})
        elif kind == ".npy":
            write_array(arguments.output, subset.ids)
        else:
            write_text(arguments.output, lines)
    except OSError as error:
        raise SelectbenchError(f"{arguments.output}: cannot be written ({error.strerror})") from None
    print(f"{arguments.output}: {len(subset)} of {len(signals)} ids")


def _parse_value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


METHOD_TEMPLATE = '''"""{title}: what it keeps, in one line."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class {class_name}(Method):
    """The rule, exactly.

    Parameters
    ----------
    power : float
        What the parameter does.
    """

    power: float = 1.0

    citation = "Authors, Title, Venue Year, equation."
    needs = ("errors",)  # names of Signals fields; leave empty if no proxy is needed

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores; higher = keep first."""
        return signals.prediction_errors[-1] ** self.power
'''


def add_method(arguments: argparse.Namespace) -> None:
    """Write a new method's file, from the template, and its line in ``config/methods.yaml``."""
    from selectbench.planning.strict_yaml import read_yaml
    from selectbench.records.files import write_text

    name, config = arguments.name, Path("config/methods.yaml")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SelectbenchError(f"{name!r} is not a method id: use lower-case letters, digits and underscores, beginning with a letter")
    entries = read_yaml(config, config)
    path = Path("src/selectbench/methods") / f"{name}.py"
    if path.exists():
        raise SelectbenchError(f"{path} already exists")
    if name in entries and not entries[name].get("planned"):
        raise SelectbenchError(f"{config}: {name} already exists")
    title = entries.get(name, {}).get("title", name.replace("_", " ").capitalize())
    class_name = "".join(part.capitalize() for part in name.split("_"))
    lines = [line for line in config.read_text(encoding="utf-8").splitlines() if not line.startswith(f"{name}:")]
    write_text(path, METHOD_TEMPLATE.format(title=title, class_name=class_name))
    write_text(config, "\n".join([*lines, f"{name}: {{title: {title}}}"]) + "\n")
    print(f"wrote {path} and its line in {config}; `make test` runs the contract suite on it, `make reproduce` adds its rows to the tables")


if __name__ == "__main__":
    main()
