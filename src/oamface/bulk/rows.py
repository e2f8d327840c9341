"""Results as table rows: schema oamface/1 flattened, one row per face, and one per image without a face or in error."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from oamface.atomic import escape
from oamface.results import Failure, ImageResult, decision_columns

_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # the image's name; bytes of it that are not UTF-8 as \udcXX
        ("error", pa.string()),  # why it could not be analyzed, or null
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("faces", pa.int32()),  # number of faces in the image
        ("face", pa.int32()),  # which of them, from 0; null in the only row of an image without faces
        *((name, pa.float32()) for name in ("x", "y", "box_width", "box_height", "score", "visibility")),
        ("detected", pa.bool_()),  # False where landmarks were only assumed, so that there may be no face at all
        *((f"{landmark}_{axis}", pa.float32()) for landmark in _LANDMARKS for axis in "xy"),
        *((name, pa.float32()) for name in ("age", "age_low", "age_high")),
        ("age_at_least", pa.map_(pa.int32(), pa.float32())),  # of the years that were asked for
        ("quality", pa.float32()),  # 0..1, and what is wrong with the image of the face
        ("quality_reasons", pa.list_(pa.string())),
        ("decision", pa.string()),  # accept, refuse or refer, where a policy was given, and why it is referred
        ("decision_probability", pa.float32()),  # of looking at least the policy's age
        ("reason", pa.list_(pa.string())),
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


def to_rows(result: ImageResult | Failure) -> Iterator[dict[str, Any]]:
    """Rows under SCHEMA; columns that were not requested or do not apply are absent, which is null in a table."""
    source = None if result.source is None else escape(result.source)
    if isinstance(result, Failure):
        yield {"source": source, "error": escape(str(result.error))}
        return
    image: dict[str, Any] = {"source": source, "width": result.width, "height": result.height}
    image["faces"] = len(result)
    if not result.faces:
        yield image | decision_columns(result.decision)
    for number, (face, decided) in enumerate(zip(result.to_dict()["faces"], result, strict=True)):
        row = {**image, "face": number, "score": face["score"], "visibility": face["visibility"]}
        row["detected"] = face["detected"]
        row |= dict(zip(("x", "y", "box_width", "box_height"), face["box"], strict=True))
        for landmark, (x, y) in zip(_LANDMARKS, face["landmarks"], strict=True):
            row |= {f"{landmark}_x": x, f"{landmark}_y": y}
        if "age" in face:
            row |= {"age": face["age"]["years"], "age_low": face["age"]["low"], "age_high": face["age"]["high"]}
            if tails := face["age"].get("at_least"):
                row["age_at_least"] = [(int(years), probability) for years, probability in tails.items()]
        for task in ("gender", "race", "mask"):
            if task in face:
                row[task], row[f"{task}_probability"] = face[task]["label"], face[task]["probability"]
                row[f"{task}_probabilities"] = list(face[task]["probabilities"].items())
        if "quality" in face:
            row |= {"quality": face["quality"]["score"], "quality_reasons": face["quality"]["reasons"]}
        yield row | decision_columns(decided.decision)
