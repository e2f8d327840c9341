import math

import pytest
import torch
from torch.nn import functional

from oamface.training import losses


def test_partial_label_nll_of_one_candidate_is_cross_entropy() -> None:
    logits, truth = torch.randn(6, 5), torch.randint(0, 5, (6,))
    weights = functional.one_hot(truth, 5).float()
    assert losses.partial_label_nll(logits, weights) == pytest.approx(
        functional.cross_entropy(logits, truth).item(), abs=1e-5
    )


def test_partial_label_nll_sums_the_candidates_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    assert losses.partial_label_nll(logits, torch.tensor([[1.0, 1.0, 0.0]])) == pytest.approx(-math.log(0.5), abs=1e-5)


def test_partial_label_nll_ignores_rows_with_every_class() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    weights = torch.tensor([[1.0, 1, 1, 1], [0, 1, 0, 0]])
    losses.partial_label_nll(logits, weights).backward()
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    assert losses.partial_label_nll(torch.randn(2, 4), torch.ones(2, 4)) == 0


def test_smooth_age_candidates_fall_off_around_a_single_year() -> None:
    candidates = torch.zeros(1, 101, dtype=torch.bool)
    candidates[0, 20] = True
    weights = losses.smooth_age_candidates(candidates)[0]
    assert weights[20] == 1
    assert weights[19] == weights[21] == pytest.approx(math.exp(-0.5 / losses.AGE_STD**2))
    assert (weights[:20].diff() > 0).all()
    assert losses.smooth_age_candidates(torch.ones(1, 101, dtype=torch.bool)).min() == 1


def test_smooth_age_candidates_keep_a_range_as_it_is() -> None:
    candidates = torch.zeros(1, 101, dtype=torch.bool)
    candidates[0, 20:30] = True
    assert torch.equal(losses.smooth_age_candidates(candidates)[0], candidates[0].float())


def test_age_mean_loss_is_the_distance_to_the_range_in_decades() -> None:
    logits = torch.full((3, 101), -30.0)
    logits[0, 40] = logits[1, 25] = logits[2, 90] = 30.0
    candidates = torch.zeros(3, 101, dtype=torch.bool)
    candidates[:2, 20:30] = True
    candidates[2] = True  # unknown
    assert losses.age_mean_loss(logits, candidates) == pytest.approx((11 + 0) / 2 / 10, abs=1e-4)


def test_attention_loss_compares_with_the_visible_part_where_it_is_known() -> None:
    occlusion = torch.zeros(2, 32, 32)
    occlusion[:, 16:] = 1
    correct = torch.tensor([[20.0, 20], [-20, -20]]).expand(2, 1, 2, 2)
    known = torch.tensor([True, True])
    assert losses.attention_loss(correct, occlusion, known) < 1e-6
    assert losses.attention_loss(-correct, occlusion, known) > 10
    half_wrong = torch.stack([correct[0], -correct[1]])
    assert losses.attention_loss(half_wrong, occlusion, torch.tensor([True, False])) < 1e-6
    assert losses.attention_loss(half_wrong, occlusion, torch.tensor([False, False])) == 0


def test_consistency_loss_has_no_gradient_for_the_clean_face() -> None:
    occluded, clean = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    losses.consistency_loss(occluded, clean).backward()
    assert occluded.grad is not None
    assert occluded.grad.any()
    assert clean.grad is None
    assert losses.consistency_loss(clean, clean * 3).item() == pytest.approx(0, abs=1e-6)
    assert losses.consistency_loss(torch.zeros(0, 8), torch.zeros(0, 8)) == 0


def test_teacher_losses_ignore_rows_of_nan() -> None:
    features = torch.tensor([[1.0, 2], [math.nan, math.nan]])
    assert losses.feature_loss(torch.tensor([[1.0, 2], [5, 5]]), features) == 0
    assert losses.feature_loss(torch.tensor([[2.0, 2], [5, 5]]), features) > 0
    target = torch.tensor([[0.25, 0.75], [math.nan, math.nan]])
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    assert losses.kd_loss(logits, target) == pytest.approx(0, abs=1e-6)
    expected = functional.kl_div(logits.flip(1).log_softmax(1)[:1], target[:1], reduction="batchmean")
    assert losses.kd_loss(logits.flip(1), target) == pytest.approx(expected.item(), abs=1e-5)
