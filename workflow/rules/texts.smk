rule embed_texts:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        signals=f"{plan.folder}/texts/{{dataset}}/encoder.npz",
        splits=f"{plan.folder}/texts/{{dataset}}/encoder.splits.npz",
        record=f"{plan.folder}/texts/{{dataset}}/encoder.json",
    log:
        f"{plan.folder}/logs/texts/{{dataset}}/encoder.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.embed_spec(w.dataset)),
    message:
        "Embed the texts of {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.embed_texts --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --splits {output.splits:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_texts:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        signals=f"{plan.folder}/texts/{{dataset}}/{{measure}}.npz",
        record=f"{plan.folder}/texts/{{dataset}}/{{measure}}.json",
    log:
        f"{plan.folder}/logs/texts/{{dataset}}/{{measure}}.log",
    wildcard_constraints:
        measure="statistics|perplexities",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=lambda w: plan.texts_gpus(w.dataset, w.measure),
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.texts_spec(w.dataset, w.measure)),
    message:
        "Measure {wildcards.measure} of the texts of {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.measure_texts --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_influences:
    input:
        data=lambda w: plan.data(w.dataset),
        embeddings=lambda w: plan.embeddings(w.dataset),
    output:
        signals=f"{plan.folder}/gradients/{{dataset}}/influences/seed-{{seed}}.npz",
        record=f"{plan.folder}/gradients/{{dataset}}/influences/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/gradients/{{dataset}}/influences/seed-{{seed}}.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.influences_spec(w.dataset, w.seed)),
    message:
        "Measure influences on validation texts of {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_influences --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule cluster_texts:
    input:
        signals=lambda w: plan.signals("encoder", w.dataset, "none", w.seed),
    output:
        clusters=f"{plan.folder}/clusters/{{dataset}}/{{clustering}}-{{clusters}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/clusters/{{dataset}}/{{clustering}}-{{clusters}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/clusters/{{dataset}}/{{clustering}}-{{clusters}}/seed-{{seed}}.log",
    wildcard_constraints:
        clustering="kmeans|stratified",
        clusters="[0-9]+",
    threads: ask["threads"]
    resources:
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(
            plan.clusters_spec(w.dataset, w.clustering, w.clusters, w.seed)
        ),
    message:
        "Cluster {wildcards.dataset}: {wildcards.clustering}, {wildcards.clusters} clusters, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.cluster_texts --spec {params.spec:q} --signals {input.signals:q}"
        " --clusters {output.clusters:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule search_clusters:
    input:
        data=lambda w: plan.data(w.dataset),
        embedded=lambda w: plan.signals("encoder", w.dataset, w.proxy, w.seed),
        embeddings=lambda w: plan.head_embeddings(w.dataset, w.proxy),
        clusters=lambda w: plan.searched_clusters(w.dataset, w.method, w.seed),
    output:
        subsets=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.npz",
        states=f"{plan.folder}/searches/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.json",
        record=f"{plan.folder}/subsets/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/searches/{{dataset}}/{{proxy}}/{{method}}/seed-{{seed}}.log",
    wildcard_constraints:
        method="|".join(plan.search_methods()) or "$",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.search_spec(w.dataset, w.proxy, w.method, w.seed)),
    message:
        "Search clusters of {wildcards.dataset} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.search_clusters --spec {params.spec:q} --data {input.data:q} --embedded {input.embedded:q}"
        " --embeddings {input.embeddings:q} --clusters {input.clusters:q}"
        " --subsets {output.subsets:q} --states {output.states:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_validity:
    input:
        data=lambda w: plan.data(w.dataset),
        embeddings=lambda w: plan.head_embeddings(w.dataset, w.proxy, w.target),
        clusters=lambda w: plan.validity_clusters(w.dataset, w.seed),
    output:
        record=f"{plan.folder}/validity/{{dataset}}/{{proxy}}-to-{{target}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/validity/{{dataset}}/{{proxy}}-to-{{target}}/seed-{{seed}}.log",
    wildcard_constraints:
        target="[a-z0-9_]+",
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.validity_spec(w.dataset, w.proxy, w.target, w.seed)),
    message:
        "Hold proxies against targets on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_validity --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --clusters {input.clusters:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule finetune_targets:
    input:
        data=lambda w: plan.data(w.dataset),
        embeddings=lambda w: plan.batch_embeddings("train", f"{w.dataset}/{w.batch}"),
        subsets=lambda w: plan.subset_inputs(f"{w.dataset}/{w.batch}"),
    output:
        manifest=f"{plan.folder}/batches/train/{{dataset}}/{{batch}}.json",
    log:
        f"{plan.folder}/logs/train/{{dataset}}/{{batch}}.log",
    wildcard_constraints:
        dataset=TEXTS,
    threads: ask["threads"]
    resources:
        gpu=lambda w: plan.train_gpus(f"{w.dataset}/{w.batch}"),
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.train_spec(f"{w.dataset}/{w.batch}")),
    message:
        "Fine-tune targets on {wildcards.dataset}: {wildcards.batch}"
    shell:
        "python -m selectbench.stages.finetune_targets --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --subsets {input.subsets:q} --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"


rule evaluate_texts:
    input:
        data=lambda w: plan.data(w.dataset),
        embeddings=lambda w: plan.batch_embeddings("evaluate", f"{w.dataset}/{w.batch}"),
        trained=lambda w: plan.train_inputs(f"{w.dataset}/{w.batch}"),
    output:
        manifest=f"{plan.folder}/batches/evaluate/{{dataset}}/{{batch}}.json",
    log:
        f"{plan.folder}/logs/evaluate/{{dataset}}/{{batch}}.log",
    wildcard_constraints:
        dataset=TEXTS,
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
        "python -m selectbench.stages.evaluate_texts --spec {params.spec:q} --data {input.data:q} --embeddings {input.embeddings:q}"
        " --trained {input.trained:q} --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"
