"""A narrower network out of a trained one: the channels with the largest weights (Li et al., 2017), to train on."""

import torch
from torch import Tensor, nn

from oamface.errors import OamfaceError
from oamface.model.face_resnet import Block, channels
from oamface.model.oam_cnn import FACE, OamCnn


@torch.no_grad()
def narrow(model: OamCnn, width: float) -> OamCnn:
    """A copy of a whole network with the face network's trunk, with fewer channels in every layer of it.

    Shortcuts carry a stage's channels on as the first of the next, so each stage keeps what the one before kept.
    Raises OamfaceError: another trunk, a network without attention, or one that is no wider.
    """
    have, want = channels(model.width), channels(width)
    if model.trunk_name != FACE or model.attention is None or want >= have:
        raise OamfaceError(f"only a whole {FACE!r} wider than {width} can be narrowed")
    layers = [layer for part in (model.trunk, model.neck) for layer in part.children()]
    stem, blocks = layers[0], [layer for layer in layers if isinstance(layer, Block)]
    assert isinstance(stem, nn.Conv2d)
    kept: list[Tensor] = []  # of every stage, which channels of its shortcut
    for wide, few in zip(have, want, strict=True):
        stage = [block for block in blocks if block.second.out_channels == wide]
        written = [_strength(block.second.weight, 0) for block in stage]
        read = [_strength(block.first.weight, 1) for block in stage if block.first.in_channels == wide]
        strength = torch.stack(written + read).sum(0)
        before = kept[-1] if kept else torch.zeros(0, dtype=torch.long)
        new = torch.arange(have[len(kept) - 1] if kept else 0, wide)
        kept.append(torch.cat([before, new[_strongest(strength[new], few - len(before))]]))
    of = dict(zip(have, kept, strict=True))
    small = OamCnn(trunk=FACE, width=width, tasks=tuple(model.heads))
    assert small.attention is not None
    targets = [layer for part in (small.trunk, small.neck) for layer in part.children()]
    _take(targets[0], stem, of[have[0]], torch.arange(3))
    for one, other in zip((layer for layer in targets if isinstance(layer, Block)), blocks, strict=True):
        inner = _strongest(_strength(other.first.weight, 0) + _strength(other.second.weight, 1), one.first.out_channels)
        _take(one.first, other.first, inner, of[other.first.in_channels])
        _take(one.second, other.second, of[other.second.out_channels], inner)
    seen, told = of[have[2]], of[have[3]]
    state = model.state_dict()
    for name, rows, columns in (
        ("attention.gate.0.weight", None, seen),
        ("attention.gate.2.weight", seen, None),
        ("attention.gate.2.bias", seen, None),
        ("attention.map.0.weight", None, seen),
        *((f"heads.{task}.0.weight", None, told) for task in model.heads),
    ):
        if rows is not None:
            state[name] = state[name][rows]
        if columns is not None:
            state[name] = state[name][:, columns]
    trunk = {name: value for name, value in small.state_dict().items() if name.startswith(("trunk.", "neck."))}
    small.load_state_dict(state | trunk)
    return small.eval()


def _strength(weight: Tensor, axis: int) -> Tensor:
    """Of every output (axis 0) or input (axis 1) channel of a convolution."""
    return weight.abs().sum([other for other in range(weight.ndim) if other != axis])


def _strongest(strength: Tensor, count: int) -> Tensor:
    """The places of the `count` largest, in their order."""
    return strength.topk(count).indices.sort().values


def _take(small: nn.Module, whole: nn.Conv2d, rows: Tensor, columns: Tensor) -> None:
    """Fill a convolution with some of the channels of another."""
    assert isinstance(small, nn.Conv2d) and small.bias is not None and whole.bias is not None
    small.weight.copy_(whole.weight[rows][:, columns])
    small.bias.copy_(whole.bias[rows])
