"""The results of one benchmark folder and of a study, and what follows from comparing them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from oamface.errors import ResultError
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.robustness import corruption_errors
from oamface.evaluation.significance import check_comparable, paired_tests
from oamface.paper.benchmark import read_result
from oamface.paper.scenarios import MASKS
from oamface.paper.study_results import StudyResults, measure_study

BASELINE = "oam-small"  # what the mean corruption error is relative to


@dataclass(frozen=True)
class Findings:
    """Results of one protocol on the same faces.

    main: name of the model that the report is about. results: its result and those it is compared with, by name, see
    docs/benchmark.md. folder: where their tables of predictions are. study: the small networks' results.
    """

    main: str
    results: dict[str, dict[str, Any]]
    folder: Path
    study: StudyResults

    @classmethod
    def read(cls, folder: Path, main: str | None = None, study: Path | None = None) -> "Findings":
        """All results of a folder. main: None takes the only model file.

        study: a file of study results; None takes the checkpoints that the folder has results of.
        Raises ResultError: no or several model files, or results of different protocols or faces.
        """
        results = {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}
        models = [name for name, result in results.items() if result["predictor"]["kind"] == "model file"]
        main = main or (models[0] if len(models) == 1 else None)
        if main not in results:
            names = ", ".join(results) or "none"
            raise ResultError(
                f"{folder}: no result of {main or 'exactly one model file'}; there are: {names}; name one"
            )
        for result in results.values():
            check_comparable(results[main], result)
        runs = {name: result for name, result in results.items() if result["predictor"]["kind"] == "checkpoint"}
        if study is None:
            read = {name: PredictionTable.read(folder / f"{name}.parquet") for name in runs}
            measured = measure_study(runs, read)
        else:
            measured = StudyResults.read(study)
        return cls(main, {name: results[name] for name in results if name not in runs}, folder, measured)

    @property
    def result(self) -> dict[str, Any]:
        """The main model's result."""
        return self.results[self.main]

    @cached_property
    def predictions(self) -> dict[str, PredictionTable]:
        """Every predictor's table of predictions."""
        return {name: PredictionTable.read(self.folder / f"{name}.parquet") for name in self.results}

    @property
    def peers(self) -> list[str]:
        """The predictors that the model is compared with: other model files, packages and tables."""
        return [name for name in self.results if name != self.main]

    @cached_property
    def robustness(self) -> list[dict[str, Any]]:
        """Corruption errors of the main model relative to BASELINE's; empty where it has no results."""
        if BASELINE not in self.peers:
            return []
        return corruption_errors(self.predictions[self.main], self.predictions[BASELINE])

    @cached_property
    def tests(self) -> dict[str, list[dict[str, Any]]]:
        """Paired tests by "ONE/OTHER": the main model against every peer, and the study's full/no_mask."""
        tests = {
            f"{self.main}/{peer}": paired_tests(self.predictions[self.main], self.predictions[peer], (CLEAN, MASKS))
            for peer in self.peers
        }
        return tests | ({"full/no_mask": self.study.tests} if self.study.tests else {})
