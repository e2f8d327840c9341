"""The recipe that fine-tunes an existing network on one's own faces."""

from pathlib import Path
from typing import Any

from oamface.models.onnx_import import is_model_file, read_metadata
from oamface.training.checkpoint import read_progress
from oamface.training.config import Recipe, build_recipe, read_toml

RECIPE = Path(__file__).with_name("fine-tuning.toml")


def fine_tuning_recipe(start: str, path: Path = RECIPE) -> Recipe:
    """The recipe in a TOML file, for the network of a model or checkpoint, which is also its teacher if it distils.

    start: such as "oam-open".
    Raises ModelError: neither a model file nor a checkpoint; RecipeError.
    """
    network = (read_metadata(start)["training"][-1] if is_model_file(start) else read_progress(Path(start)))["recipe"]
    values = read_toml(path)
    values |= {key: network[key] for key in ("backbone", "backbone_stages", "crop_box") if key in network}
    values["pretrained"] = start
    if values.get("distill_every_view"):
        values["teachers"] = [{"checkpoint": start}]
    size = network["phases"][-1]["image_size"]
    phases: list[dict[str, Any]] = values.get("phases", [])
    return build_recipe({**values, "phases": [{"image_size": size, **phase} for phase in phases]}, path.stem, path)
