"""Stages: one module per rule, which declares the jobs of the rule and is the command that does them.

The plan imports every stage for its declaration, so no module here imports torch, matplotlib or scikit-learn at its top: a command
imports what it needs when it works. Modules that begin with an underscore are shared by several stages.
"""

import gc
import sys

if sys.argv[:1] == ["-m"]:  # a stage is being started: garbage collection is paused during its imports, whose objects stay
    gc.disable()
