"""Predictions as rows: schema oamface/1 laid flat, a row a face, and one for an image without any or with an error."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from oamface.results import Failure, ImageResult

_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # the image; bytes of its name that are no UTF-8 as \udcXX
        ("error", pa.string()),  # why it could not be analysed, or null
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("faces", pa.int32()),  # of the image
        ("face", pa.int32()),  # which of them, from 0; null in the only row of an image without faces
        *((name, pa.float32()) for name in ("x", "y", "box_width", "box_height", "score", "visibility")),
        ("detected", pa.bool_()),  # whether landmarks were found; assumed ones may lie on no face at all
        *((f"{mark}_{axis}", pa.float32()) for mark in _LANDMARKS for axis in "xy"),
        *((name, pa.float32()) for name in ("age", "age_low", "age_high")),
        *(
            column
            for task in ("gender", "race", "mask")
            for column in (
                (task, pa.string()),
                (f"{task}_probability", pa.float32()),
                (f"{task}_probabilities", pa.map_(pa.string(), pa.float32())),
            )
        ),
    ]
)


def rows_of(image: ImageResult | Failure) -> Iterator[dict[str, Any]]:
    """Under SCHEMA; what was not asked or does not apply is left out, which is null in a table."""
    if isinstance(image, Failure):
        yield {"source": _text(image.source), "error": _text(str(image.error))}
        return
    told: dict[str, Any] = {"source": _text(image.source), "width": image.width, "height": image.height}
    told["faces"] = len(image.faces)
    if not image.faces:
        yield told
    for number, face in enumerate(image.to_dict()["faces"]):
        row = {**told, "face": number, "score": face["score"], "visibility": face["visibility"]}
        row["detected"] = face["detected"]
        row |= dict(zip(("x", "y", "box_width", "box_height"), face["box"], strict=True))
        for mark, (x, y) in zip(_LANDMARKS, face["landmarks"], strict=True):
            row |= {f"{mark}_x": x, f"{mark}_y": y}
        if "age" in face:
            row |= {"age": face["age"]["years"], "age_low": face["age"]["low"], "age_high": face["age"]["high"]}
        for task in ("gender", "race", "mask"):
            if task in face:
                row[task], row[f"{task}_probability"] = face[task]["label"], face[task]["probability"]
                row[f"{task}_probabilities"] = list(face[task]["probabilities"].items())
        yield row


def _text(value: str | None) -> str | None:
    """As UTF-8 can hold it, which is all that Parquet takes for text."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()
