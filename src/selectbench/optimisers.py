"""Adam of ``torch.optim`` in eager mode: the methods that torch's wrappers for its compiler hold.

The wrappers import the compiler at their first call, whether anything is compiled or not: two seconds of every process that trains.
"""

import inspect

import torch
from torch.optim import Optimizer


class EagerMethods:
    """What all optimisers share, unwrapped."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class Adam(EagerMethods, torch.optim.Adam):
    """``torch.optim.Adam``, whose steps are never compiled nor differentiated."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
