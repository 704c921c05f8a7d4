rule train_proxy:
    input:
        data=lambda w: plan.data(w.dataset),
    output:
        signals=f"{plan.folder}/proxies/{{dataset}}/{{proxy}}/seed-{{seed}}.npz",
        record=f"{plan.folder}/proxies/{{dataset}}/{{proxy}}/seed-{{seed}}.json",
    log:
        f"{plan.folder}/logs/proxy/{{dataset}}/{{proxy}}/seed-{{seed}}.log",
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
        " --signals {output.signals:q} --record {output.record:q} 2>&1 | tee {log:q} >&2"
