# Subsets take seconds, so they are made where Snakemake runs, as artefacts are, and are not sent to a scheduler.
localrules:
    select_subsets,
    read_subsets,


rule score_samples:
    input:
        unpack(declared["score_samples"].input),
    output:
        **declared["score_samples"].output,
    log:
        declared["score_samples"].log,
    cache: "omit-software"
    threads: declared["score_samples"].threads
    resources:
        **declared["score_samples"].resources,
    params:
        spec=declared["score_samples"].spec,
    message:
        "Score {wildcards.dataset} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.score_samples --spec {params.spec:q} --data {input.data:q} --signals {input.signals:q}"
        " --scores {output.scores:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule select_subsets:
    input:
        unpack(declared["select_subsets"].input),
    output:
        **declared["select_subsets"].output,
    log:
        declared["select_subsets"].log,
    wildcard_constraints:
        **declared["select_subsets"].wildcard_constraints,
    params:
        spec=declared["select_subsets"].spec,
    message:
        "Select subsets of {wildcards.dataset} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.select_subsets --spec {params.spec:q} --scores {input.scores:q}"
        " --subsets {output.subsets:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule read_subsets:
    input:
        unpack(declared["read_subsets"].input),
    output:
        **declared["read_subsets"].output,
    log:
        declared["read_subsets"].log,
    wildcard_constraints:
        **declared["read_subsets"].wildcard_constraints,
    params:
        spec=declared["read_subsets"].spec,
    message:
        "Read the subsets of {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.read_subsets --spec {params.spec:q} --data {input.data:q}"
        " --subsets {output.subsets:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule train_selectors:
    input:
        unpack(declared["train_selectors"].input),
    output:
        **declared["train_selectors"].output,
    log:
        declared["train_selectors"].log,
    wildcard_constraints:
        **declared["train_selectors"].wildcard_constraints,
    cache: "omit-software"
    threads: declared["train_selectors"].threads
    resources:
        **declared["train_selectors"].resources,
    params:
        spec=declared["train_selectors"].spec,
    message:
        "Train agents of {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.train_selectors --spec {params.spec:q} --data {input.data:q}"
        " --subsets {output.subsets:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
