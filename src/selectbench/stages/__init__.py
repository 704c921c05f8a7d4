"""The commands the workflow's rules call: ``python -m selectbench.stages.<stage>``, one module a rule."""

import gc
import sys

if sys.argv[:1] == ["-m"]:  # a stage is being looked up to be run: what it imports stays, so nobody looks for garbage before it runs
    gc.disable()
