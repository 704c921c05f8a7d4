"""How much disk the files of jobs take: what lies there, and what the shapes of arrays and weights say of the rest."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.costs.visits import Network, count_visits, is_chosen_by, size_test_set
from selectbench.planning.jobs import Job, list_runs
from selectbench.planning.layout import Layout
from selectbench.policy import parse_keep
from selectbench.records.records import TRAIN, record_path

if TYPE_CHECKING:
    from selectbench.models.counting import ModelSize

_FLOAT, _DOUBLE = 4, 8  # bytes of a number


def measure_bytes(plan: Layout, job: Job) -> int | None:
    """Return the bytes of a job's files; None if it has not made them."""
    if not all(Path(name).exists() for name in job.outputs):
        return None
    files = [Path(name) for name in job.outputs]
    if job.rule == "prepare_data":
        files = [path for path in files[0].parent.rglob("*") if path.is_file()]
    elif job.rule in ("train_targets", "finetune_targets"):
        folders = (record_path(Path(plan.folder), run.id, TRAIN).parent for run in list_runs(plan, job))
        files += [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return sum(path.stat().st_size for path in files)


def estimate_bytes(plan: Layout, job: Job, size_network: Callable[[Network], "ModelSize"]) -> int | None:
    """Return the bytes that a job's arrays and weights will take, by their shapes; None where shapes are not known before.

    Parameters
    ----------
    plan, job : whose files
    size_network : network on images → its size
    """
    dataset_name = job.key[0].partition("/")[0] if job.key else ""
    if dataset_name not in plan.config.datasets or (plan.config.is_text(dataset_name) and job.rule not in _OF_IDS):
        return None
    dataset = plan.config.datasets[dataset_name]
    pool_size = dataset["pool_size"]
    if job.rule == "prepare_data":
        stays = any(source["layout"] == "class_folders" for source in dataset["sources"])
        samples = pool_size + sum(size_test_set(dataset, name) for name in plan.test_sets(dataset_name))
        return None if stays else samples * math.prod(dataset["input_shape"])
    if job.rule == "score_samples":
        return 3 * _DOUBLE * pool_size  # scores, ids, labels
    if job.rule in _OF_IDS:
        keeps = {run.keep for run in plan.runs.values() if is_chosen_by(run, job)}
        return _DOUBLE * sum(round(parse_keep(keep) * pool_size) for keep in keeps)
    counted = count_visits(plan, job)
    if counted is None:
        return None
    size = size_network(counted[0])
    if job.rule == "train_targets":
        return _FLOAT * size.parameters * len(list_runs(plan, job))
    if job.rule == "embed_samples":
        return _FLOAT * size.width * pool_size
    recipe = plan.config.recipes[plan.recipe_name("proxy", dataset_name, job.key[1])] if job.rule in _OF_PROXIES else {}
    if job.rule == "train_proxy":
        kept = len({*recipe["record_at"], *recipe["align_at"]})
        numbers = 2 * size.width + len(recipe["record_at"]) * dataset["classes"] + recipe["epochs"]
        return _FLOAT * (kept * size.parameters + numbers * pool_size)
    if job.rule == "measure_gradients":
        return _FLOAT * pool_size * len(recipe["record_at" if job.key[-1] == "gradient_norms" else "align_at"])
    return None


_OF_IDS = frozenset({"score_samples", "select_subsets", "train_selectors", "search_clusters"})
_OF_PROXIES = frozenset({"train_proxy", "measure_gradients"})
