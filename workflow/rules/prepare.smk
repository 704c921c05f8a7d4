rule prepare_data:
    output:
        **declared["prepare_data"].output,
    log:
        declared["prepare_data"].log,
    resources:
        **declared["prepare_data"].resources,
    params:
        spec=declared["prepare_data"].spec,
    message:
        "Prepare {wildcards.dataset}"
    shell:
        "python -m selectbench.stages.prepare_data --spec {params.spec:q}"
        " --manifest {output.manifest:q} 2>&1 | tee {log:q} >&2"
