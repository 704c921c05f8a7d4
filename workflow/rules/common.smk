import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from selectbench.errors import SelectbenchError
from selectbench.planning.plan import load_plan, to_json
from selectbench.planning.scheduling import mend_scheduler
from selectbench.workflow import check_before_start, check_results_folder

# Jobs find this environment's Python whether or not the environment is activated.
shell.prefix(f"set -euo pipefail; export PATH={Path(sys.executable).parent}:$PATH; ")

try:
    plan = load_plan(
        Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1],
        config,
    )
    check_results_folder(plan)
except SelectbenchError as error:
    raise WorkflowError(str(error)) from None


def before_first_job():
    mend_scheduler(workflow.scheduler, workflow.local_exec)
    try:
        check_before_start(plan)
    except SelectbenchError as error:
        raise WorkflowError(str(error)) from None


ask = plan.config.scale["resources"]
TEXTS = "|".join(plan.text_datasets())
IMAGES = f"(?!({TEXTS})/)[a-z0-9_]+"


wildcard_constraints:
    dataset="[a-z0-9_]+",
    proxy="[a-z0-9_]+",
    method="[a-z0-9_]+",
    paper="[a-z0-9_]+",
    table="[a-z0-9_]+",
    figure="[a-z0-9_]+",
    signal="gradient_norms|alignments",
    seed="[0-9]+",
