"""Prepares a data set: detects and aligns the face of every image and writes them as a store."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from oamface.alignment import CROP_SIZE, align, apply, crop_face, crop_transform
from oamface.atomic import make_folder, visible_names, write_text, write_whole
from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record
from oamface.datasets.store import UNDETECTED, Store, identity, save_store
from oamface.detection import Detection, Detector, assumed, nearest, prominent
from oamface.errors import DataError, OamfaceError, StoreError
from oamface.face_detector import FaceDetector
from oamface.images import RGBImage, read_image
from oamface.labels import Label
from oamface.parallel import cores
from oamface.results import Box

MIN_OVERLAP = 0.25  # intersection over union of a detection with the box that a data set gives
CHUNK_SIZE = 500  # images; an interruption loses the work on one chunk at most


class AlignedFace(NamedTuple):
    crop: RGBImage
    landmarks: npt.NDArray[np.floating]  # (5, 2), in the crop's pixels
    score: float


class Prepared(NamedTuple):
    """One image. face: its aligned face, or the reason why it is skipped. undetected: see _undetected."""

    face: AlignedFace | str
    undetected: AlignedFace | None


def prepare(
    path: Path,
    read: Callable[[Archive], Index],
    out: Path,
    *,
    size: int = CROP_SIZE,
    threads: int = cores(),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write a store of the most prominent face of every image of a folder or archive, and return its card.

    read: lists the images (see `readers`). Images that cannot be read or show no face are skipped and listed in the
    card. After an interruption the same call resumes; it loses CHUNK_SIZE images at most. on_progress: gets the number
    of images done and of all. Raises DataError (the archive), StoreError (`out` holds something else), FileError.
    """
    with Archive(path) as archive:
        index = read(archive)
        if not index.records:
            problems = [f"no image can be used, such as {name}: {reason}" for name, reason in index.skipped.items()]
            raise DataError(f"{path}: {problems[0] if problems else 'has no image'}")
        make_folder(out)
        _check_identity(out, identity(index, size))
        if (out / "card.json").exists():
            return Store.open(out, size=size).card
        make_folder(out / "chunks")
        detector, total = FaceDetector(threads=1), len(index.records)
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, total, CHUNK_SIZE):
                chunk = _chunk_path(out, start)
                if not chunk.exists():
                    records = index.records[start : start + CHUNK_SIZE]
                    images = list(pool.map(partial(_prepare_image, archive, detector, size), records))
                    write_whole(chunk, partial(_save_chunk, images=images, size=size))
                on_progress(min(start + CHUNK_SIZE, total), total)
        return _join_chunks(out, index)


def _check_identity(out: Path, wanted: dict[str, Any]) -> None:
    """Note in a folder what is prepared in it. Raises StoreError: it holds something else."""
    path, text = out / "progress.json", json.dumps(wanted)
    if not path.exists():
        if names := visible_names(out):
            raise StoreError(f"{out}: holds {names[0]}, and no data set to go on with; name a new or an empty folder")
        write_text(path, text)
    elif path.read_text() != text:
        raise StoreError(f"{out}: holds another data set or crop size, or an older layout; name an empty folder")


def _prepare_image(archive: Archive, detector: Detector, size: int, record: Record) -> Prepared:
    try:
        image = read_image(archive.read(record.name))
        face = _choose(detector.detect(image), image, record)
        undetected = _undetected(image, record, face, size)
        if face is None:
            return Prepared("no face detected", undetected)
        return Prepared(AlignedFace(*align(image, face.landmarks, size), face.score), undetected)
    except OamfaceError as error:
        return Prepared(str(error), None)


def _choose(faces: Sequence[Detection], image: RGBImage, record: Record) -> Detection | None:
    """The face in the record's box, or the most prominent one where it has no box."""
    if record.box is not None:
        return nearest(faces, record.box, MIN_OVERLAP)
    return prominent(faces, image) if faces else None


def _undetected(image: RGBImage, record: Record, face: Detection | None, size: int) -> AlignedFace | None:
    """The crop as it would be without detection, for calibrating the age intervals of undetected faces; or None.

    Of images that are one face of known age: those of the calibration split, and those of the training split in which
    no face was detected, which are never trained on.
    """
    calibrates = record.split == "calibrate" or (face is None and record.split == "train")
    if not calibrates or record.box is not None or record.label.age == Label().age:
        return None
    height, width = image.shape[:2]
    blind = assumed(Box(0.0, 0.0, float(width), float(height)), crop=True)
    best = blind if face is None else face
    landmarks = apply(best.landmarks, crop_transform(blind.landmarks, size))
    return AlignedFace(crop_face(image, blind.landmarks, size), landmarks, best.score)


def _chunk_path(out: Path, start: int) -> Path:
    return out / "chunks" / f"{start:08d}.npz"


def _save_chunk(file: IO[bytes], images: list[Prepared], size: int) -> None:
    arrays: dict[str, Any] = _stack([image.face for image in images if not isinstance(image.face, str)], size)
    undetected = _stack([image.undetected for image in images if image.undetected is not None], size)
    arrays |= {f"{UNDETECTED}_{key}": values for key, values in undetected.items()}
    arrays["skipped"] = np.array([image.face if isinstance(image.face, str) else "" for image in images], np.str_)
    arrays[UNDETECTED] = np.array([image.undetected is not None for image in images], bool)
    np.savez(file, **arrays)


def _stack(faces: list[AlignedFace], size: int) -> dict[str, npt.NDArray[Any]]:
    return {
        "crops": np.array([face.crop for face in faces], np.uint8).reshape(-1, size, size, 3),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2),
        "scores": np.array([face.score for face in faces], np.float32),
    }


def _join_chunks(out: Path, index: Index) -> dict[str, Any]:
    """Write the store from its chunks, delete them and return the card."""
    chunks, paths = [], [_chunk_path(out, start) for start in range(0, len(index.records), CHUNK_SIZE)]
    for path in paths:
        with np.load(path, allow_pickle=False) as chunk:
            chunks.append(dict(chunk))
    joined = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
    if joined[UNDETECTED].any():
        records = [
            replace(record, split=UNDETECTED) if reason else record
            for record, reason, kept in zip(index.records, joined["skipped"], joined[UNDETECTED], strict=True)
            if kept
        ]
        make_folder(out / UNDETECTED)
        arrays = (joined[f"{UNDETECTED}_{key}"] for key in ("crops", "landmarks", "scores"))
        save_store(out / UNDETECTED, Index(index.data_set, records), *arrays)
    arrays = (joined[key] for key in ("crops", "landmarks", "scores"))
    card = save_store(out, index, *arrays, skipped=joined["skipped"].tolist())
    for path in (out / "chunks").iterdir():
        path.unlink()
    (out / "chunks").rmdir()
    return card
