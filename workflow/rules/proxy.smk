rule train_proxy:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        signals=f"{plan.folder}/proxies/{{dataset}}/{{proxy}}/seed-{{seed}}.npz",
        weights=f"{plan.folder}/proxies/{{dataset}}/{{proxy}}/seed-{{seed}}.pt",
        record=f"{plan.folder}/proxies/{{dataset}}/{{proxy}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/proxy/{{dataset}}/{{proxy}}/seed-{{seed}}.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.proxy_spec(w.dataset, w.proxy, w.seed)),
    message:
        "Train proxy {wildcards.proxy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.train_proxy --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --weights {output.weights:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_gradients:
    input:
        data=lambda w: plan.data(w.dataset),
        weights=lambda w: plan.weights(w.dataset, w.proxy, w.seed),
    output:
        signals=f"{plan.folder}/gradients/{{dataset}}/{{proxy}}/{{signal}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/gradients/{{dataset}}/{{proxy}}/{{signal}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/gradients/{{dataset}}/{{proxy}}/{{signal}}/seed-{{seed}}.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(
            plan.gradients_spec(w.dataset, w.proxy, w.seed, w.signal)
        ),
    message:
        "Measure {wildcards.signal} of proxy {wildcards.proxy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_gradients --spec {params.spec:q} --data {input.data:q} --weights {input.weights:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule embed_samples:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        signals=f"{plan.folder}/encoders/{{dataset}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/encoders/{{dataset}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/encoders/{{dataset}}/seed-{{seed}}.log",
    cache: "omit-software"
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.encoder_spec(w.dataset, w.seed)),
    message:
        "Embed {wildcards.dataset} without labels, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.embed_samples --spec {params.spec:q} --data {input.data:q}"
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"


rule measure_theory:
    input:
        data=lambda w: plan.data(w.dataset),
        signals=lambda w: plan.signals("proxy", w.dataset, w.proxy, w.seed),
        weights=lambda w: plan.weights(w.dataset, w.proxy, w.seed),
    output:
        record=f"{plan.folder}/theory/{{dataset}}/{{proxy}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/theory/{{dataset}}/{{proxy}}/seed-{{seed}}.log",
    threads: ask["threads"]
    resources:
        gpu=ask["gpu"],
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.theory_spec(w.dataset, w.proxy, w.seed)),
    message:
        "Measure covered pairs of {wildcards.dataset} on proxy {wildcards.proxy}, seed {wildcards.seed}"
    shell:
        "python -m selectbench.stages.measure_theory --spec {params.spec:q} --data {input.data:q} --signals {input.signals:q}"
        " --weights {input.weights:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
