"""Fine-tuning: from a CSV file of one's own faces to a calibrated model file, by the commands of the guide."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.drawn import drawn_faces, write_store
from helpers.program import error_of
from oamface.cli.app import main
from oamface.datasets.store import Store
from oamface.errors import ModelError, TrainError
from oamface.export.model_card import model_card
from oamface.export.onnx import describe, trace, write_model
from oamface.labels import Label
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.predictor import Predictor
from oamface.training.checkpoint import load_network, read_progress
from oamface.training.config import Phase, Recipe
from oamface.training.fine_tuning import RECIPE, fine_tuning_recipe
from oamface.training.losses import expected_age
from oamface.training.run_log import CURVES
from oamface.training.trainer import CHECKPOINT, Trainer
from oamface.zoo import is_research_only

pytestmark = pytest.mark.slow


def call(capsys, *arguments) -> tuple[str, str]:
    """Standard output and error of a command that succeeds, in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exited:
        patch.setattr(sys, "argv", ["oamface", *map(str, arguments)])
        main()
    output = capsys.readouterr()
    assert exited.value.code == 0, output.err
    return output.out, output.err


def without_labels(store: Path, *tasks: str) -> Path:
    """The store after its labels of some tasks were removed."""
    table, unknown = pq.read_table(store / "labels.parquet").to_pylist(), Label()
    for row in table:
        for task in tasks:
            row |= {"age_low": 0, "age_high": 100} if task == "age" else {task: sorted(getattr(unknown, task))}
    pq.write_table(pa.Table.from_pylist(table), store / "labels.parquet")
    return store


def events(run: Path, kind: str) -> list[dict]:
    return [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line["event"] == kind]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A small untrained model file, which says that it is for research only."""
    stages = ((8, 1), (16, 1), (32, 1), (64, 1), (64, 1))
    recipe = Recipe("start", (Phase(103, 1, 8),), backbone="face-resnet", backbone_stages=stages)
    data = {"utkface": {"train": 40, "near_duplicates_excluded": 0, "with_features": 0, "source": "drawn"}}
    torch.manual_seed(0)
    path, model = (
        tmp_path_factory.mktemp("start") / "start.onnx",
        OamCnn(backbone="face-resnet", backbone_stages=stages),
    )
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # export joins tensors that are all 0
    description = {
        **describe(model, 103, [{"recipe": recipe.to_dict(), "data": data, "step": 5, "steps": 5}]),
        "temperatures": {"age": 1.0, "gender": 1.2, "race": 0.9, "mask": 0.8},
        "intervals": {"level": 0.9, "quantiles": [1.5] * 101, "undetected": [3.0] * 101},
        "at_least": [[1.1, 0.9, 0.1]] * 51,
    }
    write_model(path, trace(model, 103), description)
    return path


@pytest.fixture(scope="module")
def recipe(start) -> Recipe:
    """The shipped recipe with short epochs."""
    shipped = fine_tuning_recipe(str(start))
    return replace(shipped, samples_per_epoch=32, phases=(replace(shipped.phases[0], epochs=3),))


def test_four_commands_from_a_csv_file_to_a_model(start, tmp_path, capsys) -> None:
    recipe = tmp_path / "short.toml"
    text = RECIPE.read_text().replace("samples_per_epoch = 512", "samples_per_epoch = 16")
    recipe.write_text(text.replace("epochs = 30", "epochs = 1").replace("batch_size = 16", "batch_size = 8"))
    rows = ["image,age,split"]
    for number, face in enumerate(drawn_faces(24)):
        Image.fromarray(face).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{20 + number},{('train', 'calibration', 'test')[min(2, number % 4)]}")
    (tmp_path / "faces.csv").write_text("\n".join([*rows, "broken.png,20,train", "missing.png,20,train"]))
    (tmp_path / "broken.png").write_text("no image")
    store, run, model = tmp_path / "store", tmp_path / "run", tmp_path / "mine.onnx"

    out, err = call(capsys, "data", "prepare", "csv", tmp_path / "faces.csv", "--output", store)
    assert "6 calibrate, 12 test, 6 train; 2 images skipped" in out
    assert "labels: 24 age, 0 gender, 0 race, 0 mask" in out
    assert "skipped broken.png" in err and "skipped missing.png" in err

    arguments = ("--from", start, "--store", store, "--output", run)
    _, err = call(capsys, "train", recipe, *arguments, "--workers", 0)
    assert "6 faces with age; " in err
    assert "before training at 103 px: " in err and "age_mae" in err
    assert "best" in err or "better" in err
    assert (run / CURVES).read_bytes().startswith(b"\x89PNG")

    out, err = call(capsys, "export", run / CHECKPOINT, "--store", store, "--output", model)
    assert "too few calibration faces for gender, race, mask, the age intervals of 101 of 101 ages" in err
    assert "fine-tuned from start.onnx: UTKFace may be used for non-commercial research only" in err
    before, after = Predictor(start).description, Predictor(model).description
    assert after["temperatures"] == before["temperatures"]
    assert after["intervals"] == before["intervals"]
    assert after["at_least"] == before["at_least"]
    assert after["figures"]["data_sets"]["csv"]["conditions"]["clean"]["age"]["mae"]["value"] > 0

    assert after["fine_tuned_from"]["weights"] == "start.onnx"
    assert after["fine_tuned_from"]["digest"] == Predictor(start).digest
    assert "non-commercial research only" in after["fine_tuned_from"]["terms"]
    assert [past["recipe"]["name"] for past in after["training"]] == ["start", "short"]
    assert is_research_only(after["training"])
    card = model_card(after)
    assert "non-commercial research only, and so may these weights. Your own faces have terms of their own" in card
    assert "the calibration of start.onnx is kept there" in card

    out, _ = call(capsys, "evaluate", "--store", store, "--weights", model)
    assert "age" in out and "gender" not in out
    call(capsys, "evaluate", "--store", store, "--weights", start)


def test_only_labelled_tasks_change(start, recipe, tmp_path) -> None:
    store = without_labels(write_store(tmp_path / "store", seed=1, ages=(30, 30)), "gender", "race", "mask")
    path = Trainer(replace(recipe, lr=3e-3), [store], tmp_path / "run", workers=0).train()
    assert events(tmp_path / "run", "start")[0]["tasks"] == ["age"]
    before, after = (load_network(each)[0] for each in (start, path))
    crops = Store.open(store).crops
    with torch.no_grad():
        one, other = (model(preprocess_batch(crops, model.preprocessing, 103)) for model in (before, after))
    for task in ("gender", "race", "mask"):
        assert torch.equal(one.logits[task], other.logits[task])
    assert torch.equal(one.attention, other.attention)
    errors = [float((expected_age(outputs.logits["age"]) - 30).abs().mean()) for outputs in (one, other)]
    assert errors[1] < 0.8 * errors[0]


def test_only_masks_are_learned(recipe, tmp_path) -> None:
    store = without_labels(write_store(tmp_path / "store", seed=2), "age", "gender", "race")
    Trainer(recipe, [store], tmp_path / "run", workers=0).train()
    assert events(tmp_path / "run", "start")[0]["tasks"] == ["mask"]
    epochs = events(tmp_path / "run", "epoch")
    assert [line["epoch"] for line in epochs] == [-1, 0, 1, 2]
    assert "valid_mask" in epochs[0] and "valid_gender" not in epochs[0]


@pytest.fixture
def losses(monkeypatch):
    """Sets the calibration losses of a run's start and epochs, whatever it learns."""

    def set_losses(*values: float) -> None:
        given = iter(values)
        monkeypatch.setattr("oamface.training.trainer.validate", lambda *arguments: {"valid_loss": next(given)})

    return set_losses


def test_run_stops_early_and_keeps_the_best_epoch(recipe, tmp_path, losses) -> None:
    store = write_store(tmp_path / "store")
    longer = replace(recipe, patience=2, phases=(replace(recipe.phases[0], epochs=9),))
    losses(3.0, 2.0, 2.5, 2.1)
    path = Trainer(longer, [store], tmp_path / "run", workers=0).train()
    assert [line["epoch"] for line in events(tmp_path / "run", "epoch")] == [-1, 0, 1, 2]
    assert read_progress(path)["best"] == {"epoch": 0, "loss": 2.0}
    losses(3.0, 2.0)
    first = replace(longer, phases=(replace(longer.phases[0], epochs=1),))
    after_one = load_network(Trainer(first, [store], tmp_path / "first", workers=0).train())[0].state_dict()
    assert Trainer(longer, [store], tmp_path / "run", workers=0).train() == path  # a run that is over stays so
    assert len(events(tmp_path / "run", "epoch")) == 4
    best = load_network(path)[0].state_dict()
    # The learning rate falls more slowly in the longer run: its first epoch is nearly the same.
    assert max(float((best[name].float() - after_one[name].float()).abs().max()) for name in best) < 5e-3


def test_start_is_kept_where_no_epoch_is_better(recipe, start, tmp_path, losses) -> None:
    store = write_store(tmp_path / "store")
    losses(1.0, 2.0, 2.0)
    path = Trainer(replace(recipe, patience=2), [store], tmp_path / "run", workers=0).train()
    before, after = load_network(start)[0].state_dict(), load_network(path)[0].state_dict()
    assert all((before[name] == after[name]).all() for name in before)


def test_store_without_calibration_faces_trains_to_the_end(recipe, tmp_path) -> None:
    store = write_store(tmp_path / "store", splits={"train": 20})
    path = Trainer(recipe, [store], tmp_path / "run", workers=0).train()
    assert read_progress(path)["best"] is None
    assert events(tmp_path / "run", "epoch")[-1]["epoch"] == 2


def test_models_that_cannot_be_fine_tuned(tmp_path, store_folder, capsys) -> None:
    arguments = ("--store", store_folder, "--output", tmp_path / "run")
    assert "name a recipe, or with --from a model" in error_of(capsys, "train", *arguments)
    assert "weights are int8" in error_of(capsys, "train", "--from", "oam-int8", *arguments)
    with pytest.raises(ModelError, match="not a checkpoint"):
        fine_tuning_recipe(str(tmp_path / "none.safetensors"))


def test_store_without_labels_is_an_error(recipe, tmp_path) -> None:
    store = without_labels(write_store(tmp_path / "store"), "age", "gender", "race", "mask")
    with pytest.raises(TrainError, match="nothing to learn"):
        Trainer(recipe, [store], tmp_path / "run", workers=0).train()
