"""The package's own model files. Read by the command line, so nothing slow is imported."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from oamface.errors import ModelError

# The default first: the best in eight bits; then the best; the best for commercial use; a small one for that, too.
WEIGHTS = ("oam-int8", "oam", "oam-open", "oam-small")
RESEARCH_ONLY = ("oam-int8", "oam")  # a data set that they were trained on asks for that


OPERATING_POINTS = Path(__file__).with_name("operating_points.json")  # by the SHA-256 of a model file


def operating_points(digest: str) -> list[dict[str, Any]]:
    """The operating points of a model file, see `benchmarks/threshold_rates.py`; none for other files.

    Written by benchmarks/age_thresholds.py.
    """
    points: list[dict[str, Any]] = json.loads(OPERATING_POINTS.read_text()).get(digest, [])
    return points


def terms(weights: str | Path) -> str:
    """A line about what the package's own weights may be used for; "" if for everything, or for another file."""
    if str(weights) not in RESEARCH_ONLY:
        return ""
    return f"the weights {weights} are for research only; --weights oam-open and oam-small are for any use"


def weights_file(weights: str | Path) -> Path:
    """The file of one of the package's own weights by its name; any other path as it is. Raises ModelError: no file."""
    if str(weights) in WEIGHTS:
        return Path(__file__).with_name(f"{weights}.onnx")
    path = Path(weights) if isinstance(weights, str | PathLike) else Path()
    if not path.name or (path.name == str(weights) and not path.suffix and not path.exists()):
        raise ModelError(f"no weights {weights!r}: the package has {', '.join(WEIGHTS)}; or name a model file")
    return path
