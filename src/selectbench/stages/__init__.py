"""Stages: one module per rule, which declares the jobs of the rule and is the command that runs them.

The plan imports every stage to read its declaration, so no stage imports torch, matplotlib or scikit-learn at the top of its module: a
command imports what it needs when it runs. Modules whose names begin with an underscore are shared by several stages.
"""

import sys

from selectbench.stages._warm_start import start_warm

start_warm()  # does not return if this is the start of a stage and a warm process runs it; the imports below would be for nothing

import gc  # noqa: E402
import re  # noqa: E402

from selectbench.records.arithmetic import AVX2, pin_arithmetic  # noqa: E402

if sys.argv[:1] == ["-m"]:  # a stage is being started: garbage collection is paused during its imports, whose objects stay
    gc.disable()
    _specified = re.search(r'"arithmetic": *"(\w+)"', " ".join(sys.argv))
    pin_arithmetic(_specified[1] if _specified else AVX2)  # now, because libraries read their settings when they are loaded
