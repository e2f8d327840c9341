"""The network before its first step: from random weights, a pretrained backbone, a checkpoint or a model file."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor

from oamface.errors import ModelError, OamfaceError, TrainError
from oamface.labels import TASKS
from oamface.models.backbones import DLIB_STAGES, FACE_RESNET, FaceResNet, load_dlib_weights
from oamface.models.oam_cnn import OamCnn, normalise, resize_batch
from oamface.models.onnx_import import is_model_file, recalibrate_batchnorm
from oamface.models.pruning import prune
from oamface.preprocessing import Preprocessing
from oamface.training.checkpoint import BEST_MODEL, EMA_MODEL, load_network, read_progress
from oamface.training.config import Recipe
from oamface.training.dataset import FaceDataset, epoch_batches

RECALIBRATION_FACES = 2000  # on which the batch norms of a model file are recalibrated
PRUNING_FACES = 768  # of these, on which a pruned network is fitted


def initial_model(recipe: Recipe, faces: FaceDataset, *, resuming: bool = False) -> OamCnn:
    """The recipe's network with the initial weights that recipe.pretrained names.

    A model file such as "oam", or the checkpoint of a face network with other stages, gives all weights; it is pruned
    if the recipe's backbone_stages are others, and its batch norms are recalibrated on some of the faces unless the
    backbone is frozen (neither when resuming: the checkpoint has them). For the other names see `load_pretrained`.
    Raises OamfaceError: they do not fit the network; TrainError: likewise, of a model file or a checkpoint that would
    be pruned.
    """
    torch.manual_seed(recipe.seed)
    model = OamCnn(
        backbone=recipe.backbone,
        backbone_stages=recipe.backbone_stages,
        tasks=recipe.tasks,
        attention=recipe.attention,
        crop_box=recipe.crop_box,
        dropout=recipe.dropout,
    )
    if not is_model_file(recipe.pretrained) and not _has_other_stages(recipe):
        load_pretrained(model, recipe.pretrained)
        return model
    if recipe.backbone != FACE_RESNET or set(recipe.tasks) != set(TASKS) or not recipe.attention:
        raise TrainError(
            f"recipe {recipe.name}: {recipe.pretrained} has the backbone {FACE_RESNET!r}, with attention and all tasks"
        )
    pretrained, progress = load_network(Path(recipe.pretrained))
    if not resuming:
        size = progress["recipe"]["phases"][-1]["image_size"]
        model.load_state_dict(_adapt(pretrained, size, recipe, faces, model.preprocessing).state_dict())
    return model


def _has_other_stages(recipe: Recipe) -> bool:
    """Whether the recipe starts from the checkpoint of a face network with other stages than its own."""
    if recipe.backbone != FACE_RESNET or recipe.pretrained in ("scratch", "hub", "package"):
        return False
    try:
        other = read_progress(Path(recipe.pretrained))["recipe"]
    except ModelError:  # weights of a backbone alone, or no file at all: see load_pretrained
        return False
    stages = tuple(tuple(stage) for stage in other.get("backbone_stages", ())) or DLIB_STAGES
    return other.get("backbone") == FACE_RESNET and stages != (recipe.backbone_stages or DLIB_STAGES)


def _adapt(pretrained: OamCnn, size: int, recipe: Recipe, faces: FaceDataset, preprocessing: Preprocessing) -> OamCnn:
    """A network for images of `size` pixels, pruned to the recipe's stages, with batch norms for training."""
    phase, stages = recipe.phases[0], recipe.backbone_stages or DLIB_STAGES
    if recipe.freeze_backbone and pretrained.backbone_stages == stages:
        return pretrained
    settings = replace(recipe, samples_per_epoch=RECALIBRATION_FACES, clean_pair_probability=0.0)
    batches = epoch_batches(faces, settings, phase, 0, preprocessing)
    images: Iterator[Tensor] = (normalise(batch.images, preprocessing) for batch in batches)
    if pretrained.backbone_stages != stages:
        first = list(islice(images, -(-PRUNING_FACES // phase.batch_size)))
        pruning_images = resize_batch(torch.cat(first)[:PRUNING_FACES], size)
        pretrained = prune(pretrained, stages, pruning_images, phase.image_size)
        images = chain(first, images)
    recalibrate_batchnorm(pretrained, images)
    return pretrained


def load_pretrained(model: OamCnn, pretrained: str) -> None:
    """Load initial weights into a network.

    pretrained: "scratch" (none), "hub" (the backbone from timm's ImageNet weights), "package" (dlib's face network from
    the installed face-recognition-models), or a safetensors file: timm's weights of the whole backbone network, or a
    checkpoint of oamface, of whose best or EMA model the backbone and every head that the network has is loaded.
    Raises OamfaceError: no such file, or weights of another architecture.
    """
    if pretrained == "scratch":
        return
    if pretrained == "package":
        if model.backbone_stages != DLIB_STAGES:
            raise OamfaceError(f'pretrained "package" is for the backbone {FACE_RESNET!r} with dlib\'s own stages')
        network = FaceResNet()
        load_dlib_weights(network)
        model.backbone.load_state_dict(network.early.state_dict())
        model.neck.load_state_dict(network.late.state_dict())
        return
    try:
        weights = _read_weights(pretrained, model.backbone_name)
        prefix = f"{BEST_MODEL if any(name.startswith(BEST_MODEL) for name in weights) else EMA_MODEL}/"
        trained = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if not trained:
            model.backbone.load_state_dict({name: weights[name] for name in model.backbone.state_dict()})
            return
        state = model.state_dict()
        names = [name for name in state if name in trained or name.startswith(("backbone.", "neck."))]
        model.load_state_dict(state | {name: trained[name] for name in names})
    except KeyError as error:
        raise OamfaceError(f"{pretrained}: not weights of a {model.backbone_name}, {error} is missing") from error
    except Exception as error:  # huggingface_hub, safetensors and torch have no common exception
        raise OamfaceError(f"{pretrained}: cannot start from these weights ({error})") from error


def _read_weights(pretrained: str, backbone: str) -> dict[str, Tensor]:
    if pretrained == "hub":
        import timm

        weights: dict[str, Tensor] = timm.create_model(backbone, pretrained=True).state_dict()
        return weights
    from safetensors.torch import load_file

    return load_file(Path(pretrained))
