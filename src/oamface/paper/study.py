"""A study: one TOML file of variants that are trained on equal budgets from one start, so that they can be compared."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oamface.errors import RecipeError
from oamface.training.checkpoint import progress_of
from oamface.training.config import Recipe, build_recipe, read_toml
from oamface.training.trainer import CHECKPOINT, Run

START = "start"


def load_study(path: Path, out: Path) -> dict[str, Recipe]:
    """Every run's recipe by the run's name, in the order of training: the start, then the variants, seed after seed.

    The file has `seeds` (how many runs of a variant; the variant's own `seeds` wins), [start] (a recipe; optional),
    [common] (what all variants share) and [variants.NAME] (what sets each apart; `weights` and `repeat` change single
    entries of what is common). Runs are called NAME-SEED, and begin from the checkpoint of the start's run in `out`.
    Raises RecipeError.
    """
    study = read_toml(path)
    unknown = study.keys() - {"seeds", "start", "common", "variants"}
    variants = study.get("variants", {})
    if unknown or not isinstance(variants, dict) or not variants:
        raise RecipeError(f"{path}: {f'unknown keys {sorted(unknown)}' if unknown else 'no [variants.NAME]'}")
    runs = {}
    common: dict[str, Any] = dict(study.get("common", {}))
    if START in study:
        runs[START] = build_recipe(study[START], START, path)
        common["pretrained"] = str(out / START / CHECKPOINT)
    counts = {name: variant.pop("seeds", study.get("seeds", 1)) for name, variant in variants.items()}
    for seed in range(max(counts.values())):
        for name, variant in variants.items():
            if seed < counts[name]:
                values = {**common, **variant, "seed": seed}
                for table in ("weights", "repeat"):  # a variant changes single entries of what is common
                    values[table] = {**common.get(table, {}), **variant.get(table, {})}
                runs[f"{name}-{seed}"] = build_recipe(values, name, path)
    return runs


def run_study(
    path: Path,
    stores: Sequence[Path],
    out: Path,
    *,
    workers: int = 0,
    on_event: Callable[[str, int, int, dict[str, Any]], None] = lambda name, done, total, line: None,
) -> list[Path]:
    """Train all runs of a study, one folder each below `out`; finished ones are kept. Returns their checkpoints.

    on_event: the run's name, its number from 0, how many there are, a line of its log. Raises what `Run` raises.
    """
    recipes, trained = load_study(path, out), []
    for number, (name, recipe) in enumerate(recipes.items()):
        run = Run(recipe, stores, out / name, workers=workers)
        run.on_event = lambda line, name=name, number=number: on_event(name, number, len(recipes), line)  # type: ignore[misc]
        trained.append(run.train())
    return trained


def checkpoints(out: Path) -> list[Path]:
    """The finished runs of a study's folder, without its start, by name. Raises RecipeError when there is none."""
    found = []
    for path in sorted(out.glob(f"*/{CHECKPOINT}")):
        progress = progress_of(path)
        if path.parent.name != START and progress["step"] == progress["steps"]:
            found.append(path)
    if not found:
        raise RecipeError(f"{out}: holds no finished run of a study; train one with `oamface study`")
    return found
