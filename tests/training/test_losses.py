import math

import pytest
import torch
from torch.nn import functional

from oamface.training import losses


def test_a_set_of_one_is_cross_entropy() -> None:
    logits, truth = torch.randn(6, 5), torch.randint(0, 5, (6,))
    credit = functional.one_hot(truth, 5).float()
    assert losses.set_loss(logits, credit) == pytest.approx(functional.cross_entropy(logits, truth).item(), abs=1e-5)


def test_a_set_of_two_counts_the_sum_of_both() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    assert losses.set_loss(logits, torch.tensor([[1.0, 1.0, 0.0]])) == pytest.approx(-math.log(0.5), abs=1e-5)


def test_labels_that_say_nothing_pull_nowhere() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    credit = torch.tensor([[1.0, 1, 1, 1], [0, 1, 0, 0]])
    losses.set_loss(logits, credit).backward()
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    assert losses.set_loss(torch.randn(2, 4), torch.ones(2, 4)) == 0


def test_years_beside_a_label_count_less_the_farther() -> None:
    members = torch.zeros(1, 101, dtype=torch.bool)
    members[0, 20] = True
    credit = losses.age_credit(members)[0]
    assert credit[20] == 1
    assert credit[19] == credit[21] == pytest.approx(math.exp(-0.5 / losses.AGE_BLUR**2))
    assert (credit[:20].diff() > 0).all()
    assert losses.age_credit(torch.ones(1, 101, dtype=torch.bool)).min() == 1


def test_years_beside_a_range_count_nothing() -> None:
    members = torch.zeros(1, 101, dtype=torch.bool)
    members[0, 20:30] = True
    assert torch.equal(losses.age_credit(members)[0], members[0].float())


def test_years_loss_is_the_distance_to_the_range_in_decades() -> None:
    logits = torch.full((3, 101), -30.0)
    logits[0, 40] = logits[1, 25] = logits[2, 90] = 30.0
    members = torch.zeros(3, 101, dtype=torch.bool)
    members[:2, 20:30] = True
    members[2] = True  # unknown
    assert losses.years_loss(logits, members) == pytest.approx((11 + 0) / 2 / 10, abs=1e-4)


def test_attention_is_taught_what_is_bare_where_that_is_known() -> None:
    coverage = torch.zeros(2, 32, 32)
    coverage[:, 16:] = 1
    right = torch.tensor([[20.0, 20], [-20, -20]]).expand(2, 1, 2, 2)
    both = torch.tensor([True, True])
    assert losses.attention_loss(right, coverage, both) < 1e-6
    assert losses.attention_loss(-right, coverage, both) > 10
    mixed = torch.stack([right[0], -right[1]])
    assert losses.attention_loss(mixed, coverage, torch.tensor([True, False])) < 1e-6
    assert losses.attention_loss(mixed, coverage, torch.tensor([False, False])) == 0


def test_recovery_moves_the_covered_face_alone() -> None:
    covered, bare = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    losses.recovery_loss(covered, bare).backward()
    assert covered.grad is not None
    assert covered.grad.any()
    assert bare.grad is None
    assert losses.recovery_loss(bare, bare * 3).item() == pytest.approx(0, abs=1e-6)
    assert losses.recovery_loss(torch.zeros(0, 8), torch.zeros(0, 8)) == 0


def test_teacher_rows_of_nan_count_nothing() -> None:
    features = torch.tensor([[1.0, 2], [math.nan, math.nan]])
    assert losses.feature_loss(torch.tensor([[1.0, 2], [5, 5]]), features) == 0
    assert losses.feature_loss(torch.tensor([[2.0, 2], [5, 5]]), features) > 0
    target = torch.tensor([[0.25, 0.75], [math.nan, math.nan]])
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    assert losses.soft_loss(logits, target) == pytest.approx(0, abs=1e-6)
    wanted = functional.kl_div(logits.flip(1).log_softmax(1)[:1], target[:1], reduction="batchmean")
    assert losses.soft_loss(logits.flip(1), target) == pytest.approx(wanted.item(), abs=1e-5)
