"""Data-parallel training: processes that share every batch, one GPU each, started by torchrun from inside a stage."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True)
class Crew:
    """The processes that train one model together: each learns from its share of every batch, and all take the same step.

    Parameters
    ----------
    rank : of this process, from 0
    size : number of processes
    """

    rank: int = 0
    size: int = 1

    def share(self, positions: np.ndarray) -> tuple[np.ndarray, float]:
        """Return this process's samples of a batch (B,), and which part of the batch's mean loss is their mean loss.

        Of a batch with less than two samples a process everybody takes all.
        """
        if self.size == 1 or len(positions) < 2 * self.size:
            return positions, 1.0 / self.size
        own = positions[self.rank :: self.size]
        return own, len(own) / len(positions)

    def gather(self, values: torch.Tensor | None, num: int) -> torch.Tensor | None:
        """Return values of a whole batch (num, …), in its order, of every process's values of its share; nothing stays nothing."""
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
        """Return the sum of a tensor over the processes; no gradients."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def add_gradients(self, model: nn.Module) -> None:
        """Sum the gradients of a model over the processes."""
        if self.size == 1:
            return
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        flat = self.add(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, ids: np.ndarray) -> np.ndarray:
        """Return the first process's ids, whatever the others have come to."""
        if self.size == 1:
            return ids
        told = [ids]
        distributed.broadcast_object_list(told, src=0)
        return told[0]


def find_crew() -> Crew:
    """Return the crew of this process: itself alone, unless ``enter_crew`` has joined it to others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Crew()
    return Crew(distributed.get_rank(), distributed.get_world_size())


def enter_crew(processes: int, module: str) -> None:
    """Go on in several processes: the caller starts them with its own arguments and ends with them, they return from here.

    Parameters
    ----------
    processes : how many; nothing happens for 1
    module : what the caller was started as, by its name
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
    """Batch normalisation by the statistics of the whole batch, on whatever device; PyTorch's own knows GPUs alone."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return normalised maps (B, C, H, W) of this process's share."""
        if not self.training:
            return super().forward(maps)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        count = all_reduce(maps.new_tensor(float(maps.numel() // maps.shape[1])))
        mean = all_reduce(maps.sum(dim=axes)) / count
        centred = maps - mean.view(shape)
        variance = all_reduce(centred.square().sum(dim=axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        return scaled * self.weight.view(shape) + self.bias.view(shape)


def share_norms(model: nn.Module, crew: Crew) -> nn.Module:
    """Return a model whose batch normalisations take their statistics from whole batches: on GPUs timm's, on a CPU our own."""
    if crew.size == 1:
        return model
    if next(model.parameters()).device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SharedBatchNorm2d
    return model
