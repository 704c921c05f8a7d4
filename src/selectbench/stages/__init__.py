"""Stages: one module per rule, which declares the jobs of the rule and is the command that runs them.

The plan imports every stage to read its declaration, so no stage imports torch, matplotlib or scikit-learn at the top of its module: a
command imports what it needs when it runs. Modules whose names begin with an underscore are shared by several stages.
"""

import sys

if sys.argv[:1] == ["-m"]:  # a stage is being started
    from selectbench.stages._warm_start import find_arithmetic, start_warm

    start_warm()  # does not return if a warm process runs the stage

    import gc

    from selectbench.records.arithmetic import pin_arithmetic

    gc.disable()  # garbage collection is paused during imports, whose objects stay
    pin_arithmetic(find_arithmetic(sys.argv))  # now, because libraries read their settings when they are loaded
