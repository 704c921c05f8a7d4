"""Compiled training passes, where a compiler is found."""

import sys

import torch
from torch import nn

from selectbench.errors import first_line


def compile_forward(model: nn.Module, device: torch.device) -> bool:
    """Let calls of a model go through torch.compile, and tell whether they do; without a compiler, say so in one line and go on.

    Names and values of the weights stay as they are. Passes that take the model apart, as evaluation does, are not compiled.
    """
    try:
        torch.compile(lambda values: values + 1)(torch.ones(2, device=device))
    except Exception as error:  # every backend and every missing compiler fails in its own way
        print(f"compile: no working compiler on {device.type} ({first_line(error)}); training goes on without", file=sys.stderr, flush=True)
        return False
    model.compile()
    return True
