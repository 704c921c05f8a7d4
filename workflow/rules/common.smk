import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ExecMode

from selectbench.errors import SelectbenchError, describe_failure
from selectbench.workflow import (
    check_before_start,
    check_results,
    check_results_folder,
    hold_utf8,
    list_wanted_files,
    load_plan,
    make_prefix,
    make_rules,
    mend_log,
    mend_scheduler,
    offer_warm_start,
    quote_braces,
)

try:
    hold_utf8()
    prefix = make_prefix(Path(sys.executable))
    plan = load_plan(
        Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1],
        config,
    )
    check_results_folder(plan)
    if (
        workflow.exec_mode == ExecMode.DEFAULT
    ):  # jobs that a scheduler starts read the Snakefile too
        check_results(plan)
except SelectbenchError as error:
    raise WorkflowError(str(error)) from None
except OSError as error:
    raise WorkflowError(describe_failure(error, "results")) from None

shell.prefix(quote_braces(prefix))

# Stage → the directives of its rule, from its declaration: input, output, log, spec, threads, resources, wildcard_constraints.
declared = make_rules(plan)


def list_wanted(wildcards):  # a function, which jobs that a scheduler starts never call
    return list(list_wanted_files(plan))


def before_first_job():
    mend_log(workflow.logger_manager.logger.handlers)
    mend_scheduler(workflow.scheduler, workflow.local_exec)
    try:
        check_before_start(plan, workflow.local_exec)
    except SelectbenchError as error:
        raise WorkflowError(str(error)) from None
    except OSError as error:
        raise WorkflowError(describe_failure(error, "results")) from None
    names = [job.rule.name for job in workflow.dag.needrun_jobs()]
    offer_warm_start(plan, prefix, names, workflow.local_exec)


wildcard_constraints:
    dataset="[a-z0-9_]+",
    proxy="[a-z0-9_]+",
    method="[a-z0-9_]+",
    paper="[a-z0-9_]+",
    table="[a-z0-9_]+",
    figure="[a-z0-9_]+",
    seed="[0-9]+",
