"""Throughput of the training engine against a plain DataLoader loop, the cost of recording signals, and the speed of decoding files.

Engine and plain loop train the same model with the same recipe on the same data, alternating in one process, and both report the
accuracy they reach. Rows that need a GPU say "not measured" on a machine without one.
"""

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, stdev
from typing import NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from benchmarks.tables import format_cells, format_markdown
from selectbench.data.splits import ArraySplit, FolderSplit
from selectbench.models.factory import build_model
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.seeds import isolated_torch_rng
from selectbench.training.devices import choose_device
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.evaluation import measure_test
from selectbench.training.pools import Pool, draw_crops, open_pool, supervised_loss
from selectbench.training.recipes import Recipe, uses_bfloat16
from selectbench.training.recorder import Recorder
from selectbench.training.recording import list_passes

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
COLUMNS = ["what", "device", "engine_per_s", "plain_per_s", "ratio", "share_of_matmul", "engine_top1", "plain_top1", "note"]
THREADS = 1  # as scale tiny has
REPEATS, PAIRS, SEEDS = 5, 30, 3
WORKERS = (0, 2)
LARGE_PICTURES, PICTURE = 96, (500, 375)
GPU_ROWS = ["digits, convnet, batch 64", "CIFAR-sized images, ResNet-9, cifar_fast", "recording signals, share of proxy training"]


class Task(NamedTuple):
    """A model, a recipe and data for both the engine and the plain loop."""

    name: str
    model: dict
    recipe: Recipe
    pool: Pool
    test: Pool


class Pictures(Dataset):
    """Images in memory as usual: decoded, and transformed one by one when they are accessed."""

    def __init__(self, pool: Pool, transform: Callable) -> None:
        self.pictures = [
            Image.fromarray(image.squeeze(0) if len(image) == 1 else image.transpose(1, 2, 0)) for image in pool.images.cpu().numpy()
        ]
        self.labels = pool.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[position]), self.labels[position]


def main() -> None:
    """Measure everything and write the table; ``--short`` only checks that everything runs and writes nothing."""
    short = "--short" in sys.argv[1:]
    torch.set_num_threads(THREADS)
    device = choose_device()
    with tempfile.TemporaryDirectory() as folder:
        lines = [measure_training(task, device, short) for task in make_tasks(Path(folder), device, short)]
        lines.append(measure_recording(make_tasks(Path(folder), device, short)[0], device, short))
        lines += measure_decoding(Path(folder), short)
    if device.type == "cpu":
        lines += [{"what": name, "device": "GPU", "note": "not measured: no GPU available"} for name in GPU_ROWS]
    for line in lines:
        print(" | ".join(format_cells(line, COLUMNS)))
    if short:
        return
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "engine.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *(format_cells(line, COLUMNS) for line in lines)])
    (FOLDER / "engine.md").write_text(write_markdown(lines), encoding="utf-8")


def make_tasks(folder: Path, device: torch.device, short: bool) -> list[Task]:
    """Return the tasks: digits, and images of 32×32 pixels.

    The 1,400 digits use the net and recipe of scale tiny, whose pool has 896; on a GPU there are as many images as in CIFAR-10. In short,
    both pools are of two batches.
    """
    recipes, models = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")) for name in ("recipes", "models"))
    digits = load_digits()
    images, labels = np.round(digits.images[:, None] * 255 / 16).astype(np.uint8), digits.target.astype(np.int64)
    first, rest = slice(128 if short else 1400), slice(1400, None)
    split = [open_arrays(folder / name, images[part], labels[part], device) for name, part in (("a", first), ("b", rest))]
    on_gpu = device.type == "cuda"
    num, epochs = (128, 1) if short else (50_000, 24) if on_gpu else (700, 6)
    blocks = np.kron(images, np.ones((1, 3, 4, 4), dtype=np.uint8))
    chosen = np.arange(num) % 1400
    large = [
        open_arrays(folder / "c", blocks[chosen], labels[chosen], device),
        open_arrays(folder / "d", blocks[1400:], labels[1400:], device),
    ]
    fast = Recipe.from_config(recipes["cifar_fast"])
    small = {} if on_gpu else {"batch_size": 32, "learning_rate": 0.1, "warmup_epochs": 1}
    tiny = Recipe.from_config(recipes["digits"])
    return [
        Task("digits, convnet, batch 64", models["convnet"], replace(tiny, epochs=2) if short else tiny, *split),
        Task(
            "CIFAR-sized images, ResNet-9, cifar_fast" if on_gpu else "CIFAR-sized images, ResNet-9 at 1/8 width, crops, flips and cutout",
            models["resnet9"] if on_gpu else {**models["resnet9"], "width": 8},
            replace(fast, epochs=epochs, **small),
            *large,
        ),
    ]


def open_arrays(folder: Path, images: np.ndarray, labels: np.ndarray, device: torch.device) -> Pool:
    """Write images and labels as a prepared split and open it with fixed normalisation constants."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    channels = images.shape[1]
    return open_pool(ArraySplit(folder), [0.305] * channels, [0.376] * channels, device)


def build(task: Task, seed: int) -> nn.Module:
    """Return the task's model, initialised identically for engine and plain loop."""
    with isolated_torch_rng(seed):
        return build_model(task.model, "small", tuple(task.pool.images.shape[1:]), 10).to(task.pool.device)


def train_by_engine(task: Task, seed: int, recorder: Recorder | None = None) -> tuple[float, float]:
    """Return (seconds, accuracy) of training with the engine; like the plain loop, it evaluates after every epoch."""
    model = build(task, seed).to(memory_format=torch.channels_last)
    stream, accuracies = ("benchmark", seed), []

    def at_end(epoch: int, model: nn.Module, progress: object) -> None:
        if recorder:
            recorder.observe(epoch, model, progress)
        accuracies.append(measure_test(model, task.test)["top1"])

    clock = time.perf_counter()
    train_model(
        model,
        task.pool,
        visit_subset(np.arange(len(task.pool)), len(task.pool), task.recipe, "equal_epochs"),
        task.recipe,
        stream=stream,
        batch_loss=supervised_loss(task.pool, task.recipe, stream, recorder and recorder.watch),
        on_epoch_end=at_end,
        checkpoint=Checkpoint(Path("never.pt"), "benchmark", every_s=float("inf")),
    )
    return time.perf_counter() - clock, accuracies[-1]


def train_plainly(task: Task, seed: int, workers: int) -> tuple[float, float]:
    """Return (seconds, accuracy) of the usual loop: DataLoader, per-image transforms, SGD, a scheduler, ``item``."""
    recipe, device = task.recipe, task.pool.device
    mean, std = (values.flatten().tolist() for values in (task.pool.mean, task.pool.std))
    clean = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    size = task.pool.images.shape[-1]
    fill = "reflect" if recipe.augment.crop_fill == "reflect" else "constant"
    drawn = [transforms.RandomCrop(size, recipe.augment.crop_padding, padding_mode=fill)] if recipe.augment.crop_padding else []
    drawn += [transforms.RandomHorizontalFlip()] if recipe.augment.flip else []
    hole = [transforms.RandomErasing(1.0, ((recipe.augment.cutout / size) ** 2,) * 2, (1.0, 1.0))] if recipe.augment.cutout else []
    pictures, tests = Pictures(task.pool, transforms.Compose([*drawn, *clean, *hole])), Pictures(task.test, transforms.Compose(clean))
    model = build(task, seed)
    with isolated_torch_rng(seed):
        clock = time.perf_counter()
        loader = DataLoader(pictures, recipe.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        tester = DataLoader(tests, 512, num_workers=workers, persistent_workers=workers > 0)
        optimiser = torch.optim.SGD(
            model.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
        )
        total, warm = recipe.epochs * len(loader), recipe.warmup_epochs * len(loader)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: (step + 1) / (warm + 1) if step < warm else max(0.0, (total - step) / max(1, total - warm))
        )
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        for _ in range(recipe.epochs):
            model.train()
            running = 0.0
            for images, labels in loader:
                images, labels = images.to(device), labels.to(device)
                optimiser.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(recipe, device)):
                    loss = criterion(model(images), labels)
                loss.backward()
                optimiser.step()
                schedule.step()
                running += loss.item()
            model.eval()
            right = 0
            with torch.no_grad():
                for images, labels in tester:
                    right += (model(images.to(device)).argmax(dim=1).cpu() == labels).sum().item()
        return time.perf_counter() - clock, 100.0 * right / len(tests)


def measure_training(task: Task, device: torch.device, short: bool) -> dict:
    """Return the row of a task: medians over repeats, the plain loop with its faster number of workers."""
    repeats, seeds = (1, 1) if short else (REPEATS, SEEDS)
    train_by_engine(task, 99), train_plainly(task, 99, 0)
    workers = min(WORKERS, key=lambda number: train_plainly(task, 99, number)[0])
    own, plain = [], []
    for repeat in range(repeats):
        own.append(train_by_engine(task, repeat % seeds))
        plain.append(train_plainly(task, repeat % seeds, workers))
    num = len(task.pool) * task.recipe.epochs
    rates = [num / median(seconds for seconds, _ in runs) for runs in (own, plain)]
    accuracies = [describe_accuracies([top1 for _, top1 in runs[:seeds]]) for runs in (own, plain)]
    return {
        "what": task.name,
        "device": device.type,
        "engine_per_s": rates[0],
        "plain_per_s": rates[1],
        "ratio": rates[0] / rates[1],
        "share_of_matmul": f"{rates[0] * count_flops(task) / measure_matmul(device, task.recipe, short):.1%}",
        "engine_top1": accuracies[0],
        "plain_top1": accuracies[1],
        "note": f"plain loop with {workers} workers; both evaluate after each epoch",
    }


def describe_accuracies(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds."""
    return f"{np.mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def count_flops(task: Task) -> float:
    """Return the operations of the forward and backward pass of one image."""
    model, images = build(task, 0), task.pool.load_clean(np.arange(8))
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / 8


def measure_matmul(device: torch.device, recipe: Recipe, short: bool) -> float:
    """Return the operations per second of a large square matrix product in the number type of the training."""
    kind = torch.bfloat16 if device.type == "cuda" and recipe.precision == "bf16" else torch.float32
    side = 256 if short else 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        clock = time.perf_counter()
        (left @ right)[0, 0].item()
        best = min(best, time.perf_counter() - clock)
    return 2 * side**3 / best


def measure_recording(task: Task, device: torch.device, short: bool) -> dict:
    """Return the row of signals: the time that recording adds to a proxy's training, with and without its clean passes."""
    none = replace(task.recipe, record_at=(), align_at=())
    full, least = [], []
    for _ in range(1 if short else PAIRS):
        bare = train_by_engine(task, 0)[0]
        full.append(train_by_engine(task, 0, Recorder(task.pool, 10, task.recipe))[0] / bare - 1)
        least.append(train_by_engine(task, 0, Recorder(task.pool, 10, none))[0] / bare - 1)
    passes = [len(list_passes(recipe.record_at, recipe.epochs)) for recipe in (task.recipe, none)]
    note = (
        f"{median(full):.1%} of the training with {passes[0]} clean passes over the pool in {task.recipe.epochs} epochs, "
        f"{median(least):.1%} with {passes[1]}; medians of {len(full)} repeats"
    )
    return {"what": "recording signals, share of proxy training", "device": device.type, "note": note}


def measure_decoding(folder: Path, short: bool) -> list[dict]:
    """Return one row per number of threads that decode images of ImageNet's usual size into random crops of 224×224."""
    num = 16 if short else LARGE_PICTURES
    (folder / "pictures").mkdir()
    noise = np.random.default_rng(0)
    for index in range(num):
        coarse = noise.integers(0, 256, (25, 32, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(PICTURE, Image.Resampling.BICUBIC).save(folder / "pictures" / f"{index}.jpg", quality=90)
    (folder / "paths.txt").write_text("\n".join(f"pictures/{index}.jpg" for index in range(num)), encoding="utf-8")
    np.save(folder / "labels.npy", np.zeros(num, dtype=np.int64))
    batches, lines = np.array_split(np.arange(num), max(1, num // 16)), []
    for threads in sorted({0, 1, 2, os.cpu_count() or 1}):
        split, rates = FolderSplit(folder, folder, threads), []
        for repeat in range(1 if short else REPEATS):
            drawn = [(positions, draw_crops(positions, ("benchmark", repeat))) for positions in batches]
            clock = time.perf_counter()
            split.expect(drawn)
            for positions, draws in drawn:
                split.load(positions, draws)
            rates.append(num / (time.perf_counter() - clock))
        per_core = (
            f"{median(rates) / min(max(1, threads), os.cpu_count() or 1):.0f} per second and core; JPEGs of 500×375 to crops of 224×224"
        )
        lines.append({"what": f"decoding ahead, threads: {threads}", "device": "cpu", "engine_per_s": median(rates), "note": per_core})
    return lines


def write_markdown(lines: list[dict]) -> str:
    """Return the Markdown page with the table and the machine it was measured on."""
    machine = describe_provenance("", CPU, datetime.now(UTC))
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("numpy", "torch"))
    rows = [COLUMNS, ["---"] * 2 + ["---:"] * 6 + ["---"], *(format_cells(line, COLUMNS) for line in lines)]
    table = format_markdown(rows)
    return f"""# The training engine

Written by `make bench` (`benchmarks/engine.py`) on {machine["processor"]}, {THREADS} thread, Python {machine["python"]}, {versions}.

- `engine_per_s` and `plain_per_s` are images per second, including an evaluation after every epoch: medians of {REPEATS} repeats.
- The plain loop keeps images in memory and transforms them one by one in a DataLoader; both train the same model with the same recipe.
- `share_of_matmul` is the rate of operations in forward and backward passes relative to a large square matrix product in the same type.
- Accuracies are means ± standard deviation over {SEEDS} seeds. The CIFAR-sized images are enlarged digits, not CIFAR-10.

{table}
"""


if __name__ == "__main__":
    main()
