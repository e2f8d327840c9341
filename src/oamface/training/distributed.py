"""Several processes that train one network, as torchrun starts them.

What losses read of a face is small, so every process gets it of all faces and computes the whole batch's losses itself:
means and the heads' batch statistics are those of the whole batch, however many processes share it. Only the backbone's
work is divided, and only its gradients are summed; how these sums are rounded is all that depends on who has what.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import TrainError
from oamface.training.dataset import Batch


def launch(precision: str) -> Fabric:
    """Lightning's Fabric over all processes that torchrun started, or this one alone; on GPUs where there are any.

    precision: "auto" takes bfloat16 on a GPU and float32 elsewhere.
    """
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    world, here = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    chosen: Any = precision
    if precision == "auto":
        chosen = "bf16-mixed" if accelerator == "cuda" else "32-true"
    strategy = "ddp" if world > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=world // here, strategy=strategy, precision=chosen)
    fabric.launch()
    return fabric


def process_lost(error: RuntimeError) -> bool:
    """Whether this is what is raised when another process ends in the middle of something done together."""
    return torch.distributed.is_initialized() and (
        isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in ("gloo", "Connection"))
    )


@dataclass(frozen=True)
class Layout:
    """How the rows of a whole batch lie in its parts: each has so many `faces`, then so many bare `partners`.

    The whole batch has everybody's faces first, then everybody's partners.
    """

    faces: tuple[int, ...]
    partners: tuple[int, ...]

    def rows(self, part: int) -> list[int]:
        """Where the rows of one part lie in the whole batch."""
        face, partner = sum(self.faces[:part]), sum(self.faces) + sum(self.partners[:part])
        return [*range(face, face + self.faces[part]), *range(partner, partner + self.partners[part])]

    def laid(self, rows: Tensor) -> Tensor:
        """The rows of all parts, given one part after the other, in the order of the whole batch."""
        if len(self.faces) == 1:
            return rows
        whole = torch.empty_like(rows)
        whole[[row for part in range(len(self.faces)) for row in self.rows(part)]] = rows
        return whole


class Team:
    """The processes of a run, and what they do together. One alone does nothing here that costs anything.

    halved: on processors one alone computes a batch in the two parts that two would, and adds up what they would:
    rounding is then the same, and so are the trained weights, to the bit.
    """

    def __init__(self, fabric: Fabric, *, halved: bool = False) -> None:
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size
        self.halved = halved and self.size == 1 and fabric.device.type == "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes the log and the checkpoint."""
        return self.rank == 0

    def wait(self) -> None:
        """For all others."""
        self.fabric.barrier()

    def layout(self, batch: Batch) -> Layout:
        """Of the whole batch, of which this process has `batch`."""
        pairs = len(batch.covered)
        faces = len(batch.crops) - pairs
        if self.halved:
            first = (faces + 1) // 2
            paired = int((batch.covered < first).sum())
            return Layout((first, faces - first), (paired, pairs - paired))
        if self.size == 1:  # nothing is counted on the device, or a GPU would be waited for
            return Layout((faces,), (pairs,))
        counts = self._everybody(torch.tensor([faces, pairs], device=batch.crops.device)).tolist()
        return Layout(tuple(row[0] for row in counts), tuple(row[1] for row in counts))

    def whole(
        self, batch: Batch, layout: Layout, embedded: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Batch, Tensor, Tensor]:
        """Of all parts of a batch what losses read, and every face's z and attention, without their pasts.

        embedded: z and attention of every part that is computed here. Chips stay where they are; coverage becomes that
        of the attention's cells.
        """
        z, attention = (torch.cat([pair[at].detach().float() for pair in embedded]) for at in (0, 1))
        covered = functional.adaptive_avg_pool2d(
            batch.coverage[:, None].float(), (attention.shape[-2], attention.shape[-1])
        )[:, 0]
        if self.size == 1:
            alone = replace(batch, crops=batch.crops[:0], coverage=covered)
            return alone, layout.laid(z), layout.laid(attention)
        counts = [sum(pair) for pair in zip(layout.faces, layout.partners, strict=True)]

        def together(part: Tensor) -> Tensor:
            padded = part.new_zeros(max(counts), *part.shape[1:])
            padded[: len(part)] = part
            everybody = self._everybody(padded)
            return layout.laid(torch.cat([rows[:count] for rows, count in zip(everybody, counts, strict=True)]))

        partnered = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        partnered[batch.covered] = True
        faces = sum(layout.faces)
        everyones = Batch(
            crops=batch.crops[:0],
            coverage=together(covered),
            traced=together(batch.traced),
            members={task: together(table) for task, table in batch.members.items()},
            soft={task: together(table) for task, table in batch.soft.items()},
            features=together(batch.features),
            covered=together(partnered).nonzero()[:, 0],
            bare=torch.arange(faces, faces + sum(layout.partners), device=z.device),
        )
        return everyones, together(z), together(attention)

    def parts(self, layout: Layout, rows: Tensor) -> list[Tensor]:
        """A tensor over the rows that this process has, in the parts that it computes."""
        if not self.halved:
            return [rows]
        return [rows[layout.rows(part)] for part in range(len(layout.faces))]

    def own(self, layout: Layout, whole: Tensor) -> list[Tensor]:
        """The parts that this process computes, of a tensor over the whole batch."""
        return self.parts(layout, whole) if self.size == 1 else [whole[layout.rows(self.rank)]]

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
            assert parameter.grad is not None
            parameter.grad.copy_(summed.view_as(parameter))  # in place: how a sum is rounded depends on where it lies

    def total(self, counts: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return counts
        summed = counts.to(self.fabric.device)
        torch.distributed.all_reduce(summed)
        return summed.cpu()

    def synchronise(self, network: nn.ModuleList) -> None:
        """Let a network's batch normalisation see the whole batch. Raises TrainError: a kind that cannot."""
        if self.size == 1 and not self.halved:
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
    """Batch normalisation over the maps of all parts of a batch and all processes; torch's own does that on GPUs alone.

    What is done with a part is the same operations wherever it lies; only sums over parts leave it.
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.parts([input])[0] if self.training else super().forward(input)

    def parts(self, given: Sequence[Tensor]) -> list[Tensor]:
        """Of every part (B, C, h, w) of one batch, in training."""
        count = _total([part.new_full((), part.numel() / part.shape[1]) for part in given])
        mean = _total([part.sum((0, 2, 3)) for part in given])
        centred = [part - (mean / count)[:, None, None] for part in given]
        square = _total([(part**2).sum((0, 2, 3)) for part in centred])
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean / count, self.momentum)
            self.running_var.lerp_(square / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        return [self._scaled(part, square / count) for part in centred]

    def _scaled(self, centred: Tensor, variance: Tensor) -> Tensor:
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def _total(parts: Sequence[Tensor]) -> Tensor:
    """The sum over the parts of this process and of all others."""
    total = sum(parts[1:], start=parts[0])
    return _Sum.apply(total) if torch.distributed.is_initialized() else total


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
