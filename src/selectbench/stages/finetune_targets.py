"""Fine-tune a batch of targets on texts, each on its subset or with its sampler, each with its own record and checkpoint."""

from dataclasses import dataclass

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._target_stages import TrainingStage


@dataclass(frozen=True)
class FinetuneTargets(TrainingStage):
    """The fine-tuning of a batch of language models."""

    name = "finetune_targets"
    reads = ("data", "embeddings", "subsets")
    of_texts = True


def main() -> None:
    """Train the runs of the batch that are not done yet."""
    from selectbench.stages._targets import train_batch
    from selectbench.stages._texts import make_family
    from selectbench.training.parallel import enter_crew

    arguments = parse_arguments(__doc__, FinetuneTargets.reads, FinetuneTargets.writes)
    enter_crew(arguments.spec["recipe"].get("processes", 1), "selectbench.stages.finetune_targets")
    train_batch(arguments, make_family(arguments.spec, arguments.data[0], next(iter(arguments.embeddings), None)))


if __name__ == "__main__":
    run_stage(main)
