"""Checks the workflow makes before it starts a job, so that a mistake costs seconds."""

import tempfile
from pathlib import Path

from selectbench.data.check import check_dataset
from selectbench.errors import ConfigError
from selectbench.plan import Plan
from selectbench.progress import start_progress
from selectbench.records import find_damage


def check_results_folder(plan: Plan) -> None:
    """Raise if results cannot be written where the configuration says.

    Raises
    ------
    ConfigError
        A part of the path is a file, or the folder is not writable.
    """
    for key in ("results", "resources"):
        folder = Path(plan.config.main[key])
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise ConfigError(f"config/config.yaml: {key}: {existing} is a file, not a folder")
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise ConfigError(f"config/config.yaml: {key}: {existing} is not writable ({error.strerror})") from None


def check_before_start(plan: Plan) -> None:
    """Raise if data are missing or damaged, or if a finished record cannot be read; then start counting progress.

    Raises
    ------
    DataError, RecordError
        Each in one line that names the file.
    """
    for dataset in plan.datasets():
        check_dataset(dataset, plan.config.datasets[dataset], Path(plan.resources))
    folder = Path(plan.folder)
    find_damage(folder, [*plan.manifests("train"), *plan.manifests("evaluate")])
    start_progress(folder, {stage: plan.batch_sizes(stage) for stage in plan.batches})
