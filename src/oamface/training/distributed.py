"""Training on several processes, started by torchrun: Lightning Fabric, and synchronised batch normalisation."""

import os
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
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
    fabric.barrier()  # a process that ends before all are connected would end the others with a traceback
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
        normalised, mean, variance, count = _SyncedNormalisation.apply(input, self.weight, self.bias, self.eps)
        self._update_statistics(mean, variance * count / (count - 1))
        return normalised

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


class _SyncedNormalisation(torch.autograd.Function):
    """Normalisation by the statistics of all processes, which take one sum over them in each direction.

    The kernels are those of batch normalisation with given statistics; backward adds what flows through these.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        axes = [axis for axis in range(input.ndim) if axis != 1]
        variance, mean = torch.var_mean(input.float(), axes, correction=0)
        local = torch.stack([torch.ones_like(mean), mean, variance + mean**2]).double()
        count, total, squares = _sum(local * (input.numel() / input.shape[1]))
        mean, variance = total / count, squares / count - (total / count) ** 2
        mean, variance, count = mean.float(), variance.float(), count.float()
        ctx.save_for_backward(input, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return torch.native_batch_norm(input, weight, bias, mean, variance, False, 0.0, eps)[0], mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance, count = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        to_input, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], input, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        all_weight, all_bias = _sum(torch.stack([to_weight, to_bias]))
        inverse_std = (variance + ctx.eps).rsqrt()
        slope = scale * inverse_std**2 * all_weight / count
        offset = scale * inverse_std * all_bias / count - slope * mean
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        to_input = to_input - torch.addcmul(offset.view(shape), input, slope.view(shape))
        return (to_input, *((None, None) if weight is None else (to_weight, to_bias)), None)


def _sum(tensor: Tensor) -> Tensor:
    """The sum over all processes."""
    torch.distributed.all_reduce(tensor)
    return tensor
