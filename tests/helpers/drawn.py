"""Stores of drawn faces, and weights drawn by lot, for tests that need a data set or a network's file."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from oamface.alignment import template
from oamface.datasets.store import FORMAT
from oamface.occlusion.contact_sheet import plain_face

# One variant of a network that trains in a moment.
SMALL_STUDY = """
[common]
backbone = "face-resnet"
backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1], [64, 1]]
samples_per_epoch = 32
phases = [{ image_size = 103, epochs = 1, batch_size = 16 }]
[variants.full]
"""


def drawn_faces(count: int, seed: int = 0) -> np.ndarray:
    """(count, 128, 128, 3): the drawn face, each under its own blots, so that none passes for a copy of another."""
    rng, face = np.random.default_rng(seed), plain_face(128)[0]
    blots = [cv2.resize(rng.normal(0, 60, (6, 6, 3)).astype(np.float32), (128, 128)) for _ in range(count)]
    return np.stack([np.clip(face + blot, 0, 255).astype(np.uint8) for blot in blots])


def write_store(
    folder: Path,
    *,
    data_set: str = "utkface",
    splits: dict[str, int] | None = None,
    ages: tuple[int, int] | None = None,
    features: int = 0,
    seed: int = 0,
) -> Path:
    """A whole store: splits says how many faces of each; men are darkened, so that there is something to learn."""
    splits = splits or {"train": 40, "calibrate": 20, "test": 12}
    names = [split for split, count in splits.items() for _ in range(count)]
    crops, rng = drawn_faces(len(names), seed), np.random.default_rng(seed)
    rows = []
    for number, split in enumerate(names):
        gender = ("male", "female")[number % 2]
        crops[number] = crops[number] // 2 if gender == "male" else crops[number]
        age = int(rng.integers(1, 90))
        race = ("White", "Black", "Indian")[number % 3]
        low, high = (age, age) if ages is None else ages
        row = {"name": f"{number}.png", "split": split, "age_low": low, "age_high": high, "gender": [gender]}
        rows.append({**row, "race": [race], "mask": ["none"], "data_set": data_set, "score": 0.9})
    folder.mkdir(parents=True)
    np.save(folder / "crops.npy", crops)
    np.save(folder / "landmarks.npy", np.tile(template(128), (len(names), 1, 1)))
    pq.write_table(pa.Table.from_pylist(rows), folder / "labels.parquet")
    card = {"format": FORMAT, "data_set": data_set, "digest": f"drawn {seed}", "size": 128, "faces": splits}
    (folder / "card.json").write_text(json.dumps({**card, "undetected": {"test": 3}, "skipped": {}}))
    if features:
        np.save(folder / "features.npy", rng.normal(size=(len(names), features)).astype(np.float16))
    return folder


def serialised(network: nn.Module, rng: np.random.Generator) -> tuple[bytes, list[tuple[np.ndarray, ...]]]:
    """Random weights of a FaceResNet in dlib's format, with other bytes between the tensors, and what was written."""
    data, written = b"\x01\x01\x01\x0dloss_metric_2", []

    def tensor(values: np.ndarray) -> bytes:
        size = values.size.to_bytes((values.size.bit_length() + 7) // 8, "little")
        return b"\x01\x02" + bytes([len(size)]) + size + b"\x01\x01" * 3 + values.astype("<f4").tobytes()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            kernel, bias = rng.normal(0, 0.05, layer.weight.shape), rng.normal(0, 0.1, layer.out_channels)
            scale, shift = rng.uniform(0.5, 1.5, layer.out_channels), rng.normal(0, 0.1, layer.out_channels)
            written.append((kernel, bias, scale, shift))
            data += rng.bytes(37) + tensor(np.concatenate([kernel.ravel(), bias]))
            data += rng.bytes(11) + tensor(np.concatenate([scale, shift]))
    return data, written
