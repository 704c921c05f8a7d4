rule embed_texts:
    input:
        unpack(declared["embed_texts"].input),
    output:
        **declared["embed_texts"].output,
    log:
        declared["embed_texts"].log,
    cache: "omit-software"
    threads: declared["embed_texts"].threads
    resources:
        **declared["embed_texts"].resources,
    params:
        spec=declared["embed_texts"].spec,
    message:
        "Embed the texts of {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.embed_texts --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --splits {output.splits:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_texts:
    input:
        unpack(declared["measure_texts"].input),
    output:
        **declared["measure_texts"].output,
    log:
        declared["measure_texts"].log,
    wildcard_constraints:
        **declared["measure_texts"].wildcard_constraints,
    cache: "omit-software"
    threads: declared["measure_texts"].threads
    resources:
        **declared["measure_texts"].resources,
    params:
        spec=declared["measure_texts"].spec,
    message:
        "Measure {wildcards.measure} of the texts of {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.measure_texts --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_influences:
    input:
        unpack(declared["measure_influences"].input),
    output:
        **declared["measure_influences"].output,
    log:
        declared["measure_influences"].log,
    cache: "omit-software"
    threads: declared["measure_influences"].threads
    resources:
        **declared["measure_influences"].resources,
    params:
        spec=declared["measure_influences"].spec,
    message:
        "Measure influences on the validation texts of {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_influences --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule cluster_texts:
    input:
        unpack(declared["cluster_texts"].input),
    output:
        **declared["cluster_texts"].output,
    log:
        declared["cluster_texts"].log,
    wildcard_constraints:
        **declared["cluster_texts"].wildcard_constraints,
    threads: declared["cluster_texts"].threads
    resources:
        **declared["cluster_texts"].resources,
    params:
        spec=declared["cluster_texts"].spec,
    message:
        "Cluster {wildcards.dataset}: {wildcards.clustering}, {wildcards.clusters} clusters, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.cluster_texts --spec {params.spec:q} --signals {input.signals:q}"
        " --clusters {output.clusters:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule search_clusters:
    input:
        unpack(declared["search_clusters"].input),
    output:
        **declared["search_clusters"].output,
    log:
        declared["search_clusters"].log,
    wildcard_constraints:
        **declared["search_clusters"].wildcard_constraints,
    cache: "omit-software"
    threads: declared["search_clusters"].threads
    resources:
        **declared["search_clusters"].resources,
    params:
        spec=declared["search_clusters"].spec,
    message:
        "Search clusters of {wildcards.dataset} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.search_clusters --spec {params.spec:q} --data {input.data:q} --embedded {input.embedded:q}"
        " --embeddings {input.embeddings:q} --clusters {input.clusters:q}"
        " --subsets {output.subsets:q} --states {output.states:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_validity:
    input:
        unpack(declared["measure_validity"].input),
    output:
        **declared["measure_validity"].output,
    log:
        declared["measure_validity"].log,
    wildcard_constraints:
        **declared["measure_validity"].wildcard_constraints,
    threads: declared["measure_validity"].threads
    resources:
        **declared["measure_validity"].resources,
    params:
        spec=declared["measure_validity"].spec,
    message:
        "Compare proxies with targets on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_validity --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --clusters {input.clusters:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_searches:
    input:
        unpack(declared["measure_searches"].input),
    output:
        **declared["measure_searches"].output,
    log:
        declared["measure_searches"].log,
    threads: declared["measure_searches"].threads
    resources:
        **declared["measure_searches"].resources,
    params:
        spec=declared["measure_searches"].spec,
    message:
        "Measure what misleads searches of {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_searches --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --clusters {input.clusters:q} --found {input.found:q} --enumerated {input.enumerated:q}"
        " --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule finetune_targets:
    input:
        unpack(declared["finetune_targets"].input),
    output:
        **declared["finetune_targets"].output,
    log:
        declared["finetune_targets"].log,
    wildcard_constraints:
        **declared["finetune_targets"].wildcard_constraints,
    threads: declared["finetune_targets"].threads
    resources:
        **declared["finetune_targets"].resources,
    params:
        spec=declared["finetune_targets"].spec,
    message:
        "Fine-tune targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.finetune_targets --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --subsets {input.subsets:q} --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"


rule evaluate_texts:
    input:
        unpack(declared["evaluate_texts"].input),
    output:
        **declared["evaluate_texts"].output,
    log:
        declared["evaluate_texts"].log,
    wildcard_constraints:
        **declared["evaluate_texts"].wildcard_constraints,
    threads: declared["evaluate_texts"].threads
    resources:
        **declared["evaluate_texts"].resources,
    params:
        spec=declared["evaluate_texts"].spec,
    message:
        "Evaluate targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.evaluate_texts --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --trained {input.trained:q} --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"
