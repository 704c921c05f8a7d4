"""How long planning takes: dry runs at scales tiny and full, and the full plan with every planned method in place."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
KEEPS = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def main() -> None:
    """Print the median of three dry runs of each plan, with the number of jobs."""
    print(f"{'plan':<40}{'jobs':>8}{'seconds':>10}")
    with tempfile.TemporaryDirectory() as folder:
        copy_project(Path(folder))
        for scale in ("tiny", "full"):
            print_timing(scale, Path(folder), scale)
        add_everything(Path(folder))
        print_timing("full, all methods, 8 keep fractions", Path(folder), "full")


def print_timing(name: str, folder: Path, scale: str) -> None:
    """Time ``snakemake -n`` in a folder."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "host", "reason", "rules", "--config", f"scale={scale}"]
    seconds, jobs = [], ""
    for _ in range(3):
        clock = time.perf_counter()
        result = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder / "src")}, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - clock)
        jobs = next(line.split()[1] for line in (result.stdout + result.stderr).splitlines() if line.startswith("total"))
    print(f"{name:<40}{jobs:>8}{sorted(seconds)[1]:>10.2f}")


def copy_project(folder: Path) -> None:
    """Copy what planning reads, without any results."""
    for part in ("Snakefile", "config", "profiles", "src", "workflow"):
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)


def add_everything(folder: Path) -> None:
    """Put a method in place of every planned one and widen the main table's grid."""
    path = folder / "config/methods.yaml"
    methods = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in [name for name, entry in methods.items() if entry.pop("planned", False)]:
        shutil.copy(folder / "src/selectbench/methods/grand.py", folder / f"src/selectbench/methods/{name}.py")
    path.write_text(yaml.safe_dump(methods, sort_keys=False), encoding="utf-8")
    path = folder / "config/papers/rl_selector.yaml"
    paper = yaml.safe_load(path.read_text(encoding="utf-8"))
    for table in ("main", "shift"):
        paper["tables"][table]["where"]["keep"] = KEEPS
    path.write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
