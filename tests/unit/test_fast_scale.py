import shutil
from pathlib import Path

import pytest

from selectbench.planning.plan import load_plan

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("regime", ["equal_epochs", "equal_steps"])
def test_a_table_of_the_fast_scale_can_be_planned_in_either_regime(tmp_path, regime):
    for name in ("config", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name)
    paper = tmp_path / "config/papers/rl_selector.yaml"
    paper.write_text(paper.read_text(encoding="utf-8").replace("regime: equal_epochs", f"regime: {regime}"), encoding="utf-8")
    plan = load_plan(tmp_path, {"scale": "fast", "papers": ["rl_selector"]})
    runs = [run for run in plan.runs.values() if run.dataset == "cifar10" and run.target == "resnet9" and run.method != "full"]
    assert {run.regime for run in runs} == {regime}
    assert {run.seed for run in runs} == set(range(5))
    main = {(run.method, run.keep, run.seed) for run in runs if run.keep in ("0.2", "0.4", "0.6", "0.8", "0.9")}
    assert len(main) >= 12 * 5 * 5
    assert plan.config.scale["recipes"]["cifar10"]["target"] == "cifar_fast"
