"""A narrower network out of a trained one, to train on from: channel pruning with reconstruction (He et al., 2017).

The channels with the largest weights stay (Li et al., 2017); then every layer is fitted anew, by least squares on
faces, so that what is left computes what the whole one did.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import OamfaceError
from oamface.model.attention import bare_share
from oamface.model.face_resnet import Block, channels
from oamface.model.oam_cnn import FACE, OamCnn

_RIDGE = 1e-3  # of the mean square of what a layer reads: keeps the fit from leaning on what hardly varies
_TOGETHER = 64  # faces
_PLACES = 30  # of each map, that a convolution is fitted on


@torch.no_grad()
def narrow(model: OamCnn, width: float, pictures: Tensor) -> OamCnn:
    """A copy of a whole network with the face network's trunk, with fewer channels in every layer of it.

    pictures: (N, 3, S, S) as the network takes them, some hundred faces. Shortcuts carry a stage's channels on as the
    first of the next, so each stage keeps what the one before kept.
    Raises OamfaceError: another trunk, a network without attention, or one that is no wider.
    """
    have, want = channels(model.width), channels(width)
    if model.trunk_name != FACE or model.attention is None or want >= have:
        raise OamfaceError(f"only a whole {FACE!r} wider than {width} can be narrowed")
    model.eval()
    small = OamCnn(trunk=FACE, width=width, tasks=tuple(model.heads)).eval()
    assert small.attention is not None
    kept = _kept(model, have, want)
    wide, few = pictures, pictures  # what reaches a layer, in both networks
    for part, other in ((model.trunk, small.trunk), (model.neck, small.neck)):
        if part is model.neck:
            wide, few = _attend(model, small, kept[2], wide, few)
        for layer, target in zip(part.children(), other.children(), strict=True):
            if isinstance(layer, Block):
                assert isinstance(target, Block)
                wide, few = _narrow_block(layer, target, kept[have.index(layer.second.out_channels)], wide, few)
            else:
                if isinstance(layer, nn.Conv2d):  # the stem, which reads the pictures themselves
                    target.load_state_dict({name: value[kept[0]] for name, value in layer.state_dict().items()})
                wide, few = layer(wide), target(few)
    _fit_heads(model, small, wide.mean((2, 3)), few.mean((2, 3)))
    return small


def _kept(model: OamCnn, have: tuple[int, ...], want: tuple[int, ...]) -> list[Tensor]:
    """Of every stage the channels of its shortcut that stay."""
    blocks = [layer for part in (model.trunk, model.neck) for layer in part.children() if isinstance(layer, Block)]
    kept: list[Tensor] = []
    for wide, few in zip(have, want, strict=True):
        stage = [block for block in blocks if block.second.out_channels == wide]
        written = [_strength(block.second.weight, 0) for block in stage]
        read = [_strength(block.first.weight, 1) for block in stage if block.first.in_channels == wide]
        strength = torch.stack(written + read).sum(0)
        before = kept[-1] if kept else torch.zeros(0, dtype=torch.long)
        new = torch.arange(have[len(kept) - 1] if kept else 0, wide)
        kept.append(torch.cat([before, new[_strongest(strength[new], few - len(before))]]))
    return kept


def _narrow_block(block: Block, small: Block, kept: Tensor, wide: Tensor, few: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a block and return what both give. Its second convolution makes up for what the shortcut has lost."""
    inner = _strongest(_strength(block.first.weight, 0) + _strength(block.second.weight, 1), small.first.out_channels)
    _fit(small.first, few, _in_parts(block.first, wide)[:, inner])
    added = _in_parts(lambda part: block.second(functional.relu(block.first(part))), wide)
    whole = block.join(wide, added)
    height, width = added.shape[2:]
    short = small.join(few, added.new_zeros(len(few), small.second.out_channels, height, width))
    wanted = (whole[:, kept] - short)[:, :, :height, :width]  # a shortcut may reach further than the convolutions
    _fit(small.second, functional.relu(_in_parts(small.first, few)), wanted)
    return functional.relu(whole), _in_parts(small, few)


def _attend(model: OamCnn, small: OamCnn, seen: Tensor, wide: Tensor, few: Tensor) -> tuple[Tensor, Tensor]:
    """Give the small network the whole one's attention, and return what both let through."""
    assert model.attention is not None and small.attention is not None
    state = model.attention.state_dict()
    for name in ("gate.2.weight", "gate.2.bias"):
        state[name] = state[name][seen]
    for name in ("gate.0.weight", "map.0.weight"):
        state[name] = state[name][:, seen]
    small.attention.load_state_dict(state)
    _fit_linear(small.attention.gate[0], few.mean((2, 3)), model.attention.gate[0](wide.mean((2, 3))))
    wide, shown = model.attention(wide)
    few, _ = small.attention(few)
    entry = small.attention.map[0]
    assert isinstance(entry, nn.Conv2d)
    _fit(entry, few, model.attention.map[0](wide))
    return wide * bare_share(shown), few * bare_share(small.attention.map(few))


def _fit_heads(model: OamCnn, small: OamCnn, wide: Tensor, few: Tensor) -> None:
    """The heads read of the small vector what the whole one would have told them."""
    state = model.heads.state_dict()
    for task in model.heads:  # only the shape counts: what reads the vector is fitted below
        state[f"{task}.0.weight"] = state[f"{task}.0.weight"][:, : few.shape[1]]
    small.heads.load_state_dict(state)
    for task, head in model.heads.items():
        own = small.heads[task]
        assert isinstance(head, nn.Sequential) and isinstance(own, nn.Sequential)
        _fit_linear(own[0], few, head[0](wide))


def _strength(weight: Tensor, axis: int) -> Tensor:
    """Of every output (axis 0) or input (axis 1) channel of a convolution."""
    return weight.abs().sum([other for other in range(weight.ndim) if other != axis])


def _strongest(strength: Tensor, count: int) -> Tensor:
    """The places of the `count` largest, in their order."""
    return strength.topk(count).indices.sort().values


def _in_parts(layer: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    return torch.cat([layer(part) for part in given.split(_TOGETHER)])


def _fit(layer: nn.Conv2d, given: Tensor, wanted: Tensor) -> None:
    """The convolution that comes nearest to making `wanted` of `given`, on some places of every map."""
    assert isinstance(layer.padding, tuple)
    unfold = nn.Unfold(layer.kernel_size, padding=layer.padding, stride=layer.stride)
    read, told = [], []
    for part, goal in zip(given.split(_TOGETHER), wanted.split(_TOGETHER), strict=True):
        places = torch.randperm(goal[0, 0].numel())[:_PLACES]
        read.append(unfold(part)[:, :, places].permute(0, 2, 1).flatten(0, 1))
        told.append(goal.flatten(2)[:, :, places].permute(0, 2, 1).flatten(0, 1))
    weight, bias = _least_squares(torch.cat(read), torch.cat(told), constant=layer.bias is not None)
    layer.weight.copy_(weight.view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(bias)


def _fit_linear(layer: nn.Module, given: Tensor, wanted: Tensor) -> None:
    assert isinstance(layer, nn.Linear)
    weight, bias = _least_squares(given, wanted, constant=True)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _least_squares(given: Tensor, wanted: Tensor, *, constant: bool) -> tuple[Tensor, Tensor]:
    """(N, D) to (N, K): weights (K, D) and biases (K,), zeros unless `constant`, of a ridge regression."""
    from sklearn.linear_model import Ridge  # takes seconds to import, and most runs narrow nothing

    read, told = given.double().numpy(), wanted.double().numpy()
    spread = read.var(0) if constant else (read**2).mean(0)
    ridge = Ridge(_RIDGE * len(read) * spread.mean() + 1e-9, fit_intercept=constant).fit(read, told)
    bias = ridge.intercept_ if constant else np.zeros(told.shape[1])
    return torch.from_numpy(ridge.coef_).float(), torch.from_numpy(bias).float()
