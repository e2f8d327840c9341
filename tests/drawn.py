"""Stores of drawn faces, for tests that need a data set."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.align import template
from oamface.occlusion.sheet import plain_face


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
    chips, rng = drawn_faces(len(names), seed), np.random.default_rng(seed)
    rows = []
    for number, split in enumerate(names):
        gender = ("male", "female")[number % 2]
        chips[number] = chips[number] // 2 if gender == "male" else chips[number]
        age = int(rng.integers(1, 90))
        race = ("White", "Black", "Indian")[number % 3]
        low, high = (age, age) if ages is None else ages
        row = {"name": f"{number}.png", "split": split, "age_low": low, "age_high": high, "gender": [gender]}
        rows.append({**row, "race": [race], "mask": ["none"], "data_set": data_set, "score": 0.9})
    folder.mkdir(parents=True)
    np.save(folder / "chips.npy", chips)
    np.save(folder / "landmarks.npy", np.tile(template(128), (len(names), 1, 1)))
    pq.write_table(pa.Table.from_pylist(rows), folder / "labels.parquet")
    card = {
        "data_set": data_set,
        "source": f"drawn {seed}",
        "size": 128,
        "faces": splits,
        "without_a_face": {"test": 3},
    }
    (folder / "card.json").write_text(json.dumps({**card, "refused": {}}))
    if features:
        np.save(folder / "teacher.npy", rng.normal(size=(len(names), features)).astype(np.float16))
    return folder
