"""Train a batch of targets on images, each on its subset or with its sampler, each with its own record and checkpoint."""

from dataclasses import dataclass

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._target_stages import TrainingStage


@dataclass(frozen=True)
class TrainTargets(TrainingStage):
    """The training of a batch of targets on images."""

    name = "train_targets"
    reads = ("data", "subsets")
    of_texts = False


def main() -> None:
    """Train the runs of the batch that are not done yet."""
    from selectbench.stages._images import make_family
    from selectbench.stages._targets import train_batch
    from selectbench.training.parallel import enter_crew

    arguments = parse_arguments(__doc__, TrainTargets.reads, TrainTargets.writes)
    enter_crew(arguments.spec["recipe"].get("processes", 1), "selectbench.stages.train_targets")
    train_batch(arguments, make_family(arguments.spec, arguments.data[0]))


if __name__ == "__main__":
    run_stage(main)
