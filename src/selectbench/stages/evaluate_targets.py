"""Evaluate a batch of trained targets, each on the test sets that are asked of it."""

import time
from pathlib import Path

import torch

from selectbench.engine import Recipe, choose_device, name_device
from selectbench.errors import RecordError
from selectbench.evaluation import measure_tests
from selectbench.files import digest_file, digest_value, read_json
from selectbench.records import EVALUATE, TRAIN, read_record, record_path
from selectbench.stages._batch import run_batch
from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._training import build_from_spec, open_prepared


def main() -> None:
    """Evaluate the batch's runs whose training succeeded and that are not evaluated yet."""
    arguments = parse_arguments(__doc__, inputs=("data", "trained"), outputs=("manifest",))
    spec, (data,) = arguments.spec, arguments.data
    torch.set_num_threads(spec["threads"])
    device, recipe, contents, folder = choose_device(), Recipe.from_config(spec["recipe"]), read_json(data)["splits"], Path(spec["folder"])
    clean = spec["id_test_set"]
    wanted = sorted({clean, *(name for run in spec["runs"] for name in run["test_sets"])})
    pools = {name: open_prepared(data, name, device) for name in wanted}
    model, _ = build_from_spec(spec, recipe.stem, (spec["role"],), device)
    shared = {name: value for name, value in spec.items() if name not in ("runs", "folder")}

    def weights(run: dict) -> Path:
        path = record_path(folder, run["id"], TRAIN).with_name("model.pt")
        if not path.exists():
            raise RecordError(f"{path}: missing; delete {path.parent} and the manifest of its batch and run again")
        return path

    def make_key(run: dict) -> str:
        tests = {name: contents[name] for name in (clean, *run["test_sets"])}
        asked = {"run": run["id"], "test_sets": run["test_sets"], "tests": tests}
        return digest_value({"spec": shared, "weights": digest_file(weights(run)), **asked})

    def work(run: dict) -> tuple[dict, str]:
        clock = time.perf_counter()
        model.load_state_dict(torch.load(weights(run), map_location=device, weights_only=True))
        test = measure_tests(model, pools, clean, run["test_sets"])
        line = ", ".join(f"{name} {result['top1']:.2f} %" for name, result in test.items())
        return {"test": test, "wall_s": time.perf_counter() - clock}, line

    trained = [run for run in spec["runs"] if read_record(record_path(folder, run["id"], TRAIN))["status"] == "ok"]
    run_batch(EVALUATE, {**spec, "runs": trained}, arguments.manifest, name_device(device), make_key, work)


if __name__ == "__main__":
    run_stage(main)
