from pathlib import Path

import pytest

from oamface.errors import RecipeError
from oamface.training.config import Phase, load_recipe

STAGE = "[[phases]]\nsize = 64\npasses = 2\nbatch = 8\n"

STUDIES = {Path(f"recipes/{name}.toml") for name in ("ablation", "synthetic", "backbones")}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def test_a_recipe_reads_what_it_says_and_defaults_the_rest(tmp_path) -> None:
    recipe = load_recipe(write(tmp_path, "seed = 3\nweights = { race = 2 }\nrepeat = { masks = 2 }\n" + STAGE))
    assert recipe.name == "small"
    assert recipe.phases == (Phase(64, 2, 8),)
    assert (recipe.seed, recipe.loss_weights.race, recipe.loss_weights.age, recipe.epochs) == (3, 2, 0.5, 2)
    assert recipe.to_dict()["repeat"] == {"masks": 2}


@pytest.mark.parametrize("path", sorted(set(Path("recipes").glob("*.toml")) - STUDIES), ids=lambda path: path.name)
def test_the_shipped_recipes_are_whole(path) -> None:
    assert load_recipe(path).passes > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least one"),
        ("sead = 3\n" + STAGE, "unknown key 'sead'"),
        ("weights = { hair = 1 }\n" + STAGE, "unknown key 'hair'"),
        ("seed = 'three'\n" + STAGE, "seed"),
        ("lr = true\n" + STAGE, "lr"),
        ("lr = -1\n" + STAGE, "lr"),
        ("occluded = 1.5\n" + STAGE, "occluded"),
        ("balance = 'magic'\n" + STAGE, "known are fixed"),
        ("precision = 'int4'\n" + STAGE, "known are auto"),
        ("[[phases]]\nsize = 64\npasses = 1\n", "batch"),
        ("[[phases]]\nsize = 8\npasses = 1\nbatch = 4\n", "size 32 to 512"),
        ("backbone = 'face-resnet'\n[[phases]]\nsize = 102\npasses = 1\nbatch = 4\n", "size 103 to 512"),
        ("backbone = 'face-resnet'\nlevels = [[8, 1], [16, 1]]\n" + STAGE, "at least 4"),
        ("backbone = 'face-resnet'\nlevels = [[8, 1], [16, 1], [32, 1], [16, 1]]\n" + STAGE, "fewer channels"),
        ("backbone = 'face-resnet'\nlevels = [[8, 1], [16, 0], [32, 1], [64, 1]]\n" + STAGE, "whole numbers from 1"),
        ("backbone = 'face-resnet'\nlevels = [[8], [16, 1.5], ['a', 1], [64, 1]]\n" + STAGE, "whole numbers from 1"),
        ("backbone = 'face-resnet'\nlevels = 'many'\n" + STAGE, "whole numbers from 1"),
        ("backbone_stages = 4\n" + STAGE, "small.toml"),
        ("backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1]]\n" + STAGE, "only the backbone 'face-resnet'"),
        ("phases = 3\n", "small.toml"),
        ("weights = 3\n" + STAGE, "small.toml"),
        ("repeat = { masks = -1 }\n" + STAGE, "repeat"),
        ("distill_every_view = true\n" + STAGE, "needs a teacher"),
        ("teacher = 'oam'\nechoes = 1\n" + STAGE, "only where distill_every_view is true"),
        ("not toml at all", "TOML"),
    ],
)
def test_a_recipe_with_a_mistake(tmp_path, text, reason) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(write(tmp_path, text))


def test_no_such_recipe(tmp_path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "missing.toml")
