from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from hypothesis import settings

from helpers.drawn import write_store
from oamface.images import RGBImage
from oamface.occlusion.contact_sheet import plain_face

settings.register_profile("oamface", deadline=None)  # a busy machine is no failure
settings.load_profile("oamface")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Slow tests first: last of all they would leave one of two workers idle.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def portrait() -> RGBImage:
    """A NASA portrait in the public domain, (512, 512, 3), one face."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def face() -> tuple[RGBImage, np.ndarray]:
    """A drawn face of nobody as a crop, and its landmarks."""
    return plain_face(128)


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "drawn")


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a network that was never trained, for 32-pixel crops."""
    import torch

    from oamface.export.onnx import describe, trace, write_model
    from oamface.models.oam_cnn import OamCnn

    torch.manual_seed(0)
    model, path = OamCnn(backbone="resnet18"), tmp_path_factory.mktemp("model") / "untrained.onnx"
    recipe = {"name": "none", "phases": [], "repeat": {}, "occlusion_probability": 0.5, "pretrained": "scratch"}
    description = describe(model, 32, [{"recipe": recipe, "data": {}, "step": 0, "steps": 0}])
    write_model(path, trace(model, 32), {**description, "intervals": {"level": 0.9, "quantiles": [1.5] * 101}})
    return path


@pytest.fixture(scope="session")
def head_model() -> Any:
    """anny's heads, loaded once for all tests."""
    pytest.importorskip("anny", reason="synthetic people need anny: oamface[synth]")
    from oamface.synthetic.head import HeadModel

    return HeadModel()
