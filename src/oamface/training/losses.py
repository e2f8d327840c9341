"""The losses, each a function of tensors.

Every loss is a mean over some of a batch's rows. With several processes that is the mean over the whole batch: see
`masked_mean`.
"""

import torch
from torch import Tensor
from torch.nn import functional

AGE_STD = 2.5  # years by which an exact age label may be wrong, one standard deviation


def partial_label_nll(logits: Tensor, candidates: Tensor) -> Tensor:
    """The negative log-likelihood of the candidate set, over rows whose label excludes anything.

    logits: (B, C). candidates: (B, C) in 0..1, the weight of each class's probability; a row of ones is no label.
    """
    log_probability = functional.log_softmax(logits.float(), 1)
    log_likelihood = torch.logsumexp(log_probability + candidates.clamp_min(1e-9).log(), 1)
    return masked_mean(-log_likelihood, (candidates < 1).any(1))


def smooth_age_candidates(candidates: Tensor) -> Tensor:
    """The weight of every year for candidate masks (B, 101): 1 in a range, a Gaussian around a single year.

    Ages are whole years and estimated by people, so the years next to the label are nearly as right. A range has no
    weight outside: else the years at its ends, which two ranges share, would be the best prediction for either.
    """
    years = torch.arange(candidates.shape[1], dtype=torch.float32, device=candidates.device)
    low, high = _age_range(candidates)
    gaussian = torch.exp(-0.5 * ((years - low[:, None]) / AGE_STD) ** 2)
    return torch.where((low == high)[:, None], gaussian, candidates.float())


def age_mean_loss(logits: Tensor, candidates: Tensor) -> Tensor:
    """The distance in decades between the expected age and the label's range, over rows of known age."""
    age = expected_age(logits)
    low, high = _age_range(candidates)
    distance = (low - age).clamp_min(0) + (age - high).clamp_min(0)
    return masked_mean(distance, ~candidates.all(1)) / 10


def expected_age(logits: Tensor) -> Tensor:
    """(B, 101) logits to (B,) years: the mean of the distribution (DEX, Rothe et al., 2015)."""
    years = torch.arange(logits.shape[1], dtype=torch.float32, device=logits.device)
    return functional.softmax(logits.float(), 1) @ years


def attention_loss(attention: Tensor, occlusion: Tensor, has_occlusion_mask: Tensor) -> Tensor:
    """The cross-entropy between the attention map and the visible part of the face.

    attention: (B, 1, h, w) logits. occlusion: (B, S, S) in 0..1, averaged over the map's cells.
    has_occlusion_mask: (B,) bool, False where it is unknown what occludes the face.
    """
    cells = functional.adaptive_avg_pool2d(occlusion[:, None].float(), (attention.shape[-2], attention.shape[-1]))
    loss = functional.binary_cross_entropy_with_logits(attention.float(), 1 - cells, reduction="none").mean((1, 2, 3))
    return masked_mean(loss, has_occlusion_mask)


def consistency_loss(occluded: Tensor, clean: Tensor) -> Tensor:
    """The cosine distance of occluded faces' embeddings from those of their clean pairs, (P, C) each.

    The clean ones get no gradient.
    """
    distance = 1 - functional.cosine_similarity(occluded.float(), clean.detach().float(), dim=1)
    return masked_mean(distance, torch.ones_like(distance, dtype=torch.bool))


def feature_loss(prediction: Tensor, features: Tensor) -> Tensor:
    """The smooth L1 distance from a teacher's standardised features (B, F); rows of NaN are left out."""
    finite = torch.isfinite(features).all(1)
    distance = functional.smooth_l1_loss(prediction.float(), features.nan_to_num(0.0), reduction="none").mean(1)
    return masked_mean(distance, finite)


def kd_loss(logits: Tensor, soft_labels: Tensor) -> Tensor:
    """The Kullback-Leibler divergence from a teacher's probabilities (B, C); rows of NaN are left out.

    Knowledge distillation (Hinton, Vinyals and Dean, 2015) at temperature 1.
    """
    finite = torch.isfinite(soft_labels).all(1)
    target = soft_labels.nan_to_num(0.0)
    entropy = torch.special.xlogy(target, target).sum(1)
    divergence = entropy - (target * functional.log_softmax(logits.float(), 1)).sum(1)
    return masked_mean(divergence, finite)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values (B,) where mask (B,) is True; 0 where it never is.

    Each of several processes returns its own sum over the mean count of all. So the mean of their losses and gradients,
    which DistributedDataParallel takes, is the exact mean over the whole batch.
    """
    count = mask.sum().float()
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count = count.clamp_min(1) / torch.distributed.get_world_size()
    else:
        count = count.clamp_min(1)
    return (values * mask).sum() / count


def _age_range(candidates: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last candidate year (B,) of masks (B, 101)."""
    first = candidates.float().argmax(1).float()
    last = candidates.shape[1] - 1 - candidates.flip(1).float().argmax(1).float()
    return first, last
