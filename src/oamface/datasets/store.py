"""A prepared data set: aligned crops on disk, with landmarks, labels and a card of what was read and refused."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.alignment import CROP_SIZE, align, apply, crop_face, crop_transform
from oamface.analyzer import assumed
from oamface.atomic import make_folder, write_text, write_whole
from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry
from oamface.detection import Box, Detection, Detector, nearest, prominent
from oamface.errors import DataError, OamfaceError, StoreError
from oamface.images import RGBImage, read_image
from oamface.labels import Label

FORMAT = 1
WANTED = 0.25  # least intersection over union with the box that a data set names
UNDETECTED = "undetected"  # where a store keeps what detection was taken away from, and the split of what had none
PART = 500  # images whose work is lost at most when preparing is interrupted

Prepared = tuple[RGBImage, npt.NDArray[np.float64], float]  # crop, landmarks in the crop, score


class Shards:
    """The crops (N, S, S, 3) of several stores, one after the other, which stay memory-mapped where they lie."""

    def __init__(self, parts: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[RGBImage]:
        return chain.from_iterable(self._parts)

    def __getitem__(self, at: int | slice) -> npt.NDArray[np.uint8]:
        if isinstance(at, slice):
            rows = [self[row] for row in range(*at.indices(len(self)))]
            return np.array(rows, np.uint8).reshape(-1, *self.shape[1:])
        row = range(len(self))[at]  # or IndexError
        part = int(np.searchsorted(self._ends, row, "right"))
        return self._parts[part][row - int(self._ends[part])]  # counted from the part's end


@dataclass(frozen=True)
class Store:
    """An opened store of N faces.

    crops: (N, S, S, 3) uint8 RGB, memory-mapped. landmarks: (N, 5, 2) float32, in the crop's pixels.
    names, splits: N strings each. labels: N labels. card: what was read, what was refused and why.
    features: (N, F) float16 of a frozen teacher, rows of NaN where it saw no face, or None (see attach_features).
    undetected: a store of crops cut as if no face had been detected, or None where it was prepared without. Its split
    "calibrate" are the same faces as this store's, with the landmarks that were found; "undetected" are faces of the
    training and calibration parts that really were not detected, with assumed landmarks.
    """

    crops: npt.NDArray[np.uint8] | Shards
    landmarks: npt.NDArray[np.float32]
    names: list[str]
    splits: list[str]
    labels: list[Label]
    card: dict[str, Any]
    features: npt.NDArray[np.float16] | None = None
    undetected: "Store | None" = None

    @classmethod
    def open(cls, folder: Path, *, size: int | None = None) -> Self:
        """Raises StoreError: not a whole store, or (where size is given) crops of another size."""
        try:
            card = json.loads((folder / "card.json").read_text())
            crops = np.load(folder / "crops.npy", mmap_mode="r", allow_pickle=False)
            landmarks = np.load(folder / "landmarks.npy", allow_pickle=False)
            rows = pq.read_table(folder / "labels.parquet").to_pylist()
            labels = [_label(row) for row in rows]
            taught = folder / "teacher.npy"
            features = np.load(taught, allow_pickle=False) if taught.exists() else None
            blind = folder / UNDETECTED
            undetected = Store.open(blind, size=size) if blind.exists() else None
        except (OSError, ValueError, KeyError, EOFError, TokenError, pa.ArrowException) as error:
            raise StoreError(f"{folder}: not a whole store ({error}); run oamface's prepare again") from error
        if not len(crops) == len(landmarks) == len(rows):
            raise StoreError(f"{folder}: {len(crops)} crops, {len(landmarks)} landmarks and {len(rows)} labels differ")
        if size is not None and crops.shape[1:] != (size, size, 3):
            raise StoreError(f"{folder}: its crops are {crops.shape[1:]}, expected {(size, size, 3)}; prepare it again")
        if features is not None and (features.ndim != 2 or len(features) != len(rows)):
            raise StoreError(f"{taught}: expected one row for each of {len(rows)} faces, got {features.shape}")
        names, splits = [row["name"] for row in rows], [row["split"] for row in rows]
        return cls(crops, landmarks, names, splits, labels, card, features, undetected)


def open_stores(folders: Sequence[Path], *, size: int | None = None) -> list[Store]:
    """Several stores, one for each data set: those of one data set are its shards and become one.

    Raises StoreError: see Store.open; or shards that hold the same, or differ in the size of their crops or features.
    """
    found: dict[str, list[Store]] = {}
    for folder in folders:
        store = Store.open(folder, size=size)
        found.setdefault(store.card["data_set"], []).append(store)
    return [shards[0] if len(shards) == 1 else _joined(data_set, shards) for data_set, shards in found.items()]


def _joined(data_set: str, shards: list[Store]) -> Store:
    """Always in the same order, in whichever the shards were named."""
    shards = sorted(shards, key=lambda store: str(store.card["source"]))
    sources = [store.card["source"] for store in shards]
    if len(set(sources)) < len(sources):
        raise StoreError(f"two stores of {data_set} were made from the same source; name each once")
    widths = {store.features.shape[1] for store in shards if store.features is not None}
    if len({store.crops.shape[1:] for store in shards}) > 1 or len(widths) > 1:
        raise StoreError(f"the shards of {data_set} differ in the size of their crops or features; prepare them alike")
    features = [
        np.full((len(store.crops), *widths), np.nan, np.float16) if store.features is None else store.features
        for store in shards
    ]
    undetected = [store.undetected for store in shards if store.undetected is not None]
    return Store(
        Shards([store.crops for store in shards if not isinstance(store.crops, Shards)]),
        np.concatenate([store.landmarks for store in shards]),
        [name for store in shards for name in store.names],
        [split for store in shards for split in store.splits],
        [label for store in shards for label in store.labels],
        {
            **shards[0].card,
            "source": hashlib.sha256("\n".join(sources).encode()).hexdigest(),
            "faces": _sum(store.card["faces"] for store in shards),
            "undetected": _sum(store.card["undetected"] for store in shards),
            "refused": {name: why for store in shards for name, why in store.card["refused"].items()},
        },
        np.concatenate(features) if widths else None,
        _joined(data_set, undetected) if len(undetected) == len(shards) else None,
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(total)


def prepare(
    path: Path,
    read: Callable[[Source], Catalogue],
    out: Path,
    *,
    size: int = CROP_SIZE,
    workers: int = os.cpu_count() or 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Detect, align and store the most prominent face of every image that `read` finds in a folder or archive.

    Interrupted at any moment it goes on where it was, at most PART images back. What cannot be read or shows no
    face is refused and listed in the card, which is returned. on_progress gets the images done and their number.
    Raises DataError (source), StoreError (`out` holds another data set or size), FileError (cannot be written).
    """
    with Source(path) as source:
        catalogue = read(source)
        if not catalogue.entries:
            raise DataError(f"{path}: holds no image of {catalogue.data_set}; is it in its published layout?")
        parts = out / "parts"
        make_folder(out)
        _claim(out / "progress.json", _identity(catalogue, size))
        if (out / "card.json").exists():
            return Store.open(out, size=size).card
        make_folder(parts)
        detector, total = Detector(threads=1), len(catalogue.entries)
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, total, PART):
                entries = catalogue.entries[start : start + PART]
                part = parts / f"{start:08d}.npz"
                if not part.exists():
                    done = list(pool.map(lambda entry: _prepare(source, entry, detector, size), entries))
                    write_whole(part, partial(_save_part, done=done, size=size))
                on_progress(min(start + PART, total), total)
        return _join(out, catalogue)


def attach_features(folder: Path, table: Path) -> int:
    """Keep a frozen teacher's features beside the crops; returns how many faces got a row.

    table: .npz with `path` (names inside the data set's source) and `features` (rows, F).
    Raises StoreError (no such store or table, or one that knows none of the store's faces), FileError.
    """
    store = Store.open(folder)
    try:
        with np.load(table, allow_pickle=False) as arrays:
            names, features = arrays["path"].astype(np.str_), arrays["features"].astype(np.float16)
        at = {str(name): row for row, name in enumerate(names)}
        rows = np.array([at.get(name, -1) for name in store.names])
        known = rows >= 0
        kept = np.full((len(rows), features.shape[1]), np.nan, np.float16)
        kept[known] = features[rows[known]]
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, BadZipFile) as error:
        raise StoreError(f"{table}: no table of teacher features ({error})") from error
    if not known.any():
        raise StoreError(f"{table}: knows none of the faces of {folder}; was it made from the same archive?")
    keep_features(folder, kept)
    return int(known.sum())


def keep_features(folder: Path, features: npt.NDArray[np.float16]) -> None:
    """Lay a frozen teacher's features (N, F), one row for each face of a store, beside its crops. Raises FileError."""
    write_whole(folder / "teacher.npy", partial(np.save, arr=features))


def _prepare(source: Source, entry: Entry, detector: Detector, size: int) -> tuple[Prepared | str, Prepared | None]:
    """The face of one image, or the reason why there is none; and what `_undetected` gives of it."""
    try:
        image = read_image(source.read(entry.name))
        face = _meant(detector.detect(image), image, entry.box)
        blind = _undetected(image, entry, face, size)
        if face is None:
            return "no face found", blind
        return (*align(image, face.landmarks, size), face.score), blind
    except OamfaceError as error:
        return str(error), None


def _undetected(image: RGBImage, entry: Entry, face: Detection | None, size: int) -> Prepared | None:
    """What calibrates the ages of undetected faces: the crop as `assumed` places it, or None.

    Of images that are one face of known age: those of the calibration part, and those of the training part in which
    no face was detected, which were never trained on.
    """
    calibrates = entry.split == "calibrate" or (face is None and entry.split == "train")
    if not calibrates or entry.box is not None or entry.label.age == Label().age:
        return None
    blind = assumed((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), crop=True)
    seen = blind if face is None else face
    landmarks = apply(seen.landmarks, crop_transform(blind.landmarks, size))
    return crop_face(image, blind.landmarks, size), landmarks, seen.score


def _meant(faces: list[Detection], image: RGBImage, box: Box | None) -> Detection | None:
    """The face that the data set speaks of: the one in its box, or else the most prominent."""
    if box is None:
        return prominent(faces, image) if faces else None
    return nearest(faces, box, WANTED)


def _save_part(file: IO[bytes], done: list[tuple[Prepared | str, Prepared | None]], size: int) -> None:
    found = _columns([item for item, _ in done if not isinstance(item, str)], size)
    blind = _columns([item for _, item in done if item is not None], size)
    arrays: dict[str, Any] = found | {f"{UNDETECTED}_{key}": values for key, values in blind.items()}
    arrays["reasons"] = np.array([item if isinstance(item, str) else "" for item, _ in done], np.str_)
    arrays[UNDETECTED] = np.array([item is not None for _, item in done], bool)
    np.savez(file, **arrays)


def _columns(items: list[Prepared], size: int) -> dict[str, npt.NDArray[Any]]:
    return {
        "crops": np.array([item[0] for item in items], np.uint8).reshape(-1, size, size, 3),
        "landmarks": np.array([item[1] for item in items], np.float32).reshape(-1, 5, 2),
        "scores": np.array([item[2] for item in items], np.float32),
    }


def save_store(
    out: Path,
    catalogue: Catalogue,
    crops: npt.NDArray[np.uint8],
    landmarks: npt.NDArray[np.float32],
    scores: npt.NDArray[np.floating],
    *,
    refused: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write a store of faces that are aligned already, into a folder that exists, and return its card.

    crops (N, S, S, 3), landmarks (N, 5, 2) in their pixels, the detector's scores (N,): of the catalogue's entries
    in order, without those that have a reason in `refused` (one for each entry, "" for none). Raises FileError.
    """
    reasons = refused if refused is not None else [""] * len(catalogue.entries)
    kept = [entry for entry, reason in zip(catalogue.entries, reasons, strict=True) if not reason]
    lost = {entry.name: str(reason) for entry, reason in zip(catalogue.entries, reasons, strict=True) if reason}
    write_whole(out / "crops.npy", partial(np.save, arr=crops))
    write_whole(out / "landmarks.npy", partial(np.save, arr=landmarks))
    rows = [
        {**_row(entry), "data_set": catalogue.data_set, "score": float(score)}
        for entry, score in zip(kept, scores, strict=True)
    ]
    write_whole(out / "labels.parquet", lambda file: pq.write_table(pa.Table.from_pylist(rows), file))
    card = {
        **_identity(catalogue, crops.shape[1]),
        "faces": dict(Counter(entry.split for entry in kept)),
        "undetected": dict(Counter(entry.split for entry in catalogue.entries if entry.name in lost)),
        "refused": catalogue.refused | lost,
    }
    write_text(out / "card.json", json.dumps(card, indent=1))
    return card


def _identity(catalogue: Catalogue, size: int) -> dict[str, Any]:
    """What a store is of, and of which version."""
    return {"format": FORMAT, "data_set": catalogue.data_set, "size": size, "source": _digest(catalogue)}


def _join(out: Path, catalogue: Catalogue) -> dict[str, Any]:
    """Lay the parts together; the card comes last, so that a store with a card is whole."""
    loaded = []
    for start in range(0, len(catalogue.entries), PART):
        with np.load(out / "parts" / f"{start:08d}.npz", allow_pickle=False) as part:
            loaded.append({key: part[key] for key in part.files})
    keys = loaded[0].keys() & loaded[-1].keys()  # an older version's parts lack some
    joined = {key: np.concatenate([part[key] for part in loaded]) for key in keys}
    if joined.get(UNDETECTED, np.zeros(0)).any():
        _keep_undetected(out / UNDETECTED, catalogue, joined)
    arrays = (joined[key] for key in ("crops", "landmarks", "scores"))
    card = save_store(out, catalogue, *arrays, refused=joined["reasons"].tolist())
    for part_file in (out / "parts").iterdir():
        part_file.unlink()
    (out / "parts").rmdir()
    return card


def _keep_undetected(out: Path, catalogue: Catalogue, joined: dict[str, npt.NDArray[Any]]) -> None:
    entries = [
        replace(entry, split=UNDETECTED) if reason else entry
        for entry, reason, kept in zip(catalogue.entries, joined["reasons"], joined[UNDETECTED], strict=True)
        if kept
    ]
    make_folder(out)
    arrays = (joined[f"{UNDETECTED}_{key}"] for key in ("crops", "landmarks", "scores"))
    save_store(out, Catalogue(catalogue.data_set, entries), *arrays)


def _row(entry: Entry) -> dict[str, Any]:
    label = entry.label
    sets = {task: sorted(getattr(label, task)) for task in ("gender", "race", "mask")}
    place = {} if entry.box is None else {"box": list(entry.box)}
    return {
        "name": entry.name,
        **place,
        "split": entry.split,
        "age_low": label.age[0],
        "age_high": label.age[1],
        **sets,
    }


def _label(row: dict[str, Any]) -> Label:
    sets = {task: frozenset(row[task]) for task in ("gender", "race", "mask")}
    return Label(age=(row["age_low"], row["age_high"]), **sets)


def _digest(catalogue: Catalogue) -> str:
    entries = "\n".join(json.dumps(_row(entry)) for entry in catalogue.entries)
    return hashlib.sha256(entries.encode()).hexdigest()


def _claim(path: Path, identity: dict[str, Any]) -> None:
    """Mark the folder as being for this data set; refuse one that is for another."""
    if path.exists():
        if path.read_text() != json.dumps(identity):
            raise StoreError(f"{path.parent}: holds another data set or crop size; name an empty folder")
    else:
        write_text(path, json.dumps(identity))
