"""Training on several processes, started by torchrun: Lightning Fabric, and synchronised batch normalisation."""

import os
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed import _functional_collectives as collectives
from torch.nn.modules.batchnorm import _BatchNorm

from oamface.errors import TrainError

Module = TypeVar("Module", bound=nn.Module)


def launch(precision: str) -> Fabric:
    """Fabric over all processes that torchrun has started, or this one alone; on GPUs if there are any.

    precision: "auto" is bfloat16 on a GPU and float32 elsewhere.
    """
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    world_size, local_size = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    resolved: Any = precision
    if precision == "auto":
        resolved = "bf16-mixed" if accelerator == "cuda" else "32-true"
    fabric = Fabric(
        accelerator=accelerator,
        devices=local_size,
        num_nodes=world_size // local_size,
        strategy="ddp" if world_size > 1 else "auto",
        precision=resolved,
    )
    fabric.launch()
    return fabric


def sum_over_processes(fabric: Fabric, tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, on the CPU."""
    total: Any = fabric.all_reduce(tensor.to(fabric.device), reduce_op="sum")
    return total.cpu()


def is_process_lost(error: RuntimeError) -> bool:
    """Whether a collective operation failed because another process has ended."""
    return torch.distributed.is_initialized() and (
        isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in ("gloo", "Connection"))
    )


def sync_batchnorm(module: Module, fabric: Fabric) -> Module:
    """The module with batch norms that normalise over the batch of all processes. Raises TrainError: an unknown kind.

    torch's own works on GPUs only; CPUs get CpuSyncBatchNorm.
    """
    if fabric.world_size == 1:
        return module
    if fabric.device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's does not know timm's layers

        return convert_sync_batchnorm(module)
    for name, layer in module.named_children():
        setattr(
            module,
            name,
            CpuSyncBatchNorm.copy(layer) if isinstance(layer, _BatchNorm) else sync_batchnorm(layer, fabric),
        )
    return module


class CpuSyncBatchNorm(_BatchNorm):
    """Batch normalisation of (B, C, ...) inputs over all processes, on CPUs."""

    @classmethod
    def copy(cls, layer: _BatchNorm) -> "CpuSyncBatchNorm":
        """A layer with the same state. Raises TrainError: neither BatchNorm1d nor BatchNorm2d."""
        if type(layer) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise TrainError(f"a {type(layer).__name__} cannot be synchronised between CPUs; use one process")
        synced = cls(layer.num_features, layer.eps, layer.momentum, layer.affine)
        synced.load_state_dict(layer.state_dict())
        return synced

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        count = _sum(input.new_tensor([input.numel() / input.shape[1]]))
        centered = input - (mean := _sum(input.sum(axes)) / count).view(shape)
        variance = _sum((centered**2).sum(axes)) / count
        self._update_statistics(mean.detach(), (variance * count / (count - 1)).detach())
        normalised = centered * (variance + self.eps).rsqrt().view(shape)
        return normalised * self.weight.view(shape) + self.bias.view(shape) if self.affine else normalised

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def _sum(tensor: Tensor) -> Tensor:
    """The sum over all processes; differentiable."""
    group = torch.distributed.group.WORLD
    assert group is not None  # there are several processes
    return collectives.wait_tensor(collectives.all_reduce(tensor, "sum", group))
