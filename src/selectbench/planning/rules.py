"""What a rule of the workflow reads from the declaration of its stage."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields

from selectbench.planning.jobs import load_stages
from selectbench.planning.plan import Plan
from selectbench.planning.stage import Stage

Wildcards = object  # Snakemake's, one attribute each


class Rule:
    """The directives of a stage's rule.

    Parameters
    ----------
    plan : of the workflow
    stage : the declaration

    Attributes
    ----------
    input : function of the wildcards that returns name → files, for Snakemake to unpack
    output : name → path, with wildcards
    log : path, with wildcards
    spec : function of the wildcards that returns the specification as one line of JSON
    threads : processors of each job
    resources : name → number, or function of the wildcards
    wildcard_constraints : wildcard → regular expression
    """

    def __init__(self, plan: Plan, stage: type[Stage]) -> None:
        names = [field.name for field in fields(stage)]

        def make_job(wildcards: Wildcards) -> Stage:
            return stage(**{name: getattr(wildcards, name) for name in names})

        asked = plan.config.scale["resources"]
        self.input = lambda wildcards: make_job(wildcards).list_input_paths(plan)
        self.output = {name: plan.layout.fill(template) for name, template in stage.writes.items()}
        self.log = plan.layout.fill(stage.log)
        self.spec = lambda wildcards: to_json(make_job(wildcards).specify(plan))
        self.threads = asked["threads"] if stage.threaded else 1
        self.resources: dict[str, int | Callable[[Wildcards], int]] = {"mem_mb": asked["mem_mb"], "runtime": asked["runtime"]}
        if stage.computes:
            self.resources["gpu"] = lambda wildcards: make_job(wildcards).count_gpus(plan)
        self.wildcard_constraints = stage.constrain(plan)


def make_rules(plan: Plan) -> dict[str, Rule]:
    """Return stage → the directives of its rule."""
    return {name: Rule(plan, stage) for name, stage in load_stages().items()}


def to_json(spec: Mapping[str, object]) -> str:
    """Spell a specification as the one line of JSON that a command gets."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
