"""Stages: one module per rule, which declares the jobs of the rule and is the command that runs them.

The plan imports every stage to read its declaration, so no stage imports torch, matplotlib or scikit-learn at the top of its module: a
command imports what it needs when it runs. Modules whose names begin with an underscore are shared by several stages.
"""

import gc
import re
import sys

from selectbench.records.arithmetic import AVX2, pin_arithmetic

if sys.argv[:1] == ["-m"]:  # a stage is being started: garbage collection is paused during its imports, whose objects stay
    gc.disable()
    _specified = re.search(r'"arithmetic": *"(\w+)"', " ".join(sys.argv))
    pin_arithmetic(_specified[1] if _specified else AVX2)  # now, because libraries read their settings when they are loaded
