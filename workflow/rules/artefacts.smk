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
        "python -m selectbench.stages.collect_records --evaluated {input.evaluated:q}"
        " --records {output.records:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule make_table:
    input:
        records=lambda w: plan.records(w.paper),
    output:
        csv=f"{plan.folder}/{{paper}}/tables/{{table}}.csv",
        markdown=f"{plan.folder}/{{paper}}/tables/{{table}}.md",
        latex=f"{plan.folder}/{{paper}}/tables/{{table}}.tex",
        cells=f"{plan.folder}/{{paper}}/tables/{{table}}.cells.json",
    log:
        f"{plan.folder}/logs/tables/{{paper}}/{{table}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.table_spec(w.paper, w.table)),
    message:
        "Make table {wildcards.table} of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.make_table --records {input.records:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q} --cells {output.cells:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule compare_subsets:
    input:
        subsets=lambda w: plan.compared_subsets(w.paper),
    output:
        overlaps=f"{plan.folder}/{{paper}}/overlaps.json",
    log:
        f"{plan.folder}/logs/overlaps/{{paper}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.overlaps_spec(w.paper)),
    message:
        "Compare the subsets of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.compare_subsets --subsets {input.subsets:q}"
        " --overlaps {output.overlaps:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule collect_subsets:
    input:
        data=lambda w: plan.browsed_data(w.paper),
        subsets=lambda w: plan.browsed_files(w.paper),
    output:
        browser=f"{plan.folder}/{{paper}}/subsets.json",
    log:
        f"{plan.folder}/logs/browser/{{paper}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.subsets_spec(w.paper)),
    message:
        "Collect the samples that methods of {wildcards.paper} keep"
    shell:
        "python -m selectbench.stages.collect_subsets --data {input.data:q} --subsets {input.subsets:q}"
        " --browser {output.browser:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule map_states:
    input:
        searches=lambda w: plan.searches(w.paper),
    output:
        states=f"{plan.folder}/{{paper}}/states.json",
    log:
        f"{plan.folder}/logs/states/{{paper}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.states_spec(w.paper)),
    message:
        "Map the states that the agents of {wildcards.paper} explored"
    shell:
        "python -m selectbench.stages.map_states --searches {input.searches:q}"
        " --states {output.states:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule draw_figure:
    input:
        records=lambda w: plan.records(w.paper),
        overlaps=lambda w: plan.figure_overlaps(w.paper, w.figure),
        measurements=lambda w: plan.figure_measurements(w.paper, w.figure),
        states=lambda w: plan.figure_states(w.paper, w.figure),
        clusters=lambda w: plan.figure_clusters(w.paper, w.figure),
    output:
        pdf=f"{plan.folder}/{{paper}}/figures/{{figure}}.pdf",
        png=f"{plan.folder}/{{paper}}/figures/{{figure}}.png",
        svg=f"{plan.folder}/{{paper}}/figures/{{figure}}.svg",
    log:
        f"{plan.folder}/logs/figures/{{paper}}/{{figure}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.figure_spec(w.paper, w.figure)),
    message:
        "Draw figure {wildcards.figure} of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.draw_figure --records {input.records:q} --overlaps {input.overlaps:q}"
        " --measurements {input.measurements:q} --states {input.states:q} --clusters {input.clusters:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --svg {output.svg:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule judge_claims:
    input:
        records=lambda w: plan.records(w.paper),
        tables=lambda w: plan.table_cells(w.paper),
        measurements=lambda w: plan.measurements(w.paper),
    output:
        json=f"{plan.folder}/{{paper}}/verdict.json",
        markdown=f"{plan.folder}/{{paper}}/verdict.md",
    log:
        f"{plan.folder}/logs/claims/{{paper}}.log",
    localrule: True
    params:
        spec=lambda w: to_json(plan.claims_spec(w.paper)),
    message:
        "Judge the claims of {wildcards.paper}"
    shell:
        "python -m selectbench.stages.judge_claims --records {input.records:q} --tables {input.tables:q}"
        " --measurements {input.measurements:q} --json {output.json:q} --markdown {output.markdown:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule build_page:
    input:
        verdicts=[plan.verdict(paper) for paper in plan.config.papers],
        tables=[
            cells for paper in plan.config.papers for cells in plan.table_cells(paper)
        ],
        figures=[
            drawing
            for paper in plan.config.papers
            for drawing in plan.figure_drawings(paper)
        ],
        records=[plan.records(paper) for paper in plan.config.papers],
        subsets=[plan.browser(paper) for paper in plan.browsing_papers()],
        overlaps=[plan.overlaps(paper) for paper in plan.browsing_papers()],
    output:
        html=plan.page(),
    log:
        f"{plan.folder}/logs/page.log",
    localrule: True
    params:
        spec=to_json(plan.page_spec()),
    message:
        "Build the results page"
    shell:
        "python -m selectbench.stages.build_page --verdicts {input.verdicts:q} --tables {input.tables:q}"
        " --figures {input.figures:q} --records {input.records:q} --subsets {input.subsets:q} --overlaps {input.overlaps:q}"
        " --html {output.html:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


# Workflows of several scales may be at work at once: each makes the page of all from what is there, and none deletes it.
rule build_front_page:
    input:
        verdicts=[plan.verdict(paper) for paper in plan.config.papers],
        figures=plan.lead_drawing(),
    output:
        html=update(plan.front_page()),
    log:
        f"{plan.folder}/logs/front_page.log",
    localrule: True
    params:
        spec=to_json(plan.front_spec()),
    message:
        "Build the page of all scales"
    shell:
        "python -m selectbench.stages.build_front_page --html {output.html:q} <<< {params.spec:q} 2>&1 | tee {log:q} >&2"


rule report:
    input:
        plan.artefacts(),
