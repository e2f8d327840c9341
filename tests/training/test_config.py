from pathlib import Path

import pytest

from oamface.errors import RecipeError
from oamface.labels import TASKS
from oamface.training.config import Phase, TeacherRef, load_recipe

FILES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))
RECIPES = [path for path in FILES if "[variants" not in path.read_text()]  # the others are studies
PHASE = "[[phases]]\nimage_size = 64\nepochs = 2\nbatch_size = 8\n"
TEACHER = "[[teachers]]\ncheckpoint = 'oam'\n"


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


def test_load_recipe_reads_teachers_and_crop_box(tmp_path) -> None:
    text = "distill_every_view = true\ncrop_box = [0.25, 0.25, 0.75, 0.75]\n" + PHASE + TEACHER
    recipe = load_recipe(write(tmp_path, text + "[[teachers]]\ncheckpoint = 'oam-open'\ntasks = ['age', 'race']\n"))
    assert recipe.teachers == (TeacherRef("oam", tuple(TASKS)), TeacherRef("oam-open", ("age", "race")))
    assert recipe.crop_box == (0.25, 0.25, 0.75, 0.75)
    assert recipe.to_dict()["teachers"][1] == {"checkpoint": "oam-open", "tasks": ("age", "race")}


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
        ("distill_every_view = true\n" + PHASE, "needs teachers"),
        ("mixup_repeats = 1\n" + PHASE + TEACHER, "mixup_repeats need distill_every_view"),
        (PHASE + TEACHER + "tasks = ['hair']\n", "teachers: tasks are some of"),
        (PHASE + TEACHER + "tasks = []\n", "teachers: tasks are some of"),
        (PHASE + TEACHER + "weight = 2\n", "unknown key 'weight'"),
        (PHASE + "[[teachers]]\ntasks = ['age']\n", "checkpoint"),
        ("teachers = ['oam']\n" + PHASE, "small.toml"),
        ("teacher = 'oam'\n" + PHASE, "unknown key 'teacher'"),
        ("device_augmentation = true\n" + PHASE, "set clean_pair_probability = 0"),
        ("group_balance = 1.5\n" + PHASE, "group_balance"),
        ("age_balance = -1\n" + PHASE, "age_balance"),
        ("crop_box = [0.0, 0.0, 1.0]\n" + PHASE, "crop_box .*four numbers"),
        ("crop_box = [0.0, 0.0, 1.5, 1.5]\n" + PHASE, "crop_box .*four numbers"),
        ("crop_box = ['a', 0.0, 1.0, 1.0]\n" + PHASE, "crop_box .*four numbers"),
        ("crop_box = [0.2, 0.2, 0.9, 0.8]\n" + PHASE, "crop_box .*a square"),
        ("crop_box = [0.4, 0.4, 0.6, 0.6]\n" + PHASE, "crop_box .*a square"),
        ("crop_box = 1\n" + PHASE, "small.toml"),
        ("not toml at all", "TOML"),
    ],
)
def test_load_recipe_rejects_invalid_values(tmp_path, text, reason) -> None:
    with pytest.raises(RecipeError, match=reason) as raised:
        load_recipe(write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_load_recipe_rejects_missing_file(tmp_path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "missing.toml")
