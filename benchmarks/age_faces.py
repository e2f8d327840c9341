"""What benchmarks of ages share: predictions for faces of stores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from quality_fit import Condition, predict_faces

from oamface.datasets.store import Store
from oamface.predictor import Predictor

ROOT = Path(__file__).parents[1]


class Faces:
    """Predictions for the faces of stores, kept in a folder if there is one, so that a second run is quick."""

    def __init__(self, predictor: Predictor, stores: Sequence[Store], folder: Path | None) -> None:
        self._predictor, self._stores, self._folder = predictor, stores, folder

    def exact(self, split: str, condition: Condition) -> pd.DataFrame:
        """The faces whose age is known to the year, see `predict_faces`."""
        stores = [store for store in self._stores if any(label.age[0] == label.age[1] for label in store.labels)]
        faces = pd.concat([self._table(store, split, condition) for store in stores], ignore_index=True)
        return faces[faces.age.notna()].reset_index(drop=True)

    def every(self, split: str, condition: Condition) -> pd.DataFrame:
        """The faces of all stores."""
        return pd.concat([self._table(store, split, condition) for store in self._stores], ignore_index=True)

    def _table(self, store: Store, split: str, condition: Condition) -> pd.DataFrame:
        if self._folder is None:
            return predict_faces(self._predictor, [store], split, condition)
        path = self._folder / f"{self._predictor.digest[:12]}-{store.data_set}-{split}-{condition}.parquet"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            predict_faces(self._predictor, [store], split, condition).to_parquet(path)
        return pd.read_parquet(path)


def plain(value: Any) -> Any:
    """Named tuples as lists, numbers rounded (NaN is null), keys as texts: what JSON holds."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if np.isfinite(value) else None
    return value
