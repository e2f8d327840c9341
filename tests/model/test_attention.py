import torch

from oamface.model.attention import OcclusionAttention, attended_mean


def test_uncovered_cells_alone_make_the_vector() -> None:
    features = torch.randn(2, 5, 4, 4)
    attention = torch.zeros(2, 1, 4, 4)
    attention[:, :, :2] = 1
    assert torch.allclose(attended_mean(features, attention), features[:, :, :2].mean((2, 3)), atol=1e-5)


def test_a_fainter_map_gives_the_same_vector() -> None:
    features, attention = torch.randn(2, 5, 4, 4), torch.rand(2, 1, 4, 4) + 0.1
    assert torch.allclose(attended_mean(features, attention), attended_mean(features, attention / 2), atol=1e-4)


def test_a_map_of_nothing_is_no_division_by_zero() -> None:
    assert torch.isfinite(attended_mean(torch.randn(1, 5, 3, 3), torch.zeros(1, 1, 3, 3))).all()


def test_shapes() -> None:
    gated, attention = OcclusionAttention(8, squeeze=4, hidden=3)(torch.randn(2, 8, 3, 5))
    assert gated.shape == (2, 8, 3, 5)
    assert attention.shape == (2, 1, 3, 5)
