"""A smaller network out of a trained one, to train on from: pruning with reconstruction (He et al., 2017).

The channels with the largest weights stay (Li et al., 2017), and fewer blocks where fewer are wanted; then every layer
is fitted anew, by least squares on faces, so that what is left computes what the whole one did, also of smaller
images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import OamfaceError
from oamface.models.attention import visible_share
from oamface.models.face_resnet import ATTENDED, Block, Stages
from oamface.models.oam_cnn import FACE, OamCnn, resized

_RIDGE = 1e-3  # of the mean square of what a layer reads: keeps the fit from leaning on what hardly varies
_TOGETHER = 64  # faces
_PLACES = 30  # of each map, that a convolution is fitted on


@torch.no_grad()
def prune(model: OamCnn, backbone_stages: Stages, images: Tensor, size: int) -> OamCnn:
    """A copy of a whole network with the face network's backbone, with fewer channels, blocks or backbone_stages in it.

    images: (N, 3, S, S) as the network takes them, some hundred faces. size: pixels of those that the copy takes.
    Shortcuts carry a stage's channels on as the first of the next, so each stage keeps what the one before kept.
    Raises OamfaceError: another backbone, a network without attention, or one that has less of anything.
    """
    if model.backbone_name != FACE or model.attention is None or not _within(backbone_stages, model.backbone_stages):
        raise OamfaceError(
            f"only a whole {FACE!r} with at least backbone_stages of {backbone_stages} can be pruned to them"
        )
    model.eval()
    small = OamCnn(backbone=FACE, backbone_stages=backbone_stages, tasks=tuple(model.heads)).eval()
    kept = _kept(model, [channels for channels, _ in backbone_stages])
    wide, few = images, resized(images, size)  # what reaches a layer, in both networks
    wide, few = _prune_stem(model.backbone[:3], small.backbone[:3], kept[0], wide, few)  # type: ignore[index]
    for number, (whole, part) in enumerate(zip(_blocks(model), _blocks(small), strict=False)):
        if number == ATTENDED:
            wide, few = _attend(model, small, kept[number - 1], wide, few)
        groups = np.array_split(np.arange(len(whole)), len(part))  # which blocks one of the copy stands for
        for block, group in zip(part, groups, strict=True):
            wide, few = _prune_blocks([whole[at] for at in group], block, kept[number], wide, few)
    for blocks in _blocks(model)[len(backbone_stages) :]:
        wide = nn.Sequential(*blocks)(wide)
    _fit_heads(model, small, wide.mean((2, 3)), few.mean((2, 3)))
    return small


def _within(backbone_stages: Stages, have: Stages) -> bool:
    """Whether there is less of everything, or as much."""
    pairs = zip(backbone_stages, have, strict=False)
    return len(backbone_stages) <= len(have) and all(
        few <= wide for pair in pairs for few, wide in zip(*pair, strict=True)
    )


def _blocks(model: OamCnn) -> list[list[Block]]:
    """By stage."""
    every = [layer for part in (model.backbone, model.neck) for layer in part.children() if isinstance(layer, Block)]
    ends = np.cumsum([blocks for _, blocks in model.backbone_stages])
    return [every[end - blocks : end] for end, (_, blocks) in zip(ends, model.backbone_stages, strict=True)]


def _kept(model: OamCnn, want: Sequence[int]) -> list[Tensor]:
    """Of every stage the channels of its shortcut that stay: those of the stage before, and the strongest others."""
    kept: list[Tensor] = []
    for blocks, few in zip(_blocks(model), want, strict=False):
        written = [_strength(block.second.weight, 0) for block in blocks]
        read = [_strength(block.first.weight, 1) for block in blocks if not block.down]
        strength = torch.stack(written + read).sum(0)
        before = kept[-1] if kept else torch.zeros(0, dtype=torch.long)
        strength[before] = -1
        kept.append(torch.cat([before, _strongest(strength, few - len(before))]))
    return kept


def _prune_stem(stem: nn.Module, small: nn.Module, kept: Tensor, wide: Tensor, few: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the first convolution, if it reads other images, and return what both stems give."""
    (first, *_), (target, *_) = stem.children(), small.children()
    assert isinstance(target, nn.Conv2d)
    if wide.shape == few.shape:
        target.load_state_dict({name: value[kept] for name, value in first.state_dict().items()})
    else:
        _fit(target, few, _in_parts(first, wide)[:, kept])
    return _in_parts(stem, wide), _in_parts(small, few)


def _prune_blocks(
    blocks: Sequence[Block], small: Block, kept: Tensor, wide: Tensor, few: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit a block to some that follow each other, and return what all of these and it give.

    Its second convolution makes up for what the shortcut has lost.
    """
    first, second = blocks[0].first, blocks[0].second
    inner = _strongest(_strength(first.weight, 0) + _strength(second.weight, 1), small.first.out_channels)
    _fit(small.first, few, _in_parts(first, wide)[:, inner])
    for block in blocks:
        added = block.second(functional.relu(block.first(wide)))
        whole = block.join(wide, added)
        wide = functional.relu(whole)
    hidden = functional.relu(_in_parts(small.first, few))
    height, width = hidden.shape[2:]
    short = small.join(few, hidden.new_zeros(len(few), small.second.out_channels, height, width))
    wanted = resized(whole[:, kept], short.shape[2]) - short
    _fit(small.second, hidden, wanted[:, :, :height, :width])  # a shortcut may reach further than the convolutions
    return wide, _in_parts(small, few)


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
    return wide * visible_share(shown), few * visible_share(small.attention.map(few))


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
    side = layer(given[:1]).shape[2]
    read, told = [], []
    for part, goal in zip(given.split(_TOGETHER), resized(wanted, side).split(_TOGETHER), strict=True):
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
    from sklearn.linear_model import Ridge  # takes seconds to import, and most runs prune nothing

    read, told = given.double().numpy(), wanted.double().numpy()
    spread = read.var(0) if constant else (read**2).mean(0)
    ridge = Ridge(_RIDGE * len(read) * spread.mean() + 1e-9, fit_intercept=constant).fit(read, told)
    bias = ridge.intercept_ if constant else np.zeros(told.shape[1])
    return torch.from_numpy(ridge.coef_).float(), torch.from_numpy(bias).float()
