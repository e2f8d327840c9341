"""How four losses become one step on the shared vector: fixed weights, learned uncertainty, or conflict projection.

Each takes the tasks' losses, already weighted by the recipe, and the shared vector z, and returns the gradient that z
gets; the heads' own parameters get theirs on the way.
"""

import torch
from torch import Tensor, nn

METHODS = ("fixed", "uncertainty", "gradnorm", "pcgrad")


class Uncertainty(nn.Module):
    """Learned weights exp(-s) with a penalty s for each task (Kendall, Gal and Cipolla, 2018)."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, each weighted and penalised."""
        return {
            task: loss * (-self.log_variance[task]).exp() + self.log_variance[task] for task, loss in losses.items()
        }


def combine(method: str, losses: dict[str, Tensor], z: Tensor) -> Tensor:
    """Run the heads' backward pass and return the gradient for z, shaped like it.

    z: (B, C) leaf that the losses were computed from. method: one of METHODS; "uncertainty" expects losses that went
    through Uncertainty, and sums them as "fixed" does.
    """
    if method in ("fixed", "uncertainty"):
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        assert z.grad is not None
        return z.grad
    gradients = []
    for loss in losses.values():
        z.grad = None
        loss.backward()
        gradients.append(torch.zeros_like(z) if z.grad is None else z.grad.clone())
    return equal_norms(gradients) if method == "gradnorm" else without_conflict(gradients)


def equal_norms(gradients: list[Tensor]) -> Tensor:
    """Every task pulls equally hard: each gradient scaled to their mean norm, then summed.

    The fixed point of GradNorm (Chen et al., 2018) at asymmetry 0, reached at once rather than learned.
    """
    norms = torch.stack([gradient.norm() for gradient in gradients])
    scales = norms.mean() / norms.clamp_min(1e-12)
    return sum(
        (gradient * scale for gradient, scale in zip(gradients, scales, strict=True)), torch.zeros_like(gradients[0])
    )


def without_conflict(gradients: list[Tensor]) -> Tensor:
    """Each gradient loses the part that opposes another's, in a random order; then all are summed.

    PCGrad (Yu et al., 2020), on the shared vector instead of all shared weights: one pass through the backbone is enough.
    """
    total = torch.zeros_like(gradients[0])
    for index, gradient in enumerate(gradients):
        projected = gradient.clone()
        others = [other for at, other in enumerate(gradients) if at != index]
        for choice in torch.randperm(len(others)).tolist():
            other = others[choice]
            overlap = (projected * other).sum()
            if overlap < 0:
                projected -= overlap / (other * other).sum().clamp_min(1e-12) * other
        total += projected
    return total
