rule collect_records:
    input:
        evaluated=lambda w: plan.record_inputs(w.paper),
    output:
        records=f"{plan.folder}/{{paper}}/records.jsonl",
    log:
        f"{plan.folder}/logs/collect/{{paper}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.collect_spec(w.paper)),
    message:
        "Collect the records of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.collect_records --spec {params.spec:q} --evaluated {input.evaluated:q}"
        " --records {output.records:q} 2>&1 | tee {log:q} >&2"
