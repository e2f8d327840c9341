"""Prunes a trained network to fewer channels, blocks or stages, by reconstruction (He et al., 2017).

The channels with the largest weights are kept (Li et al., 2017). Then every layer is fitted by least squares on some
faces, so that it reconstructs the features of the original network; also where the pruned one takes smaller images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import OamfaceError
from oamface.models.attention import pooling_weights
from oamface.models.backbones import FACE_RESNET, STAGES_BEFORE_ATTENTION, Block, Stages
from oamface.models.oam_cnn import OamCnn, resize_batch

_RIDGE = 1e-3  # of the mean square of a layer's inputs: the penalty on large weights
_BATCH = 64  # faces
_POSITIONS = 30  # of each feature map, that a convolution is fitted on


@torch.no_grad()
def prune(model: OamCnn, backbone_stages: Stages, images: Tensor, size: int) -> OamCnn:
    """A copy of a network with fewer channels, blocks or stages in its backbone.

    images: (N, 3, S, S) as `model` takes them, some hundred faces. size: pixels of the images that the copy takes.
    Raises OamfaceError: a network without attention or with another backbone, or one that is smaller than that.
    """
    is_face_network = model.backbone_name == FACE_RESNET and model.attention is not None
    if not is_face_network or not _is_smaller(backbone_stages, model.backbone_stages):
        raise OamfaceError(
            f"only a {FACE_RESNET!r} with attention and no smaller stages can be pruned to {backbone_stages}"
        )
    model.eval()
    pruned = OamCnn(backbone=FACE_RESNET, backbone_stages=backbone_stages, tasks=tuple(model.heads)).eval()
    kept = _kept_channels(model, [channels for channels, _ in backbone_stages])
    # The features of both networks, layer after layer.
    features, pruned_features = _prune_stem(
        model.backbone[:3],  # type: ignore[index]
        pruned.backbone[:3],  # type: ignore[index]
        kept[0],
        images,
        resize_batch(images, size),
    )
    for number, (blocks, pruned_blocks) in enumerate(zip(_stages(model), _stages(pruned), strict=False)):
        if number == STAGES_BEFORE_ATTENTION:
            features, pruned_features = _prune_attention(model, pruned, kept[number - 1], features, pruned_features)
        groups = np.array_split(np.arange(len(blocks)), len(pruned_blocks))  # blocks that one of the copy replaces
        for pruned_block, group in zip(pruned_blocks, groups, strict=True):
            replaced = [blocks[index] for index in group]
            features, pruned_features = _prune_blocks(replaced, pruned_block, kept[number], features, pruned_features)
    for blocks in _stages(model)[len(backbone_stages) :]:
        features = nn.Sequential(*blocks)(features)
    _prune_heads(model, pruned, features.mean((2, 3)), pruned_features.mean((2, 3)))
    return pruned


def _is_smaller(stages: Stages, than: Stages) -> bool:
    """Whether no stage has more channels or blocks."""
    pairs = zip(stages, than, strict=False)
    return len(stages) <= len(than) and all(a <= b for pair in pairs for a, b in zip(*pair, strict=True))


def _stages(model: OamCnn) -> list[list[Block]]:
    """The blocks of every stage."""
    layers = [*model.backbone.children(), *model.neck.children()]
    blocks = [layer for layer in layers if isinstance(layer, Block)]
    ends = np.cumsum([count for _, count in model.backbone_stages])
    return [blocks[end - count : end] for end, (_, count) in zip(ends, model.backbone_stages, strict=True)]


def _kept_channels(model: OamCnn, counts: Sequence[int]) -> list[Tensor]:
    """The channels that every stage keeps: those of the stage before, which its shortcuts add to, and the strongest."""
    kept: list[Tensor] = []
    for blocks, count in zip(_stages(model), counts, strict=False):
        outputs = [_strength(block.second.weight, 0) for block in blocks]
        inputs = [_strength(block.first.weight, 1) for block in blocks if not block.down]
        strength = torch.stack(outputs + inputs).sum(0)
        previous = kept[-1] if kept else torch.zeros(0, dtype=torch.long)
        strength[previous] = -1
        kept.append(torch.cat([previous, _strongest(strength, count - len(previous))]))
    return kept


def _prune_stem(
    stem: nn.Module, pruned_stem: nn.Module, kept: Tensor, images: Tensor, pruned_images: Tensor
) -> tuple[Tensor, Tensor]:
    """Prune the first convolution, fitted anew if the image sizes differ; returns both stems' features."""
    (conv, *_), (pruned_conv, *_) = stem.children(), pruned_stem.children()
    assert isinstance(pruned_conv, nn.Conv2d)
    if images.shape == pruned_images.shape:
        pruned_conv.load_state_dict({name: value[kept] for name, value in conv.state_dict().items()})
    else:
        _fit_conv(pruned_conv, pruned_images, _in_batches(conv, images)[:, kept])
    return _in_batches(stem, images), _in_batches(pruned_stem, pruned_images)


def _prune_blocks(
    blocks: Sequence[Block], pruned_block: Block, kept: Tensor, features: Tensor, pruned_features: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit one block in place of some consecutive ones; returns both outputs.

    Its second convolution also makes up for the channels that the shortcut has lost.
    """
    first, second = blocks[0].first, blocks[0].second
    hidden_count = pruned_block.first.out_channels
    hidden_channels = _strongest(_strength(first.weight, 0) + _strength(second.weight, 1), hidden_count)
    _fit_conv(pruned_block.first, pruned_features, _in_batches(first, features)[:, hidden_channels])
    for block in blocks:
        residual = block.second(functional.relu(block.first(features)))
        output = block.add(features, residual)
        features = functional.relu(output)
    hidden = functional.relu(_in_batches(pruned_block.first, pruned_features))
    height, width = hidden.shape[2:]
    no_residual = hidden.new_zeros(len(hidden), pruned_block.second.out_channels, height, width)
    shortcut = pruned_block.add(pruned_features, no_residual)
    target = resize_batch(output[:, kept], shortcut.shape[2]) - shortcut
    # A shortcut may be larger than the convolutions' output.
    _fit_conv(pruned_block.second, hidden, target[:, :, :height, :width])
    return features, _in_batches(pruned_block, pruned_features)


def _prune_attention(
    model: OamCnn, pruned: OamCnn, kept: Tensor, features: Tensor, pruned_features: Tensor
) -> tuple[Tensor, Tensor]:
    """Prune the attention to the kept input channels; returns both networks' features after it."""
    assert model.attention is not None and pruned.attention is not None
    state = model.attention.state_dict()
    for name in ("gate.2.weight", "gate.2.bias"):
        state[name] = state[name][kept]
    for name in ("gate.0.weight", "map.0.weight"):
        state[name] = state[name][:, kept]
    pruned.attention.load_state_dict(state)
    gate_target = model.attention.gate[0](features.mean((2, 3)))
    _fit_linear(pruned.attention.gate[0], pruned_features.mean((2, 3)), gate_target)
    features, attention = model.attention(features)
    pruned_features, _ = pruned.attention(pruned_features)
    conv = pruned.attention.map[0]
    assert isinstance(conv, nn.Conv2d)
    _fit_conv(conv, pruned_features, model.attention.map[0](features))
    pruned_attention = pruned.attention.map(pruned_features)
    return features * pooling_weights(attention), pruned_features * pooling_weights(pruned_attention)


def _prune_heads(model: OamCnn, pruned: OamCnn, embedding: Tensor, pruned_embedding: Tensor) -> None:
    """Fit the first layer of every head to the pruned embedding; the other layers are copied."""
    state = model.heads.state_dict()
    for task in model.heads:  # only for the shape; it is fitted below
        state[f"{task}.0.weight"] = state[f"{task}.0.weight"][:, : pruned_embedding.shape[1]]
    pruned.heads.load_state_dict(state)
    for task, head in model.heads.items():
        pruned_head = pruned.heads[task]
        assert isinstance(head, nn.Sequential) and isinstance(pruned_head, nn.Sequential)
        _fit_linear(pruned_head[0], pruned_embedding, head[0](embedding))


def _strength(weight: Tensor, axis: int) -> Tensor:
    """The L1 norm of every output (axis 0) or input (axis 1) channel of a convolution."""
    return weight.abs().sum([other for other in range(weight.ndim) if other != axis])


def _strongest(strength: Tensor, count: int) -> Tensor:
    """The indices of the `count` largest, in ascending order."""
    return strength.topk(count).indices.sort().values


def _in_batches(layer: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    return torch.cat([layer(batch) for batch in inputs.split(_BATCH)])


def _fit_conv(layer: nn.Conv2d, inputs: Tensor, targets: Tensor) -> None:
    """Fit a convolution to make `targets` of `inputs`, on some positions of every map."""
    assert isinstance(layer.padding, tuple)
    unfold = nn.Unfold(layer.kernel_size, padding=layer.padding, stride=layer.stride)
    size = layer(inputs[:1]).shape[2]
    rows, row_targets = [], []
    for batch, target in zip(inputs.split(_BATCH), resize_batch(targets, size).split(_BATCH), strict=True):
        positions = torch.randperm(target[0, 0].numel())[:_POSITIONS]
        rows.append(unfold(batch)[:, :, positions].permute(0, 2, 1).flatten(0, 1))
        row_targets.append(target.flatten(2)[:, :, positions].permute(0, 2, 1).flatten(0, 1))
    weight, bias = _least_squares(torch.cat(rows), torch.cat(row_targets), with_bias=layer.bias is not None)
    layer.weight.copy_(weight.view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(bias)


def _fit_linear(layer: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    assert isinstance(layer, nn.Linear)
    weight, bias = _least_squares(inputs, targets, with_bias=True)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _least_squares(inputs: Tensor, targets: Tensor, *, with_bias: bool) -> tuple[Tensor, Tensor]:
    """Weights (K, D) and biases (K,) of a ridge regression from (N, D) to (N, K); zero biases unless `with_bias`."""
    from sklearn.linear_model import Ridge  # takes seconds to import, and most runs do not prune

    x, y = inputs.double().numpy(), targets.double().numpy()
    scale = x.var(0) if with_bias else (x**2).mean(0)
    ridge = Ridge(_RIDGE * len(x) * scale.mean() + 1e-9, fit_intercept=with_bias).fit(x, y)
    bias = ridge.intercept_ if with_bias else np.zeros(y.shape[1])
    return torch.from_numpy(ridge.coef_).float(), torch.from_numpy(bias).float()
