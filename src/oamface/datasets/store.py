"""A store: the aligned crops of a data set on disk, with their landmarks, labels and teacher's features.

A store is a folder with crops.npy, landmarks.npy, labels.parquet, card.json and, for distillation, features.npy.
`preparation` makes stores from images.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.atomic import escape, write_text, write_whole
from oamface.datasets.index import Index, Record, face_name
from oamface.errors import StoreError
from oamface.images import RGBImage
from oamface.labels import TASKS, Label

FORMAT = 2
UNDETECTED = "undetected"  # the folder of Store.undetected, and its split of faces that really were not detected


class ConcatenatedCrops:
    """The crops (N, S, S, 3) of several stores as one array. Nothing is copied: they stay memory-mapped."""

    def __init__(self, arrays: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._arrays, self._ends = arrays, np.cumsum([len(array) for array in arrays])
        self.shape = (int(self._ends[-1]), *arrays[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[RGBImage]:
        return chain.from_iterable(self._arrays)

    def __getitem__(self, index: int | slice) -> npt.NDArray[np.uint8]:
        if isinstance(index, slice):
            rows = [self[row] for row in range(*index.indices(len(self)))]
            return np.array(rows, np.uint8).reshape(-1, *self.shape[1:])
        row = range(len(self))[index]  # or IndexError
        number = int(np.searchsorted(self._ends, row, "right"))
        return self._arrays[number][row - int(self._ends[number])]  # a negative row: counted from the array's end


@dataclass(frozen=True)
class Store:
    """An opened store of N faces.

    crops: (N, S, S, 3) uint8 RGB, memory-mapped. landmarks: (N, 5, 2) float32, in the crop's pixels.
    names, splits: N strings each; bytes of a name that are not UTF-8 are escaped as \\udcXX. labels: N labels.
    card: what was prepared, and which images were skipped and why.
    features: (N, F) float16 embeddings of a frozen teacher, NaN where it has none, or None (see save_features).
    undetected: a store of crops cut as where no face is detected, or None. Its split "calibrate" holds faces of this
    store with their detected landmarks; its split "undetected" holds faces of the training and calibration splits
    that were not detected, with assumed landmarks.
    """

    crops: npt.NDArray[np.uint8] | ConcatenatedCrops
    landmarks: npt.NDArray[np.float32]
    names: list[str]
    splits: list[str]
    labels: list[Label]
    card: dict[str, Any]
    features: npt.NDArray[np.float16] | None = None
    undetected: "Store | None" = None

    @property
    def data_set(self) -> str:
        return str(self.card["data_set"])

    @property
    def digest(self) -> str:
        """SHA-256 of the data set's records: their names, splits, labels and boxes."""
        return str(self.card["digest"])

    @classmethod
    def open(cls, folder: Path, *, size: int | None = None) -> Self:
        """Raises StoreError: incomplete, damaged or of an older layout, or (with a size) crops of another size."""
        try:
            card = json.loads((folder / "card.json").read_text())
            if card["format"] != FORMAT:
                raise StoreError(
                    f"{folder}: a store of an older layout; prepare it anew in another folder (oamface data prepare)"
                )
            crops = np.load(folder / "crops.npy", mmap_mode="r", allow_pickle=False)
            landmarks = np.load(folder / "landmarks.npy", allow_pickle=False)
            rows = pq.read_table(folder / "labels.parquet").to_pylist()
            labels = [_label(row) for row in rows]
            names, splits = [row["name"] for row in rows], [row["split"] for row in rows]
            path = folder / "features.npy"
            features = np.load(path, allow_pickle=False) if path.exists() else None
        except FileNotFoundError as error:
            problem = "a store without " + Path(error.filename).name if folder.is_dir() else "no such folder"
            raise StoreError(f"{folder}: {problem}; oamface data prepare makes it") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, TokenError, pa.ArrowException) as error:
            raise StoreError(f"{folder}: not a complete store ({error}); prepare it again") from error
        if not len(crops) == len(landmarks) == len(rows):
            raise StoreError(f"{folder}: {len(crops)} crops, {len(landmarks)} landmarks and {len(rows)} labels differ")
        if size is not None and crops.shape[1:] != (size, size, 3):
            raise StoreError(f"{folder}: its crops are {crops.shape[1:]}, expected {(size, size, 3)}; prepare it again")
        if features is not None and (features.ndim != 2 or len(features) != len(rows)):
            raise StoreError(f"{path}: expected one row for each of {len(rows)} faces, got {features.shape}")
        undetected = Store.open(folder / UNDETECTED, size=size) if (folder / UNDETECTED).exists() else None
        return cls(crops, landmarks, names, splits, labels, card, features, undetected)


def open_stores(folders: Sequence[Path], *, size: int | None = None) -> list[Store]:
    """The stores of several data sets; stores of one data set are its shards and become one.

    Raises StoreError: see Store.open; or shards of the same images, or of crops or features that differ in size.
    """
    shards: dict[str, list[Store]] = {}
    for folder in folders:
        store = Store.open(folder, size=size)
        shards.setdefault(store.data_set, []).append(store)
    return [_concatenate(stores) if len(stores) > 1 else stores[0] for stores in shards.values()]


def count_labels(store: Store) -> dict[str, int]:
    """Task to how many of a store's faces have a label."""
    unknown = Label()
    return {task: sum(getattr(label, task) != getattr(unknown, task) for label in store.labels) for task in TASKS}


def _concatenate(shards: list[Store]) -> Store:
    """The shards of one data set as one store, the same in whichever order they come."""
    shards = sorted(shards, key=lambda store: store.digest)
    digests, data_set = [store.digest for store in shards], shards[0].data_set
    if len(set(digests)) < len(digests):
        raise StoreError(f"two stores of {data_set} were prepared from the same images; name each once")
    widths = {store.features.shape[1] for store in shards if store.features is not None}
    if len({store.crops.shape[1:] for store in shards}) > 1 or len(widths) > 1:
        raise StoreError(f"the shards of {data_set} differ in the size of their crops or features; prepare them alike")
    features = [
        np.full((len(store.crops), *widths), np.nan, np.float16) if store.features is None else store.features
        for store in shards
    ]
    undetected = [store.undetected for store in shards if store.undetected is not None]
    return Store(
        crops=ConcatenatedCrops([store.crops for store in shards if not isinstance(store.crops, ConcatenatedCrops)]),
        landmarks=np.concatenate([store.landmarks for store in shards]),
        names=[name for store in shards for name in store.names],
        splits=[split for store in shards for split in store.splits],
        labels=[label for store in shards for label in store.labels],
        card={
            **shards[0].card,
            "digest": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            "faces": _sum_counts(store.card["faces"] for store in shards),
            "undetected": _sum_counts(store.card["undetected"] for store in shards),
            "skipped": {name: reason for store in shards for name, reason in store.card["skipped"].items()},
        },
        features=np.concatenate(features) if widths else None,
        undetected=_concatenate(undetected) if len(undetected) == len(shards) else None,
    )


def _sum_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def save_store(
    folder: Path,
    index: Index,
    crops: npt.NDArray[np.uint8],
    landmarks: npt.NDArray[np.float32],
    scores: npt.NDArray[np.floating],
    *,
    skipped: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write a store of aligned faces into an existing folder and return its card. The card is written last.

    skipped: for every record of the index the reason why it has no face, or ""; by default all records have one.
    crops (N, S, S, 3), landmarks (N, 5, 2) in their pixels, the detector's scores (N,): of the other records, in order.
    Raises FileError.
    """
    reasons = [""] * len(index.records) if skipped is None else skipped
    kept = [record for record, reason in zip(index.records, reasons, strict=True) if not reason]
    lost = [(record, str(reason)) for record, reason in zip(index.records, reasons, strict=True) if reason]
    rows = [
        {**_row(record), "data_set": index.data_set, "score": float(score)}
        for record, score in zip(kept, scores, strict=True)
    ]
    write_whole(folder / "crops.npy", partial(np.save, arr=crops))
    write_whole(folder / "landmarks.npy", partial(np.save, arr=landmarks))
    write_whole(folder / "labels.parquet", lambda file: pq.write_table(pa.Table.from_pylist(rows), file))
    reasons_of = index.skipped | {face_name(record.name, record.box): reason for record, reason in lost}
    card = {
        **identity(index, crops.shape[1]),
        "faces": dict(Counter(record.split for record in kept)),
        "undetected": dict(Counter(record.split for record, _ in lost)),
        "skipped": {escape(name): escape(reason) for name, reason in reasons_of.items()},
    }
    write_text(folder / "card.json", json.dumps(card, indent=1))
    return card


def identity(index: Index, size: int) -> dict[str, Any]:
    """What distinguishes a store from others: format, data set, size of its crops, SHA-256 of the records."""
    records = "\n".join(json.dumps(_row(record)) for record in index.records)
    digest = hashlib.sha256(records.encode()).hexdigest()
    return {"format": FORMAT, "data_set": index.data_set, "size": size, "digest": digest}


def save_features(folder: Path, features: npt.NDArray[np.float16]) -> None:
    """Write a frozen teacher's features (N, F), one row for each face, into a store. Raises FileError."""
    write_whole(folder / "features.npy", partial(np.save, arr=features))


def attach_features(folder: Path, table: Path) -> int:
    """Write features computed elsewhere into a store; returns how many of its faces have some.

    table: .npz with `path` (names of images in the data set's archive) and `features` (rows, F).
    Raises StoreError (no such store or table, or a table without any of the store's faces), FileError.
    """
    store = Store.open(folder)
    try:
        with np.load(table, allow_pickle=False) as arrays:
            names, features = arrays["path"].astype(np.str_), arrays["features"].astype(np.float16)
        row_of = {str(name): row for row, name in enumerate(names)}
        rows = np.array([row_of.get(name, -1) for name in store.names])
        matched = rows >= 0
        aligned = np.full((len(rows), features.shape[1]), np.nan, np.float16)
        aligned[matched] = features[rows[matched]]
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, BadZipFile) as error:
        raise StoreError(f"{table}: not a table of teacher's features ({error})") from error
    if not matched.any():
        raise StoreError(f"{table}: has none of the images of {folder}; was it made from the same archive?")
    save_features(folder, aligned)
    return int(matched.sum())


def _row(record: Record) -> dict[str, Any]:
    label = record.label
    return {
        "name": escape(record.name),
        **({} if record.box is None else {"box": list(record.box)}),
        "split": record.split,
        "age_low": label.age[0],
        "age_high": label.age[1],
        **{task: sorted(getattr(label, task)) for task in ("gender", "race", "mask")},
    }


def _label(row: dict[str, Any]) -> Label:
    gender, race, mask = (frozenset(row[task]) for task in ("gender", "race", "mask"))
    return Label((row["age_low"], row["age_high"]), gender, race, mask)
