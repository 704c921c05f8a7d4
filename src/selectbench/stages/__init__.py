"""The commands the workflow's rules call: ``python -m selectbench.stages.<stage>``, one module a rule."""
