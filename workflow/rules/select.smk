# Subsets take seconds; with artefacts they are made where Snakemake runs, without a trip through a scheduler.
localrules:
    select_subsets,


rule score_samples:
    input:
        data=lambda w: plan.data(w.dataset),
        signals=lambda w: plan.score_inputs(w.dataset, w.proxy, w.method, w.seed),
    output:
        scores=f"{plan.folder}/scores/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/scores/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/score/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.score_spec(w.dataset, w.proxy, w.method, w.seed)),
    message:
        "Score {wildcards.dataset} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.score_samples --spec {params.spec:q} --data {input.data:q} --signals {input.signals:q}"
        " --scores {output.scores:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule select_subsets:
    input:
        scores=f"{plan.folder}/scores/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.npz",
    output:
        subsets=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/select/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.log",
    wildcard_constraints:
        method=f"(?!({'|'.join(plan.learned_methods() + plan.search_methods()) or '$'})/)[a-z0-9_]+",
    params:
        spec=lambda w: to_json(plan.select_spec(w.dataset, w.proxy, w.method, w.seed)),
    message:
        "Select subsets of {wildcards.dataset} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.select_subsets --spec {params.spec:q} --scores {input.scores:q}"
        " --subsets {output.subsets:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule train_selectors:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        subsets=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/selectors/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.log",
    wildcard_constraints:
        method="|".join(plan.learned_methods()) or "$",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.selector_spec(w.dataset, w.proxy, w.method, w.seed)),
    message:
        "Train agents of {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.train_selectors --spec {params.spec:q} --data {input.data:q}"
        " --subsets {output.subsets:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
