rule train_targets:
    input:
        unpack(declared["train_targets"].input),
    output:
        **declared["train_targets"].output,
    log:
        declared["train_targets"].log,
    wildcard_constraints:
        **declared["train_targets"].wildcard_constraints,
    threads: declared["train_targets"].threads
    resources:
        **declared["train_targets"].resources,
    params:
        spec=declared["train_targets"].spec,
    message:
        "Train targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.train_targets --spec {params.spec:q} --data {input.data:q} --subsets {input.subsets:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"


rule evaluate_targets:
    input:
        unpack(declared["evaluate_targets"].input),
    output:
        **declared["evaluate_targets"].output,
    log:
        declared["evaluate_targets"].log,
    wildcard_constraints:
        **declared["evaluate_targets"].wildcard_constraints,
    threads: declared["evaluate_targets"].threads
    resources:
        **declared["evaluate_targets"].resources,
    params:
        spec=declared["evaluate_targets"].spec,
    message:
        "Evaluate targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.evaluate_targets --spec {params.spec:q} --data {input.data:q} --trained {input.trained:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"


rule time_trainings:
    input:
        unpack(declared["time_trainings"].input),
    output:
        **declared["time_trainings"].output,
    log:
        declared["time_trainings"].log,
    wildcard_constraints:
        **declared["time_trainings"].wildcard_constraints,
    threads: declared["time_trainings"].threads
    resources:
        **declared["time_trainings"].resources,
    params:
        spec=declared["time_trainings"].spec,
    message:
        "Time the trainings of table {wildcards.table} of {wildcards.paper} on {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.time_trainings --spec {params.spec:q} --data {input.data:q} --subsets {input.subsets:q}"
        " --embeddings {input.embeddings:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
