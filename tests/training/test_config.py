from pathlib import Path

import pytest

from oamface.errors import RecipeError
from oamface.training.config import Phase, load_recipe

FILES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))
RECIPES = [path for path in FILES if "[variants" not in path.read_text()]  # the others are studies
PHASE = "[[phases]]\nimage_size = 64\nepochs = 2\nbatch_size = 8\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def test_load_recipe_fills_in_defaults(tmp_path) -> None:
    recipe = load_recipe(write(tmp_path, "seed = 3\nloss_weights = { race = 2 }\nrepeat = { masks = 2 }\n" + PHASE))
    assert recipe.name == "small"
    assert recipe.phases == (Phase(64, 2, 8),)
    assert (recipe.seed, recipe.loss_weights.race, recipe.loss_weights.age, recipe.epochs) == (3, 2, 0.5, 2)
    assert recipe.to_dict()["repeat"] == {"masks": 2}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_are_valid(path) -> None:
    assert load_recipe(path).epochs > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least one"),
        ("sead = 3\n" + PHASE, "unknown key 'sead'"),
        ("loss_weights = { hair = 1 }\n" + PHASE, "unknown key 'hair'"),
        ("seed = 'three'\n" + PHASE, "seed"),
        ("lr = true\n" + PHASE, "lr"),
        ("lr = -1\n" + PHASE, "lr"),
        ("occlusion_probability = 1.5\n" + PHASE, "occlusion_probability"),
        ("loss_balancing = 'magic'\n" + PHASE, "expected one of fixed"),
        ("precision = 'int4'\n" + PHASE, "expected one of auto"),
        ("[[phases]]\nimage_size = 64\nepochs = 1\n", "batch_size"),
        ("[[phases]]\nimage_size = 8\nepochs = 1\nbatch_size = 4\n", "image_size 32 to 512"),
        (
            "backbone = 'face-resnet'\n[[phases]]\nimage_size = 102\nepochs = 1\nbatch_size = 4\n",
            "image_size 103 to 512",
        ),
        ("backbone = 'face-resnet'\nbackbone_stages = [[8, 1], [16, 1]]\n" + PHASE, "at least 4"),
        ("backbone = 'face-resnet'\nbackbone_stages = [[8, 1], [16, 1], [32, 1], [16, 1]]\n" + PHASE, "fewer channels"),
        (
            "backbone = 'face-resnet'\nbackbone_stages = [[8, 1], [16, 0], [32, 1], [64, 1]]\n" + PHASE,
            "whole numbers from 1",
        ),
        (
            "backbone = 'face-resnet'\nbackbone_stages = [[8], [16, 1.5], ['a', 1], [64, 1]]\n" + PHASE,
            "whole numbers from 1",
        ),
        ("backbone = 'face-resnet'\nbackbone_stages = 'many'\n" + PHASE, "whole numbers from 1"),
        ("backbone_stages = 4\n" + PHASE, "small.toml"),
        ("backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1]]\n" + PHASE, "only the backbone 'face-resnet'"),
        ("phases = 3\n", "small.toml"),
        ("loss_weights = 3\n" + PHASE, "small.toml"),
        ("repeat = { masks = -1 }\n" + PHASE, "repeat"),
        ("distill_every_view = true\n" + PHASE, "needs a teacher"),
        ("teacher = 'oam'\nmixup_repeats = 1\n" + PHASE, "need distill_every_view"),
        ("not toml at all", "TOML"),
    ],
)
def test_load_recipe_rejects_invalid_values(tmp_path, text, reason) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(write(tmp_path, text))


def test_load_recipe_rejects_missing_file(tmp_path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "missing.toml")
