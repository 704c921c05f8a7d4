# Entry of the workflow. Including a file resets the default target, so it is set here.
include: "workflow/Snakefile"


workflow.default_target = "all"
