"""Compiled training passes, if a compiler is available."""

import sys

import torch
from torch import nn

from selectbench.errors import first_line


def compile_forward(model: nn.Module, device: torch.device) -> bool:
    """Compile a model's forward pass with torch.compile and return whether that worked; without a compiler, print a line and continue.

    The weights keep their names and values. Passes that call parts of the model, as evaluation does, are not compiled.
    """
    try:
        torch.compile(lambda values: values + 1)(torch.ones(2, device=device))
    except Exception as error:  # backends and missing compilers fail in many different ways
        print(f"compile: no working compiler on {device.type} ({first_line(error)}); continuing uncompiled", file=sys.stderr, flush=True)
        return False
    model.compile()
    return True
