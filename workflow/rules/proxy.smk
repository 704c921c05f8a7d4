rule train_proxy:
    input:
        unpack(declared["train_proxy"].input),
    output:
        **declared["train_proxy"].output,
    log:
        declared["train_proxy"].log,
    cache: "omit-software"
    threads: declared["train_proxy"].threads
    resources:
        **declared["train_proxy"].resources,
    params:
        spec=declared["train_proxy"].spec,
    message:
        "Train proxy {wildcards.proxy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.train_proxy --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --weights {output.weights:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule train_replicates:
    input:
        unpack(declared["train_replicates"].input),
    output:
        **declared["train_replicates"].output,
    log:
        declared["train_replicates"].log,
    wildcard_constraints:
        **declared["train_replicates"].wildcard_constraints,
    cache: "omit-software"
    threads: declared["train_replicates"].threads
    resources:
        **declared["train_replicates"].resources,
    params:
        spec=declared["train_replicates"].spec,
    message:
        "Train {wildcards.source} of proxy {wildcards.proxy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.train_replicates --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_gradients:
    input:
        unpack(declared["measure_gradients"].input),
    output:
        **declared["measure_gradients"].output,
    log:
        declared["measure_gradients"].log,
    wildcard_constraints:
        **declared["measure_gradients"].wildcard_constraints,
    cache: "omit-software"
    threads: declared["measure_gradients"].threads
    resources:
        **declared["measure_gradients"].resources,
    params:
        spec=declared["measure_gradients"].spec,
    message:
        "Measure {wildcards.signal} of proxy {wildcards.proxy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_gradients --spec {params.spec:q} --data {input.data:q} --weights {input.weights:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule embed_samples:
    input:
        unpack(declared["embed_samples"].input),
    output:
        **declared["embed_samples"].output,
    log:
        declared["embed_samples"].log,
    cache: "omit-software"
    threads: declared["embed_samples"].threads
    resources:
        **declared["embed_samples"].resources,
    params:
        spec=declared["embed_samples"].spec,
    message:
        "Embed {wildcards.dataset} without labels, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.embed_samples --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_theory:
    input:
        unpack(declared["measure_theory"].input),
    output:
        **declared["measure_theory"].output,
    log:
        declared["measure_theory"].log,
    threads: declared["measure_theory"].threads
    resources:
        **declared["measure_theory"].resources,
    params:
        spec=declared["measure_theory"].spec,
    message:
        "Measure covered pairs of {wildcards.dataset} with proxy {wildcards.proxy}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_theory --spec {params.spec:q} --data {input.data:q} --signals {input.signals:q}"
        " --weights {input.weights:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
