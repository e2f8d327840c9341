"""One policy gives the same decision in Python, on the command line, in the service and in bulk."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from helpers.program import error_of
from oamface import AgePolicy, Analyzer
from oamface.benchmark import PERSON
from oamface.bulk.job import Worker
from oamface.bulk.locations import locate
from oamface.bulk.output import JobSettings, OutputFolder
from oamface.cli.app import main
from oamface.images import read_image, write_image
from oamface.labels import TASKS
from oamface.server.app import create_app

POLICY = "age=18,challenge=25,max_false_accept=0.1"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A synthetic person in good and poor images, and no face."""
    folder = tmp_path_factory.mktemp("images")
    person = read_image(PERSON)
    small = cv2.resize(person, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
    pair = np.hstack([person, person // 12])
    nobody = np.zeros((90, 90, 3), np.uint8)
    images = {
        "pair": pair,
        "good": person,
        "small": small,
        "dark": person // 16,
        "none": nobody,
    }
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    return folder


def in_python(images: Path) -> dict[str, list]:
    analyzer = Analyzer(threads=1, policy=AgePolicy(18, challenge=25, max_false_accept=0.1))
    return {path.name: decisions(analyzer.analyze(path).to_dict()) for path in images.iterdir()}


def decisions(result: dict) -> list:
    """Outcome and reasons of every face, or of the image."""
    found = [item["decision"] for item in (result["faces"] or [result])]
    return [(decision["outcome"], tuple(decision["reasons"])) for decision in found]


def test_all_routes_decide_alike(images, tmp_path, monkeypatch, capsys) -> None:
    expected = in_python(images)
    assert {outcome for found in expected.values() for outcome, _ in found} == {"accept", "refer"}
    assert expected["none.png"] == [("refer", ("no face",))]
    assert len(expected["pair.png"]) >= 1

    monkeypatch.setattr(sys, "argv", ["oamface", "analyze", str(images), "--json", "--policy", POLICY])
    main_quietly()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {Path(line["source"]).name: decisions(line) for line in lines} == expected

    with TestClient(create_app(Analyzer(threads=1))) as client:
        for path in images.iterdir():
            answer = client.post(f"/v1/analyze?policy={POLICY}", content=path.read_bytes())
            assert decisions(answer.json()) == expected[path.name]

    source, output = locate(str(images)), OutputFolder(locate(str(tmp_path / "bulk")))
    output.start(JobSettings(str(images), "digest", tuple(TASKS), False, 64, "image", (), POLICY), source)
    policy = AgePolicy.parse(POLICY)
    worker = Worker(str(images), str(tmp_path / "bulk"), "oam-int8", tuple(TASKS), (), policy, False, "cpu")
    assert worker.process(0) == len(expected)
    (part,) = (tmp_path / "bulk").glob("part-*.parquet")
    found: dict[str, list] = {name: [] for name in expected}
    for row in pq.read_table(part).to_pylist():
        found[Path(row["source"]).name].append((row["decision"], tuple(row["reason"])))
    assert found == expected


def main_quietly() -> None:
    with pytest.raises(SystemExit) as exited:
        main()
    assert not exited.value.code


@pytest.mark.parametrize("command", ["analyze", "bulk", "video"])
@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("adult=18", "unknown field 'adult'"),
        ("age=18,challenge=17", "below the age 18"),
        ("max_false_accept=1.5", "within 0 to 1"),
        ("age=eighteen", "whole number of years"),
    ],
)
def test_wrong_policies_are_one_line(capsys, images, tmp_path, command, policy, reason) -> None:
    output = ("--output", tmp_path / "out") if command == "bulk" else ()
    assert reason in error_of(capsys, command, images, *output, "--policy", policy)
    assert not (tmp_path / "out").exists()


def test_policy_is_given_once(capsys, images) -> None:
    assert "given twice" in error_of(capsys, "analyze", images, "--policy", "age=18", "--policy", "age=21")


def test_policy_needs_the_task_age(capsys, images) -> None:
    assert "about the age" in error_of(capsys, "analyze", images, "--policy", "age=18", "--tasks", "mask")
