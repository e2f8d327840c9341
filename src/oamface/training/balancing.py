"""Combines the tasks' losses into one: by fixed weights, learned uncertainty, or their gradients at the embedding."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FixedWeights(nn.Module):
    """The sum of the losses, which the recipe has weighted already."""

    def forward(self, losses: dict[str, Tensor], embedding: Tensor) -> Tensor:
        return torch.stack(list(losses.values())).sum()


class UncertaintyWeights(nn.Module):
    """Learned weights exp(-s) with a penalty s for each task (Kendall, Gal and Cipolla, 2018)."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: dict[str, Tensor], embedding: Tensor) -> Tensor:
        weighted = [loss * (-self.log_variance[task]).exp() + self.log_variance[task] for task, loss in losses.items()]
        return torch.stack(weighted).sum()


class GradientBalancing(nn.Module):
    """The sum of the losses, with another gradient at the embedding than the sum of the tasks' gradients.

    combine: the tasks' gradients, (B, C) each as the embedding, to the one of that shape that the backbone gets. One
    backward pass through the backbone is enough. With several processes each combines those of its part of the batch.
    """

    def __init__(self, combine: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.combine = combine

    def forward(self, losses: dict[str, Tensor], embedding: Tensor) -> Tensor:
        gradients = [torch.autograd.grad(loss, embedding, retain_graph=True)[0] for loss in losses.values()]
        correction = self.combine(gradients) - torch.stack(gradients).sum(0)
        return torch.stack(list(losses.values())).sum() + (embedding * correction).sum()


def equal_norms(gradients: list[Tensor]) -> Tensor:
    """The sum of the gradients, each scaled to their mean norm.

    The fixed point of GradNorm (Chen et al., 2018) at asymmetry 0.
    """
    norms = torch.stack([gradient.norm() for gradient in gradients])
    scales = norms.mean() / norms.clamp_min(1e-12)
    return (torch.stack(gradients) * scales.view(-1, *[1] * gradients[0].ndim)).sum(0)


def project_conflicts(gradients: list[Tensor]) -> Tensor:
    """The sum of the gradients, each without what opposes the others, which are taken in random order.

    PCGrad (Yu et al., 2020), at the embedding instead of all shared weights.
    """
    total = torch.zeros_like(gradients[0])
    for index, gradient in enumerate(gradients):
        projected = gradient.clone()
        others = [other for at, other in enumerate(gradients) if at != index]
        for at in torch.randperm(len(others)).tolist():
            overlap = (projected * others[at]).sum()
            if overlap < 0:
                projected -= overlap / (others[at] ** 2).sum().clamp_min(1e-12) * others[at]
        total += projected
    return total


METHODS: dict[str, Callable[[tuple[str, ...]], nn.Module]] = {
    "fixed": lambda tasks: FixedWeights(),
    "uncertainty": UncertaintyWeights,
    "gradnorm": lambda tasks: GradientBalancing(equal_norms),
    "pcgrad": lambda tasks: GradientBalancing(project_conflicts),
}
