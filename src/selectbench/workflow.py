"""The Snakefile's door: the plan, the directives of its rules, and checks before the first job, so that a mistake costs seconds."""

import atexit
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from selectbench.costs.estimates import write_estimate
from selectbench.data.kinds import check_entry
from selectbench.data.sources import locate_package_file
from selectbench.errors import ConfigError, SelectbenchError, first_line, spell, spell_count
from selectbench.evidence.damage import refuse_damage
from selectbench.evidence.marks import drop_outdated
from selectbench.evidence.times import settle_times
from selectbench.planning.entries import NGRAM, EncoderEntry, LanguageModelEntry
from selectbench.planning.jobs import list_jobs, list_wanted_files, load_stages
from selectbench.planning.plan import Plan, load_plan
from selectbench.planning.rules import make_rules, to_json
from selectbench.planning.runs import NO_PROXY
from selectbench.planning.scheduling import mend_log, mend_scheduler
from selectbench.records.encoding import UTF8_MODE, hold_utf8
from selectbench.records.leases import ALLOWED, list_devices, may_use_cpu, try_lock
from selectbench.records.progress import start_progress
from selectbench.records.records import EVALUATE, TRAIN
from selectbench.stages._warm_start import FOLDER

Training = tuple[str, str, tuple[int, int, int], int]  # model, stem, (channels, height, width), number of classes

WARM = {  # libraries of a warm process → whether it serves the stages that compute, or all others; number of jobs from which it pays off
    "torch": (True, 3),
    "numpy": (False, 12),
}
WARM_MODULE = "selectbench.stages._warm_process"
SINGLE = (  # what Snakemake sets to the number of a job's processors; only jobs of one are started warm
    *("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")  # what it sets to the folder for temporary files

__all__ = [
    "check_before_start",
    "check_results",
    "check_results_folder",
    "hold_utf8",
    "list_wanted_files",
    "load_plan",
    "make_prefix",
    "make_rules",
    "mend_log",
    "mend_scheduler",
    "offer_warm_start",
    "quote_braces",
]


def make_prefix(python: Path) -> str:
    """Return what the shell does before a job's command: jobs find this Python, and read and write UTF-8 in any locale.

    Parameters
    ----------
    python : path of the interpreter

    Raises
    ------
    ConfigError
        The path of its folder has a colon, which ``PATH`` cannot hold.
    """
    folder = str(python.parent)
    if ":" in folder:
        raise ConfigError(f"{spell(folder)}: a folder of programs cannot have a colon in its path, since PATH separates folders by colons")
    return f'set -euo pipefail; export {UTF8_MODE}=1 PATH={shlex.quote(folder)}:"$PATH"; '


def quote_braces(text: str) -> str:
    """Return a text that Snakemake, which fills in what stands in braces, leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def check_results_folder(plan: Plan) -> None:
    """Raise if results cannot be written to the configured folders.

    Raises
    ------
    ConfigError
        A part of the path is a file or a link to nowhere, or the folder is not writable.
    """
    for key, folder in (("results", Path(plan.layout.root)), ("resources", Path(plan.layout.resources))):
        existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not existing.exists():
            problem = f"{existing} is a link to {spell(os.readlink(existing))}, which is not there; create or mount it, or remove the link"
            raise ConfigError(f"config/config.yaml: {key}: {problem}")
        if not existing.is_dir():
            raise ConfigError(f"config/config.yaml: {key}: {existing} is a file, not a folder")
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise ConfigError(f"config/config.yaml: {key}: {existing} is not writable ({error.strerror})") from None


def check_results(plan: Plan) -> None:
    """Raise if a file of the results is not what the record beside it says, in one line with the command that repairs it.

    Imported files of jobs of which something else is asked since their import are deleted first, so that Snakemake makes them. Files
    that only their times make look outdated, as after copying, have these times corrected.
    """
    jobs = list_jobs(plan)
    if outdated := drop_outdated(plan, jobs):
        print(f"{spell_count(len(outdated), 'imported file')} outdated, first {outdated[0]}: made again here", file=sys.stderr)
    refuse_damage(plan, jobs)
    settle_times(plan, jobs)


def list_trainings(plan: Plan) -> set[Training]:
    """Return every network that the plan's runs on images train: targets, proxies and encoders."""
    config = plan.config
    wanted: set[Training] = set()
    for run in plan.runs.values():
        if config.is_text(run.dataset):
            continue
        trained = [(run.target, plan.run_recipe(run))]
        if run.proxy != NO_PROXY:
            role = "selector" if config.find_method(run.method).learned else "proxy"
            trained.append((run.proxy, plan.recipe_name(role, run.dataset, run.proxy)))
        stems = {(model, config.recipes[recipe]["stem"]) for model, recipe in trained}
        encoder = config.encoders[config.scale["encoders"][config.base_of(run.dataset)]]
        if encoder["kind"] == "simclr" and "encoder" in plan.run_sources(run):
            stems.add((encoder["model"], encoder["stem"]))
        dataset = config.find_images(run.dataset)
        channels, height, width = dataset["input_shape"]
        wanted |= {(model, stem, (channels, height, width), dataset["classes"]) for model, stem in stems}
    return wanted


def check_timm_models(plan: Plan) -> None:
    """Raise if a timm model of the plan cannot process its images; timm is imported only if the plan has one.

    Raises
    ------
    ConfigError
        In one line that names the model and the shape.
    """
    models = {name: entry for name, entry in plan.config.models.items() if entry["library"] != "transformers"}
    wanted = sorted(training for training in list_trainings(plan) if models[training[0]]["library"] == "timm")
    if wanted:
        from selectbench.models.factory import check_models

        check_models(models, wanted)


def check_language_models(plan: Plan) -> None:
    """Raise if the package of an encoder or language model of the plan is not installed; nothing is loaded.

    Raises
    ------
    DataError
        In one line that names the package.
    """
    config = plan.config
    texts = {run.dataset for run in plan.runs.values() if config.is_text(run.dataset)}
    names = {name for run in plan.runs.values() if run.dataset in texts for name in (run.proxy, run.target) if name != NO_PROXY}
    references = {config.scale["reference_models"][dataset] for dataset in texts} - {NGRAM}
    models = [config.models[name] for name in sorted(names | references)]
    entries: list[LanguageModelEntry | EncoderEntry] = [model for model in models if model["library"] == "transformers"]
    entries += [config.encoders[config.scale["encoders"][dataset]] for dataset in sorted(texts)]
    for entry in entries:
        if "distribution" in entry:
            locate_package_file(entry["distribution"], entry["path"])


def claim_results(folder: Path) -> None:
    """Hold a results folder until this process ends; a killed workflow releases it.

    Raises
    ------
    SelectbenchError
        Another workflow is running in it.
    """
    lock = folder / "state" / "workflow.lock"
    if not try_lock(lock):
        raise SelectbenchError(
            f"{folder}: another workflow is running here; wait until it ends, or stop it (`fuser {lock}` names its process)"
        )


def check_devices(plan: Plan, environment: Mapping[str, str] = os.environ) -> None:
    """Raise if jobs ask for GPUs and this machine has none, so that not each of them fails for itself.

    Raises
    ------
    ConfigError
        In one line that names the scale's file.
    """
    asked = plan.config.scale["resources"]["gpu"]
    if asked and not list_devices(environment) and not may_use_cpu(environment):
        where = f"config/scale/{plan.scale}.yaml: resources.gpu"
        raise ConfigError(f"{where}: jobs ask for {asked}, but this machine has none; write 0, or set {ALLOWED}=1, to compute on the CPU")


def check_before_start(plan: Plan, local: bool) -> None:
    """Raise if another workflow is running here, devices or data are missing, or a model cannot process its images.

    Then write down the number of runs, for progress, and the estimated cost of every job, which ``selectbench plan`` later compares with
    its actual cost.

    Parameters
    ----------
    local : whether jobs run on this machine

    Raises
    ------
    SelectbenchError
        In one line that names the file.
    """
    claim_results(Path(plan.folder))
    if local:
        check_devices(plan)
    for dataset in plan.datasets():
        check_entry(dataset, plan.config.datasets[dataset], Path(plan.layout.resources), plan.test_sets(dataset))
    check_timm_models(plan)
    check_language_models(plan)
    write_estimate(plan)
    start_progress(Path(plan.folder), list_batches(plan))


def list_batches(plan: Plan) -> dict[str, dict[str, int]]:
    """Return stage (train or evaluate) → manifest of a batch → number of its runs."""
    batches: dict[str, dict[str, int]] = {TRAIN: {}, EVALUATE: {}}
    for name, job in list_jobs(plan).items():
        if job.stage.run_record:
            batches[job.stage.run_record][name] = len(job.runs)
    return batches


def offer_warm_start(plan: Plan, prefix: str, rules: Iterable[str], local: bool) -> None:
    """Start the warm processes that this workflow's jobs are forked from, and name them to the jobs; they end with this process.

    Parameters
    ----------
    prefix : of every job's command
    rules : of the jobs that will run, one entry per job
    local : whether jobs run on this machine; others start as usual
    """
    os.environ.pop(FOLDER, None)
    if not local or not plan.config.main.get("warm_start", True) or not hasattr(os, "pidfd_open"):
        return
    counts = Counter(rules)
    by_kind = [(libraries, least, list_stages(computes)) for libraries, (computes, least) in WARM.items()]
    served = {libraries: names for libraries, least, names in by_kind if sum(counts[name] for name in names) >= least}
    if not served:
        return
    folder = ""
    try:
        os.environ[FOLDER] = folder = tempfile.mkdtemp(prefix="selectbench-")
        processes = [start_warm_process(Path(folder), libraries, names, plan.arithmetic, prefix) for libraries, names in served.items()]
    except OSError as error:  # a path too long for a socket, a file system without sockets, or a full one
        os.environ.pop(FOLDER, None)
        shutil.rmtree(folder, ignore_errors=True)
        place = spell(folder or tempfile.tempdir or "TMPDIR")
        print(f"{place}: jobs start cold, since it takes no sockets ({first_line(error)}); set TMPDIR to another", file=sys.stderr)
        return
    atexit.register(end_warm_processes, processes, folder)


def list_stages(computes: bool) -> list[str]:
    """List the stages that compute, or all others."""
    return [stage.name for stage in load_stages().values() if stage.computes == computes]


def start_warm_process(folder: Path, libraries: str, stages: Iterable[str], arithmetic: str, prefix: str) -> "subprocess.Popen[bytes]":
    """Start a warm process as a job is started; it ends when its standard input is closed.

    Parameters
    ----------
    folder : of the sockets: one of the process, and a link to it for every stage that it serves
    libraries : name of the libraries that it imports
    stages : that it serves
    arithmetic : that it holds libraries to
    prefix : of every job's command
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / f"{libraries}.socket"))
        listener.listen(128)
        for stage in stages:
            (folder / stage).symlink_to(f"{libraries}.socket")
        command = ["python", "-m", WARM_MODULE, to_json({"arithmetic": arithmetic}), libraries, str(listener.fileno())]
        return subprocess.Popen(
            ["bash", "-c", f"{prefix}exec {shlex.join(command)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            env=os.environ | dict.fromkeys(SINGLE, "1") | dict.fromkeys(TEMPORARY, tempfile.gettempdir()),
        )


def end_warm_processes(processes: "Iterable[subprocess.Popen[bytes]]", folder: str) -> None:
    """End the warm processes and delete the folder of their sockets; running jobs are not affected."""
    for process in processes:
        process.communicate()
    shutil.rmtree(folder, ignore_errors=True)
