"""Evaluate a batch of targets trained on images, each on the test sets that tables need."""

from dataclasses import dataclass

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._target_stages import EvaluationStage
from selectbench.stages.train_targets import TrainTargets


@dataclass(frozen=True)
class EvaluateTargets(EvaluationStage):
    """The evaluation of a batch of targets on images."""

    name = "evaluate_targets"
    reads = ("data", "trained")
    of_texts = False
    trainer = TrainTargets


def main() -> None:
    """Evaluate the runs of the batch that were trained successfully and are not evaluated yet."""
    from selectbench.stages._images import make_family
    from selectbench.stages._targets import evaluate_batch

    arguments = parse_arguments(__doc__, EvaluateTargets.reads, EvaluateTargets.writes)
    evaluate_batch(arguments, make_family(arguments.spec, arguments.data[0]))


if __name__ == "__main__":
    run_stage(main)
