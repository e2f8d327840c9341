import torch

from oamface.models.attention import OcclusionAttention, pooling_weights


def test_occluded_cells_have_no_weight() -> None:
    features, logits = torch.randn(2, 5, 4, 4), torch.full((2, 1, 4, 4), -30.0)
    logits[:, :, :2] = 30
    assert torch.allclose((features * pooling_weights(logits)).mean((2, 3)), features[:, :, :2].mean((2, 3)), atol=1e-5)


def test_uniform_map_gives_uniform_weights() -> None:
    for logit in (3.0, 0.0, -3.0):
        assert torch.allclose(pooling_weights(torch.full((2, 1, 3, 3), logit)), torch.ones(()))


def test_map_of_zeros_gives_finite_weights() -> None:
    assert torch.isfinite(pooling_weights(torch.full((1, 1, 3, 3), -200.0))).all()


def test_attention_is_nearly_an_identity_at_first() -> None:
    features = torch.randn(2, 8, 3, 5)
    gated, attention = OcclusionAttention(8, squeeze=4, hidden=3)(features)
    assert torch.allclose(gated, features * torch.tensor(3.0).sigmoid())
    assert attention.shape == (2, 1, 3, 5)
    assert (attention == 0).all()
