"""Language models: texts per CPU second in fine-tuning against the Trainer of transformers, and in scoring options against one pass each.

All sides use one thread, the same weights and texts, batches of one size and AdamW. The Trainer pads each batch to its longest text; its
sampling strategy is uniform, or groups texts of similar length. A row is refused if the machine was not quiet while it was measured.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quiet import Timing, time_quietly
from benchmarks.tables import format_cells, format_markdown
from selectbench.data.texts import TextSplit, open_texts, prepare_texts
from selectbench.llm.models import AnswerBatch, build_language_model, pad_answers
from selectbench.llm.pools import OptionPool, open_text_pool
from selectbench.planning.config import read_yaml
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.seeds import isolated_torch_rng
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.recipes import Recipe

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results"
COLUMNS = ("what", "texts", "tokens", "ours_s", "ours_spread", "tokens_per_s", "other", "other_s", "other_spread", "ratio", "note")
ON_CPU = torch.device("cpu")
BATCH = 16
PAGE = """# Language models: CPU seconds

Written by `python -m benchmarks.language` on {processor}, one thread, Python {python}, torch {torch}, transformers {transformers}.

- Tweets of the corpus `tweets`, in batches of 16. Seconds are CPU seconds: the median of five measurements after a first call that does not
  count; `spread` is the largest minus the smallest, relative to the median. Loading and copying the weights is part of neither side.
- `tokens` are those of the texts, without padding; `ratio` is the other side's over our seconds.
- A row is refused if repeats differ by more than 20 %, if other processes used a tenth of a processor, if the load average was more than
  0.5 above the thread that is measured, or if the hypervisor took time away.

{table}
"""


def main() -> None:
    """Measure, print and write the table; ``--try`` measures few texts and writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--try", dest="only_try", action="store_true", help="few texts, nothing is written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    many, few = (32, 16) if arguments.only_try else (192, 32)
    with tempfile.TemporaryDirectory() as folder:
        split, names = read_tweets(Path(folder))
        tasks = (
            lambda: compare_training("minilm", take(split, many), names, Path(folder), "uniform"),
            lambda: compare_training("minilm", take(split, many), names, Path(folder), "group_by_length"),
            lambda: compare_training("smollm2_135m", take(split, few), names, Path(folder), "uniform"),
            lambda: compare_scoring(take(split, few), names),
        )
        lines = []
        for task in tasks:
            lines.append(task())
            print(" | ".join(format_cells(lines[-1], COLUMNS)), flush=True)
    if arguments.only_try:
        return
    with open(FOLDER / "language.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *(format_cells(line, COLUMNS) for line in lines)])
    (FOLDER / "language.md").write_text(write_page(lines), encoding="utf-8")


def read_tweets(folder: Path) -> tuple[TextSplit, list[str]]:
    """Return the pool of tweets, and the names of their classes."""
    entry: Any = read_yaml(ROOT / "config/corpora.yaml", ROOT)["tweets"]
    prepare_texts("tweets", entry, folder, [])
    return open_texts(folder / "tweets/prepared", "pool"), entry["class_names"]


def take(split: TextSplit, count: int) -> TextSplit:
    """Return the first texts of a split."""
    return TextSplit(split.labels[:count], split.texts[:count])


def compare_training(name: str, split: TextSplit, class_names: list[str], folder: Path, sampling: str) -> dict[str, object]:
    """Return the line of one epoch of fine-tuning, ours and the Trainer's.

    Parameters
    ----------
    name : of the language model
    split, class_names : what it is trained on
    folder : for checkpoints
    sampling : the Trainer's strategy
    """
    entry: Any = read_yaml(ROOT / "config/language_models.yaml", ROOT)[name]
    pool, recipe = open_text_pool(split, entry, None, class_names, ON_CPU), make_recipe()
    with isolated_torch_rng(0):
        model = build_language_model(entry, len(class_names), None)

    def train() -> None:
        train_model(
            model,
            pool,
            visit_subset(np.arange(len(pool)), len(pool), recipe, "equal_epochs"),
            recipe,
            stream=("benchmark", 0),
            batch_loss=pool.batch_loss(recipe, ()),
            on_epoch_end=lambda epoch, model, progress: None,
            checkpoint=Checkpoint(folder / "state.pt", "key"),
        )
        (folder / "state.pt").unlink(missing_ok=True)

    what = f"fine-tuning {entry['title']}, one epoch"
    tokens, other = sum(pool.count_tokens()), make_trainer(pool, name, folder, sampling)
    line = {"what": what, "texts": len(split), "tokens": tokens, "other": f"Trainer, {sampling}"}
    return line | join_timings(tokens, time_quietly(train, 1)[1], time_quietly(other, 1)[1])


def make_recipe() -> Recipe:
    """Return one epoch of AdamW."""
    return Recipe(
        epochs=1,
        batch_size=BATCH,
        optimiser="adamw",
        learning_rate=1e-4,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0,
        label_smoothing=0.0,
        precision="fp32",
        track_test=False,
    )


def make_trainer(pool: Any, name: str, folder: Path, sampling: str) -> Callable[[], None]:
    """Return a function that trains the same weights on the same tokens with the Trainer of transformers."""
    from transformers import AutoModelForSequenceClassification, DataCollatorForSeq2Seq, DataCollatorWithPadding, Trainer, TrainingArguments
    from transformers.utils import logging

    from selectbench.llm.files import load_part

    logging.set_verbosity_error()
    entry: Any = read_yaml(ROOT / "config/language_models.yaml", ROOT)[name]
    labels = pool.labels.tolist()
    if isinstance(pool, OptionPool):
        model: Any = build_language_model(entry, 3, None).model
        model.base_model.model.is_quantized = False  # its weights are float32 here, and the Trainer trains no GGUF
        questions = [pool.spell(position) for position in range(len(pool))]
        rows = [{"input_ids": [*found.prompt, *found.answer], "labels": [-100] * len(found.prompt) + found.answer} for found in questions]
        pool.tokeniser.pad_token = pool.tokeniser.eos_token
        collate: Any = DataCollatorForSeq2Seq(pool.tokeniser)
    else:
        model = load_part(AutoModelForSequenceClassification, entry, num_labels=3)
        rows = [{"input_ids": tokens, "labels": label} for tokens, label in zip(pool.tokens, labels, strict=True)]
        collate = DataCollatorWithPadding(pool.tokeniser)
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        train_sampling_strategy=sampling,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return lambda: Trainer(model=model, args=settings, train_dataset=rows, data_collator=collate).train()


def compare_scoring(split: TextSplit, class_names: list[str]) -> dict[str, object]:
    """Return the line of scoring all options of a causal model, with each prompt read once, and once per option."""
    entry: Any = read_yaml(ROOT / "config/language_models.yaml", ROOT)["smollm2_135m"]
    pool: Any = open_text_pool(split, entry, None, class_names, ON_CPU)
    with isolated_torch_rng(0):
        model: Any = build_language_model(entry, len(class_names), None).eval()
    batches = np.array_split(np.arange(len(pool)), -(-len(pool) // 8))

    @torch.no_grad()
    def score_once() -> None:
        for positions in batches:
            pool.forward(model, positions)

    @torch.no_grad()
    def score_each() -> None:
        for positions in batches:
            found = [pool.spell(position) for position in positions.tolist()]
            model(AnswerBatch(*pad_answers([(question.prompt, option) for question in found for option in question.options], ON_CPU)))

    spelled = [pool.spell(position) for position in range(len(pool))]
    tokens = sum(len(question.prompt) + sum(map(len, question.options)) for question in spelled)
    what = f"scoring {len(class_names)} options, {entry['title']}"
    line = {"what": what, "texts": len(split), "tokens": tokens, "other": "one pass per option"}
    return line | join_timings(tokens, time_quietly(score_once, 1)[1], time_quietly(score_each, 1)[1])


def join_timings(tokens: int, ours: Timing, other: Timing) -> dict[str, object]:
    """Return the cells of both timings; refused ones have a note in place of numbers."""
    refused = "; ".join(f"{side}: {timing.refused}" for side, timing in (("ours", ours), ("other", other)) if timing.refused)
    if refused:
        return {"note": f"refused ({refused})"}
    return {
        "ours_s": ours.seconds,
        "ours_spread": ours.spread,
        "tokens_per_s": tokens / ours.seconds,
        "other_s": other.seconds,
        "other_spread": other.spread,
        "ratio": other.seconds / ours.seconds,
    }


def write_page(lines: list[dict[str, object]]) -> str:
    """Return the page with the table and the machine."""
    provenance = describe_provenance("", CPU, datetime.now(UTC))
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(format_cells(line, COLUMNS) for line in lines)]
    versions = provenance["versions"]
    return PAGE.format(
        processor=provenance["processor"],
        python=provenance["python"],
        torch=versions["torch"],
        transformers=versions["transformers"],
        table=format_markdown(rows),
    )


if __name__ == "__main__":
    main()
