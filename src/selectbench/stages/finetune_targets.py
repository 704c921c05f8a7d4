"""Fine-tune a batch of targets on texts, each on its subset or beside its sampler, each with its own record and checkpoint."""

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._targets import train_batch
from selectbench.stages._texts import make_family
from selectbench.training.parallel import enter_crew


def main() -> None:
    """Train the batch's runs that are not done yet."""
    arguments = parse_arguments(__doc__, inputs=("data", "embeddings", "subsets"), outputs=("manifest",))
    enter_crew(arguments.spec["recipe"].get("processes", 1), "selectbench.stages.finetune_targets")
    train_batch(arguments, make_family(arguments.spec, arguments.data[0], next(iter(arguments.embeddings), None)))


if __name__ == "__main__":
    run_stage(main)
