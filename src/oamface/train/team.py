"""Several processes that train one network, as torchrun starts them.

What losses read of a face is small, so every process gets it of all faces and computes the whole batch's losses itself:
means and the heads' batch statistics are those of the whole batch, however many processes share it. Only the trunk's
work is divided, and only its gradients are summed.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import TrainError
from oamface.train.batches import Batch


def launch(precision: str) -> lightning.Fabric:
    """Lightning's Fabric over all processes that torchrun started, or this one alone; on GPUs where there are any.

    precision: "auto" takes bfloat16 on a GPU and float32 elsewhere.
    """
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    world, here = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    chosen: Any = precision
    if precision == "auto":
        chosen = "bf16-mixed" if accelerator == "cuda" else "32-true"
    strategy = "ddp" if world > 1 else "auto"
    fabric = lightning.Fabric(
        accelerator=accelerator, devices=here, num_nodes=world // here, strategy=strategy, precision=chosen
    )
    fabric.launch()
    return fabric


def process_lost(error: RuntimeError) -> bool:
    """Whether this is what is raised when another process ends in the middle of something done together."""
    return torch.distributed.is_initialized() and (
        isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in ("gloo", "Connection"))
    )


@dataclass(frozen=True)
class Layout:
    """How the rows of a whole batch lie with its processes: each has so many `faces`, then so many bare `partners`.

    The whole batch is in the order that one process alone would have: everybody's faces, then everybody's partners.
    """

    faces: tuple[int, ...]
    partners: tuple[int, ...]

    def rows(self, rank: int) -> list[int]:
        """Where the rows of one process lie in the whole batch."""
        face, partner = sum(self.faces[:rank]), sum(self.faces) + sum(self.partners[:rank])
        return [*range(face, face + self.faces[rank]), *range(partner, partner + self.partners[rank])]


class Team:
    """The processes of a run, and what they do together. One alone does nothing here that costs anything."""

    def __init__(self, fabric: lightning.Fabric) -> None:
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes the log and the checkpoint."""
        return self.rank == 0

    def wait(self) -> None:
        """For all others."""
        self.fabric.barrier()

    def whole(self, batch: Batch, z: Tensor, attention: Tensor) -> tuple[Batch, Tensor, Tensor, Layout]:
        """Of all processes' parts of a batch what losses read, and every face's z and attention, without their pasts.

        Chips stay where they are; coverage becomes that of the attention's cells.
        """
        covered = functional.adaptive_avg_pool2d(
            batch.coverage[:, None].float(), (attention.shape[-2], attention.shape[-1])
        )[:, 0]
        pairs = len(batch.covered)
        if self.size == 1:  # nothing is counted on the device, or a GPU would be waited for
            alone = replace(batch, chips=batch.chips[:0], coverage=covered)
            return alone, z.detach().float(), attention.detach().float(), Layout((len(z) - pairs,), (pairs,))
        counts = self._everybody(torch.tensor([len(z) - pairs, pairs], device=z.device)).tolist()
        layout = Layout(tuple(row[0] for row in counts), tuple(row[1] for row in counts))
        most = max(map(sum, counts))
        order = torch.tensor([row for rank in range(self.size) for row in layout.rows(rank)], device=z.device)

        def together(part: Tensor) -> Tensor:
            padded = part.new_zeros(most, *part.shape[1:])
            padded[: len(part)] = part
            everybody = self._everybody(padded)
            found = torch.cat([rows[: sum(count)] for rows, count in zip(everybody, counts, strict=True)])
            laid = torch.empty_like(found)
            laid[order] = found
            return laid

        partnered = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        partnered[batch.covered] = True
        faces = sum(layout.faces)
        everyones = Batch(
            chips=batch.chips[:0],
            coverage=together(covered),
            traced=together(batch.traced),
            members={task: together(table) for task, table in batch.members.items()},
            soft={task: together(table) for task, table in batch.soft.items()},
            features=together(batch.features),
            covered=together(partnered).nonzero()[:, 0],
            bare=torch.arange(faces, faces + sum(layout.partners), device=z.device),
        )
        return everyones, together(z.detach().float()), together(attention.detach().float()), layout

    def own(self, layout: Layout, whole: Tensor) -> Tensor:
        """The rows of this process, of a tensor over the whole batch."""
        return whole if self.size == 1 else whole[torch.tensor(layout.rows(self.rank), device=whole.device)]

    def sum_gradients(self, divided: nn.Module, same: nn.Module) -> None:
        """Of parameters whose work is divided among the processes; those that all computed alike become their mean."""
        if self.size == 1:
            return
        trained, gradients = [], []
        for module, share in ((divided, 1.0), (same, 1 / self.size)):
            for parameter in module.parameters():
                if parameter.grad is not None:
                    trained.append(parameter)
                    gradients.append((parameter.grad * share).flatten())
        flat = torch.cat(gradients)
        torch.distributed.all_reduce(flat)
        for parameter, summed in zip(trained, flat.split([len(gradient) for gradient in gradients]), strict=True):
            parameter.grad = summed.view_as(parameter)

    def total(self, counts: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return counts
        summed = counts.to(self.fabric.device)
        torch.distributed.all_reduce(summed)
        return summed.cpu()

    def synchronise(self, network: nn.ModuleList) -> None:
        """Let a network's batch normalisation see the whole batch. Raises TrainError: a kind that cannot."""
        if self.size == 1:
            return
        if self.fabric.device.type == "cuda":
            from timm.layers.norm_act import convert_sync_batchnorm

            convert_sync_batchnorm(network)  # in place, but for what is itself a normalisation
            return
        for name, layer in network.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                if type(layer) is not nn.BatchNorm2d:
                    raise TrainError(f"{name}: a {type(layer).__name__} cannot be synchronised between CPUs; use one")
                layer.__class__ = SyncedBatchNorm2d  # same weights, same names

    def _everybody(self, part: Tensor) -> Tensor:
        """(size, ...): the same tensor of all processes."""
        bits = part.to(torch.uint8) if part.dtype == torch.bool else part
        gathered = torch.empty((self.size, *bits.shape), dtype=bits.dtype, device=bits.device)
        torch.distributed.all_gather(list(gathered.unbind()), bits.contiguous())
        return gathered.to(part.dtype)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the maps of all processes; torch's own does that on GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        count = _Sum.apply(input.new_full((), input.numel() / input.shape[1]))
        mean = _Sum.apply(input.sum((0, 2, 3))) / count
        centred = input - mean[:, None, None]
        variance = _Sum.apply((centred**2).sum((0, 2, 3))) / count
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(gradient)
        return gradient
