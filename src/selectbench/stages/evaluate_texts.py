"""Evaluate a batch of targets trained on texts, each on the test sets that are asked of it."""

from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._targets import evaluate_batch
from selectbench.stages._texts import make_family


def main() -> None:
    """Evaluate the batch's runs whose training succeeded and that are not evaluated yet."""
    arguments = parse_arguments(__doc__, inputs=("data", "embeddings", "trained"), outputs=("manifest",))
    evaluate_batch(arguments, make_family(arguments.spec, arguments.data[0], next(iter(arguments.embeddings), None)))


if __name__ == "__main__":
    run_stage(main)
