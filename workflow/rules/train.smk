rule train_targets:
    input:
        data=lambda w: plan.data(w.dataset),
        subsets=lambda w: plan.subset_inputs(f"{w.dataset}/{w.batch}"),
    output:
        manifest=f"{plan.folder}/batches/train/{{dataset}}/{{batch}}.json",
    log:
        f"{plan.folder}/logs/train/{{dataset}}/{{batch}}.log",
    wildcard_constraints:
        dataset=IMAGES,
    threads: ask["threads"]
    resources:
        gpu=lambda w: plan.train_gpus(f"{w.dataset}/{w.batch}"),
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.train_spec(f"{w.dataset}/{w.batch}")),
    message:
        "Train targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.train_targets --spec {params.spec:q} --data {input.data:q} --subsets {input.subsets:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"


rule evaluate_targets:
    input:
        data=lambda w: plan.data(w.dataset),
        trained=lambda w: plan.train_inputs(f"{w.dataset}/{w.batch}"),
    output:
        manifest=f"{plan.folder}/batches/evaluate/{{dataset}}/{{batch}}.json",
    log:
        f"{plan.folder}/logs/evaluate/{{dataset}}/{{batch}}.log",
    wildcard_constraints:
        dataset=IMAGES,
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.evaluate_spec(f"{w.dataset}/{w.batch}")),
    message:
        "Evaluate targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.evaluate_targets --spec {params.spec:q} --data {input.data:q} --trained {input.trained:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"
