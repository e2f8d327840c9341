import json

import numpy as np

from oamface.errors import ImageError
from oamface.results import Age, Classification, Face, Failure, ImageResult

CHOICE = Classification("female", 0.97, {"male": 0.03, "female": 0.97})
FACE = Face(
    (10.04, 20.0, 30.26, 40.0),
    0.98765,
    ((1.0, 2.0),) * 5,
    0.93,
    age=Age(34.25, 27.0, 42.1, 0.9),
    gender=CHOICE,
    attention=np.ones((2, 2), np.float32),
)


def test_the_json_of_one_photograph() -> None:
    line = json.loads(json.dumps(ImageResult(640, 480, (FACE,), "a.jpg").to_dict()))
    assert line == {
        "schema": "oamface/1",
        "source": "a.jpg",
        "width": 640,
        "height": 480,
        "faces": [
            {
                "box": [10.0, 20.0, 30.3, 40.0],
                "score": 0.9877,
                "detected": True,
                "landmarks": [[1.0, 2.0]] * 5,
                "age": {"years": 34.2, "low": 27.0, "high": 42.1, "level": 0.9},
                "gender": {"label": "female", "probability": 0.97, "probabilities": {"male": 0.03, "female": 0.97}},
                "visibility": 0.93,
            }
        ],
    }


def test_the_json_of_a_failure() -> None:
    line = Failure("b.jpg", ImageError("b.jpg: the file is empty")).to_dict()
    error = {"type": "ImageError", "message": "b.jpg: the file is empty"}
    assert line == {"schema": "oamface/1", "source": "b.jpg", "error": error}
