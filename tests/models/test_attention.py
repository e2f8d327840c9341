import torch

from oamface.models.attention import OcclusionAttention, visible_share


def test_covered_cells_count_nothing() -> None:
    features, logits = torch.randn(2, 5, 4, 4), torch.full((2, 1, 4, 4), -30.0)
    logits[:, :, :2] = 30
    assert torch.allclose((features * visible_share(logits)).mean((2, 3)), features[:, :, :2].mean((2, 3)), atol=1e-5)


def test_an_even_map_changes_nothing_however_faint() -> None:
    for logit in (3.0, 0.0, -3.0):
        assert torch.allclose(visible_share(torch.full((2, 1, 3, 3), logit)), torch.ones(()))


def test_a_map_of_nothing_is_no_division_by_zero() -> None:
    assert torch.isfinite(visible_share(torch.full((1, 1, 3, 3), -200.0))).all()


def test_attention_starts_open_and_even() -> None:
    features = torch.randn(2, 8, 3, 5)
    gated, attention = OcclusionAttention(8, squeeze=4, hidden=3)(features)
    assert torch.allclose(gated, features * torch.tensor(3.0).sigmoid())
    assert attention.shape == (2, 1, 3, 5)
    assert (attention == 0).all()
