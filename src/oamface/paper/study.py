"""An ablation study: one TOML file of variants, trained on equal budgets from the same initial weights."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from oamface.errors import RecipeError
from oamface.training.checkpoint import read_progress
from oamface.training.config import Recipe, build_recipe, read_toml
from oamface.training.trainer import CHECKPOINT, Trainer

PRETRAINING = "pretraining"  # the run whose checkpoint every variant starts from
_TABLES = ("loss_weights", "repeat")  # a variant changes single keys of these
_SECTIONS = {"seeds", PRETRAINING, "common", "variants"}


def load_study(path: Path, out: Path) -> dict[str, Recipe]:
    """Name to recipe of every run, in the order of training: the pretraining, then all variants, seed after seed.

    The file has `seeds` (runs of a variant; a variant may have its own `seeds`), [pretraining] (a recipe; optional),
    [common] (what all variants share) and [variants.NAME] (what differs). Runs are called NAME-SEED; each starts from
    the checkpoint of the pretraining in `out`. Raises RecipeError.
    """
    study = read_toml(path)
    variants: Any = study.get("variants")
    unknown = study.keys() - _SECTIONS
    named = isinstance(variants, dict) and variants and all(isinstance(variant, dict) for variant in variants.values())
    if unknown or not named:
        raise RecipeError(f"{path}: {f'unknown keys {sorted(unknown)}' if unknown else 'no [variants.NAME]'}")
    common: dict[str, Any] = dict(study.get("common", {}))
    recipes = {}
    if PRETRAINING in study:
        recipes[PRETRAINING] = build_recipe(study[PRETRAINING], PRETRAINING, path)
        common["pretrained"] = str(out / PRETRAINING / CHECKPOINT)
    seeds = {name: variant.pop("seeds", study.get("seeds", 1)) for name, variant in variants.items()}
    if any(not isinstance(count, int) or count < 1 for count in seeds.values()):
        raise RecipeError(f"{path}: seeds: expected whole numbers from 1")
    for seed in range(max(seeds.values())):
        for name, variant in variants.items():
            if seed < seeds[name]:
                merged = {table: {**common.get(table, {}), **variant.get(table, {})} for table in _TABLES}
                recipes[f"{name}-{seed}"] = build_recipe({**common, **variant, **merged, "seed": seed}, name, path)
    return recipes


def run_study(
    path: Path,
    stores: Sequence[Path],
    out: Path,
    *,
    workers: int = 0,
    on_event: Callable[[str, int, int, dict[str, Any]], None] = lambda name, number, runs, event: None,
) -> list[Path]:
    """Train all runs of a study, each in its folder below `out`; returns their checkpoints. Finished runs are kept.

    on_event: name of the run, its number from 0, count of runs, an event of its log. Raises what `Trainer` raises.
    """
    recipes = load_study(path, out)
    paths = []
    for number, (name, recipe) in enumerate(recipes.items()):
        report = partial(on_event, name, number, len(recipes))
        paths.append(Trainer(recipe, stores, out / name, workers=workers, on_event=report).train())
    return paths


def checkpoints(out: Path) -> list[Path]:
    """Checkpoints of a study's finished runs by name, without the pretraining. Raises RecipeError: there are none."""
    finished = []
    for path in sorted(out.glob(f"*/{CHECKPOINT}")):
        progress = read_progress(path)
        if path.parent.name != PRETRAINING and progress["step"] == progress["steps"]:
            finished.append(path)
    if not finished:
        raise RecipeError(f"{out}: no finished run of a study; train one with `oamface paper study`")
    return finished
