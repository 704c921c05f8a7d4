rule collect_records:
    input:
        unpack(declared["collect_records"].input),
    output:
        **declared["collect_records"].output,
    log:
        declared["collect_records"].log,
    localrule: True
    params:
        spec=declared["collect_records"].spec,
    message:
        "Collect the records of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.collect_records --evaluated {input.evaluated:q}"
        " --records {output.records:q} --sources {output.sources:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule make_table:
    input:
        unpack(declared["make_table"].input),
    output:
        **declared["make_table"].output,
    log:
        declared["make_table"].log,
    localrule: True
    params:
        spec=declared["make_table"].spec,
    message:
        "Make table {wildcards.table} of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.make_table --records {input.records:q} --times {input.times:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q} --cells {output.cells:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule compare_subsets:
    input:
        unpack(declared["compare_subsets"].input),
    output:
        **declared["compare_subsets"].output,
    log:
        declared["compare_subsets"].log,
    localrule: True
    params:
        spec=declared["compare_subsets"].spec,
    message:
        "Compare the subsets of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.compare_subsets --subsets {input.subsets:q}"
        " --overlaps {output.overlaps:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule collect_subsets:
    input:
        unpack(declared["collect_subsets"].input),
    output:
        **declared["collect_subsets"].output,
    log:
        declared["collect_subsets"].log,
    localrule: True
    params:
        spec=declared["collect_subsets"].spec,
    message:
        "Collect the samples that the methods of {wildcards.paper} keep"
    shell:
        "python -m selectbench.stages.collect_subsets --data {input.data:q} --subsets {input.subsets:q}"
        " --browser {output.browser:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule map_states:
    input:
        unpack(declared["map_states"].input),
    output:
        **declared["map_states"].output,
    log:
        declared["map_states"].log,
    localrule: True
    params:
        spec=declared["map_states"].spec,
    message:
        "Map the states that the agents of {wildcards.paper} explored"
    shell:
        "python -m selectbench.stages.map_states --searches {input.searches:q}"
        " --states {output.states:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule draw_figure:
    input:
        unpack(declared["draw_figure"].input),
    output:
        **declared["draw_figure"].output,
    log:
        declared["draw_figure"].log,
    localrule: True
    params:
        spec=declared["draw_figure"].spec,
    message:
        "Draw figure {wildcards.figure} of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.draw_figure --records {input.records:q} --overlaps {input.overlaps:q}"
        " --measurements {input.measurements:q} --states {input.states:q} --clusters {input.clusters:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --svg {output.svg:q} --sources {output.sources:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule judge_claims:
    input:
        unpack(declared["judge_claims"].input),
    output:
        **declared["judge_claims"].output,
    log:
        declared["judge_claims"].log,
    localrule: True
    params:
        spec=declared["judge_claims"].spec,
    message:
        "Judge the claims of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.judge_claims --records {input.records:q} --tables {input.tables:q}"
        " --measurements {input.measurements:q} --json {output.json:q} --markdown {output.markdown:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule build_page:
    input:
        unpack(declared["build_page"].input),
    output:
        **declared["build_page"].output,
    log:
        declared["build_page"].log,
    localrule: True
    params:
        spec=declared["build_page"].spec,
    message:
        "Build the results page"
    shell:
        "python -m selectbench.stages.build_page --verdicts {input.verdicts:q} --tables {input.tables:q}"
        " --figures {input.figures:q} --records {input.records:q} --subsets {input.subsets:q} --overlaps {input.overlaps:q}"
        " --html {output.html:q} --sources {output.sources:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


# Workflows of several scales may run at once: each builds the page from the results that exist, and none deletes it.
rule build_front_page:
    input:
        unpack(declared["build_front_page"].input),
    output:
        html=update(declared["build_front_page"].output["html"]),
        sources=update(declared["build_front_page"].output["sources"]),
    log:
        declared["build_front_page"].log,
    localrule: True
    params:
        spec=declared["build_front_page"].spec,
    message:
        "Build the page of all scales"
    shell:
        "python -m selectbench.stages.build_front_page --verdicts {input.verdicts:q} --figures {input.figures:q}"
        " --html {output.html:q} --sources {output.sources:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule report:
    input:
        list_wanted,
