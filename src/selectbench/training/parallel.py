"""Data-parallel training: processes with one GPU each share every batch; a stage starts them with torchrun."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True)
class Crew:
    """The processes that train one model together: each processes its share of every batch, and all take the same step.

    Parameters
    ----------
    rank : index of this process, from 0
    size : number of processes
    """

    rank: int = 0
    size: int = 1

    def share(self, positions: np.ndarray) -> tuple[np.ndarray, float]:
        """Return this process's samples of a batch (B,), and the weight of their mean loss in the mean loss of the batch.

        If a batch has fewer than two samples per process, every process takes all of it.
        """
        if self.size == 1 or len(positions) < 2 * self.size:
            return positions, 1.0 / self.size
        own = positions[self.rank :: self.size]
        return own, len(own) / len(positions)

    @overload
    def gather(self, values: torch.Tensor, num: int) -> torch.Tensor: ...

    @overload
    def gather(self, values: None, num: int) -> None: ...

    def gather(self, values: torch.Tensor | None, num: int) -> torch.Tensor | None:
        """Return the values of a whole batch (num, …), in its order, given each process's values for its share; None stays None."""
        if values is None or len(values) == num:
            return values
        counts = [len(range(rank, num, self.size)) for rank in range(self.size)]
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        whole = values.new_empty((num, *values.shape[1:]))
        for rank, (part, count) in enumerate(zip(parts, counts, strict=True)):
            whole[rank :: self.size] = part[:count]
        return whole

    def add(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes, without gradients."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def add_gradients(self, model: nn.Module) -> None:
        """Sum the gradients of a model over the processes."""
        if self.size == 1:
            return
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        flat = self.add(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, ids: np.ndarray) -> np.ndarray:
        """Return the first process's ids in all processes."""
        if self.size == 1:
            return ids
        shared: list[np.ndarray] = [ids]
        distributed.broadcast_object_list(shared, src=0)
        return shared[0]


def find_crew() -> Crew:
    """Return the crew of this process: itself alone, unless ``enter_crew`` has connected it to others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Crew()
    return Crew(distributed.get_rank(), distributed.get_world_size())


def enter_crew(processes: int, module: str) -> None:
    """Continue in several processes: the caller starts them with its own arguments and exits when they do; only they return from here.

    Parameters
    ----------
    processes : number of processes; with 1, nothing happens
    module : name of the module that the caller was started as
    """
    if processes == 1:
        return
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", module]
        sys.exit(subprocess.run([sys.executable, "-m", *launch, *sys.argv[1:]], check=False).returncode)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the statistics of the whole batch on any device; PyTorch's own supports only GPUs."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the normalised maps (B, C, H, W) of this process's share."""
        if not self.training:
            return super().forward(maps)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        count = _add_up(maps.new_tensor(float(maps.numel() // maps.shape[1])))
        mean = _add_up(maps.sum(dim=axes)) / count
        centred = maps - mean.view(shape)
        variance = _add_up(centred.square().sum(dim=axes)) / count
        assert self.num_batches_tracked is not None  # the layers of our models track statistics, with a momentum
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        return scaled * self.weight.view(shape) + self.bias.view(shape)


def _add_up(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the processes, with gradients."""
    total: torch.Tensor = all_reduce(values)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return total


def share_norms(model: nn.Module, crew: Crew) -> nn.Module:
    """Return a model whose batch normalisation uses whole-batch statistics, with timm's layers on GPUs and our own on a CPU."""
    if crew.size == 1:
        return model
    if next(model.parameters()).device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]  # timm re-exports it implicitly

        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # timm leaves it untyped
        return converted
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SharedBatchNorm2d
    return model
