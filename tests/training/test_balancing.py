import pytest
import torch
from torch import nn

from oamface.training.balancing import METHODS, Uncertainty, combine, equal_norms, without_conflict


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_gradient_for_z_and_the_heads(method) -> None:
    torch.manual_seed(0)
    z, heads = torch.randn(4, 6, requires_grad=True), [nn.Linear(6, 1) for _ in range(3)]
    losses = {str(number): head(z).square().mean() for number, head in enumerate(heads)}
    gradient = combine(method, losses, z)
    assert gradient.shape == z.shape
    assert gradient.any()
    assert all(head.weight.grad is not None and head.weight.grad.any() for head in heads)


def test_fixed_is_the_plain_sum() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    gradient = combine("fixed", {"a": z.sum(), "b": 2 * z.sum()}, z)
    assert torch.equal(gradient, torch.full((3, 2), 3.0))


def test_gradients_that_agree_are_left_alone() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert torch.equal(without_conflict([one, other]), one + other)


def test_gradients_that_oppose_lose_what_opposes() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    total = without_conflict([one, other])
    assert torch.allclose(total, torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0]))
    assert (total @ one) >= 0
    assert (total @ other) >= 0


def test_equal_norms_lets_no_task_shout() -> None:
    one, other = torch.tensor([10.0, 0.0]), torch.tensor([0.0, 0.1])
    total = equal_norms([one, other])
    assert total[0] == pytest.approx(total[1].item())
    assert torch.isfinite(equal_norms([one, torch.zeros(2)])).all()


def test_uncertainty_starts_as_the_plain_losses_and_learns() -> None:
    weigh = Uncertainty(("age", "mask"))
    losses = {"age": torch.tensor(4.0), "mask": torch.tensor(0.1)}
    weighed = weigh(losses)
    assert weighed == losses
    torch.stack(list(weighed.values())).sum().backward()
    # A large loss asks for a smaller weight, a small one for a larger.
    assert weigh.log_variance["age"].grad < 0 < weigh.log_variance["mask"].grad
