"""Evaluate a batch of targets trained on texts, each on the test sets that tables need."""

from dataclasses import dataclass

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._target_stages import EvaluationStage
from selectbench.stages.finetune_targets import FinetuneTargets


@dataclass(frozen=True)
class EvaluateTexts(EvaluationStage):
    """The evaluation of a batch of language models."""

    name = "evaluate_texts"
    reads = ("data", "embeddings", "trained")
    of_texts = True
    trainer = FinetuneTargets


def main() -> None:
    """Evaluate the runs of the batch that were trained successfully and are not evaluated yet."""
    from selectbench.stages._targets import evaluate_batch
    from selectbench.stages._texts import make_family

    arguments = parse_arguments(__doc__, EvaluateTexts.reads, EvaluateTexts.writes)
    evaluate_batch(arguments, make_family(arguments.spec, arguments.data[0], next(iter(arguments.embeddings), None)))


if __name__ == "__main__":
    run_stage(main)
