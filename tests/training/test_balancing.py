import pytest
import torch
from torch import nn

from oamface.training.balancing import METHODS, UncertaintyWeights, equal_norms, project_conflicts

TASKS = ("age", "gender", "mask")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_embedding_and_heads(method) -> None:
    torch.manual_seed(0)
    images, backbone = torch.randn(4, 6), nn.Linear(6, 6)
    heads = {task: nn.Linear(6, 1) for task in TASKS}
    embedding = backbone(images)
    losses = {task: head(embedding).square().mean() for task, head in heads.items()}
    METHODS[method](TASKS)(losses, embedding).backward()
    assert backbone.weight.grad.any()
    for task, head in heads.items():
        expected = torch.autograd.grad(head(backbone(images)).square().mean(), head.weight)[0]
        assert torch.allclose(head.weight.grad, expected, atol=1e-6), task


def test_fixed_is_the_sum() -> None:
    embedding = torch.randn(3, 2, requires_grad=True)
    METHODS["fixed"](TASKS)({"age": embedding.sum(), "mask": 2 * embedding.sum()}, embedding).backward()
    assert torch.equal(embedding.grad, torch.full((3, 2), 3.0))


@pytest.mark.parametrize(("method", "combine"), [("gradnorm", equal_norms), ("pcgrad", project_conflicts)])
def test_backbone_gets_the_combined_gradient(method, combine) -> None:
    embedding, weights = torch.randn(2, 3, requires_grad=True), [torch.randn(2, 3) for _ in range(2)]
    shared = embedding * 1.0  # what the backbone computes
    losses = {str(number): (shared * weight).sum() for number, weight in enumerate(weights)}
    torch.manual_seed(0)
    METHODS[method](TASKS)(losses, shared).backward()
    torch.manual_seed(0)
    assert torch.allclose(embedding.grad, combine(weights), atol=1e-6)


def test_project_conflicts_keeps_gradients_that_agree() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert torch.equal(project_conflicts([one, other]), one + other)


def test_project_conflicts_removes_what_opposes_another_gradient() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    total = project_conflicts([one, other])
    assert torch.allclose(total, torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0]))
    assert (total @ one) >= 0
    assert (total @ other) >= 0


def test_equal_norms_scales_every_gradient_to_the_same_norm() -> None:
    one, other = torch.tensor([10.0, 0.0]), torch.tensor([0.0, 0.1])
    total = equal_norms([one, other])
    assert total[0] == pytest.approx(total[1].item())
    assert torch.isfinite(equal_norms([one, torch.zeros(2)])).all()


def test_uncertainty_weights_start_equal_and_favor_small_losses() -> None:
    balancing, losses = UncertaintyWeights(("age", "mask")), {"age": torch.tensor(4.0), "mask": torch.tensor(0.1)}
    total = balancing(losses, torch.zeros(1))
    assert total.item() == pytest.approx(4.1)
    total.backward()
    assert balancing.log_variance["age"].grad < 0 < balancing.log_variance["mask"].grad
