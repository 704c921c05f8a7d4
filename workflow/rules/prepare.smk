rule prepare_data:
    output:
        manifest=f"{plan.resources}/{{dataset}}/prepared/manifest.json",
    log:
        f"{plan.folder}/logs/prepare/{{dataset}}.log",
    resources:
        mem_mb=ask["mem_mb"],
        runtime=ask["runtime"],
    params:
        spec=lambda w: to_json(plan.prepare_spec(w.dataset)),
    message:
        "Prepare {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.prepare_data --spec {params.spec:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"
