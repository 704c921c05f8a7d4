"""Stages: one module per rule, which declares the jobs of the rule and is the command that runs them.

The plan imports every stage to read its declaration, so no stage imports torch, matplotlib or scikit-learn at the top of its module: a
command imports what it needs when it runs. Modules whose names begin with an underscore are shared by several stages.
"""

import gc
import sys

if sys.argv[:1] == ["-m"]:  # a stage starts: garbage collection is paused during its imports, because what they load stays in memory
    gc.disable()
