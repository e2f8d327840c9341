"""The parts of the loss, each a function of tensors: label sets, years, attention, recovery, the teacher."""

import torch
from torch import Tensor
from torch.nn import functional

AGE_BLUR = 2.5  # years by which a label may be off, one standard deviation


def set_loss(logits: Tensor, credit: Tensor) -> Tensor:
    """Minus the log of the probability of the label's set; mean over the faces that know something.

    logits: (B, C). credit: (B, C) in 0..1, what each class counts as an answer; a row of ones says nothing.
    """
    log_probability = functional.log_softmax(logits.float(), 1)
    inside = torch.logsumexp(log_probability + credit.clamp_min(1e-9).log(), 1)
    known = (credit < 1).any(1)
    return -(inside * known).sum() / known.sum().clamp_min(1)


def age_credit(members: Tensor) -> Tensor:
    """What every year counts for labels (B, 101) bool: 1 inside the set, falling off over AGE_BLUR beside one year.

    Ages are given in whole years and guessed by people: a year beside the label is nearly as right. A range gets no
    credit beside it, or the years at its ends, which two ranges then share, would be the best answer to either.
    """
    years = torch.arange(members.shape[1], dtype=torch.float32, device=members.device)
    low, high = _bounds(members)
    beside = torch.exp(-0.5 * ((years - low[:, None]) / AGE_BLUR) ** 2)
    return torch.where((low == high)[:, None], beside, members.float())


def years_loss(logits: Tensor, members: Tensor) -> Tensor:
    """Decades between the distribution's mean and the label's range; mean over faces of known age."""
    mean = mean_age(logits)
    low, high = _bounds(members)
    away = (low - mean).clamp_min(0) + (mean - high).clamp_min(0)
    known = ~members.all(1)
    return (away * known).sum() / known.sum().clamp_min(1) / 10


def mean_age(logits: Tensor) -> Tensor:
    """(B, 101) logits to (B,) years: the expectation (DEX, Rothe et al., 2015)."""
    years = torch.arange(logits.shape[1], dtype=torch.float32, device=logits.device)
    return functional.softmax(logits.float(), 1) @ years


def attention_loss(attention: Tensor, coverage: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy between the map and what is bare.

    attention: (B, 1, h, w) logits. coverage: (B, S, S) in 0..1, averaged over the map's cells. known: (B,) bool,
    False where a real image's coverage was never drawn.
    """
    covered = functional.adaptive_avg_pool2d(coverage[:, None].float(), (attention.shape[-2], attention.shape[-1]))
    loss = functional.binary_cross_entropy_with_logits(attention.float(), 1 - covered, reduction="none").mean((1, 2, 3))
    return (loss * known).sum() / known.sum().clamp_min(1)


def recovery_loss(covered: Tensor, bare: Tensor) -> Tensor:
    """How far the covered faces' vectors are from the bare ones', which get no gradient: (P, C) each.

    One minus the cosine, so that neither side can shrink the loss by shrinking its vectors.
    """
    if not len(covered):
        return covered.sum() * 0.0
    return (1 - functional.cosine_similarity(covered.float(), bare.detach().float(), dim=1)).mean()


def feature_loss(guess: Tensor, features: Tensor) -> Tensor:
    """Smooth L1 to the teacher's standardised features (B, F); rows of NaN have none and count nothing."""
    known = torch.isfinite(features).all(1)
    away = functional.smooth_l1_loss(guess.float(), features.nan_to_num(0.0), reduction="none").mean(1)
    return (away * known).sum() / known.sum().clamp_min(1)


def soft_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence from a teacher's distribution (B, C) to the network's; rows of NaN count nothing.

    Hinton, Vinyals and Dean, 2015, at temperature 1.
    """
    known = torch.isfinite(target).all(1)
    target = target.nan_to_num(0.0)
    entropy = torch.special.xlogy(target, target).sum(1)
    divergence = entropy - (target * functional.log_softmax(logits.float(), 1)).sum(1)
    return (divergence * known).sum() / known.sum().clamp_min(1)


def _bounds(members: Tensor) -> tuple[Tensor, Tensor]:
    """First and last year of sets (B, 101) of consecutive years."""
    first = members.float().argmax(1).float()
    last = members.shape[1] - 1 - members.flip(1).float().argmax(1).float()
    return first, last
