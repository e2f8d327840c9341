"""No document lags behind the shipped model files: results name their SHA-256, tables are made from results."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import tables
from tables import REPORTED, RESULTS, ROOT, documents, fill, read_results, stale_digests, update

from oamface.errors import ResultError
from oamface.paper.claims import CONTRADICTED, UNMEASURED, judge, load_claims
from oamface.paper.report import claims_markdown
from oamface.predictor import Predictor
from oamface.weights import WEIGHTS, weights_file

FILES = sorted((ROOT / RESULTS).glob("*.json"))
DOCUMENTS = documents(ROOT)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
# Pages whose figures about the weights are all generated; others are dated logs of experiments and of speed.
NO_FIGURES_BY_HAND = ("README.md", "docs/evaluation.md", "docs/benchmark.md", "docs/responsible-use.md")


def load(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("path", [*FILES, ROOT / "docs/report/report.json"], ids=lambda path: path.name)
def test_results_were_measured_with_the_shipped_files(path) -> None:
    content = load(path)
    assert list(stale_digests(content)) == []
    assert path.name == "study.json" or any(name in json.dumps(content) for name in WEIGHTS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_results_of_another_byte_are_stale(name, tmp_path, monkeypatch) -> None:
    changed = bytearray(weights_file(name).read_bytes())
    changed[len(changed) // 2] ^= 1
    changed_file = tmp_path / f"{name}.onnx"
    changed_file.write_bytes(changed)
    monkeypatch.setattr(tables, "weights_file", lambda other: changed_file if other == name else weights_file(other))
    digest = hashlib.sha256((ROOT / f"src/oamface/weights/{name}.onnx").read_bytes()).hexdigest()
    (found,) = stale_digests({"models": {name: digest, "another": "0" * 64}})
    assert f"another {name}.onnx" in found
    results = [load(path) for path in FILES]
    assert (name in REPORTED) == any(list(stale_digests(content)) for content in results if "predictor" in content)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_generated_tables_are_those_of_the_results(path) -> None:
    text = path.read_text()
    assert fill(text, ROOT) == text, "make figures writes the tables again"
    assert text.count("<!-- generated: ") == text.count("<!-- /generated -->")


def test_every_table_is_shown_somewhere() -> None:
    texts = "".join(path.read_text() for path in DOCUMENTS)
    shown = re.findall(r"^<!-- generated: ([\w-]+) -->$", texts, re.MULTILINE)
    assert set(shown) == set(tables.TABLES)


@pytest.mark.parametrize("name", NO_FIGURES_BY_HAND)
def test_figures_stand_in_generated_tables_alone(name) -> None:
    by_hand = re.sub(r"<!-- generated: .*?<!-- /generated -->", "", (ROOT / name).read_text(), flags=re.DOTALL)
    assert re.findall(r"\d\.\d+ %|\d\.\d\d years", by_hand) == []


def test_update_replaces_what_stands_between_the_markers(tmp_path) -> None:
    shutil.copytree(ROOT / RESULTS, tmp_path / RESULTS)
    page, other = tmp_path / "README.md", tmp_path / "docs/other.md"
    page.write_text("before\n<!-- generated: models -->\nby hand\n<!-- /generated -->\nafter\n")
    other.write_text("nothing generated\n")
    assert update(tmp_path) == [page]
    text = page.read_text()
    assert "by hand" not in text
    assert text.startswith("before\n<!-- generated: models -->\n| weights |")
    assert text.endswith("<!-- /generated -->\nafter\n")
    assert update(tmp_path) == []
    page.write_text(text.replace("MB", "GB"))
    assert fill(page.read_text(), tmp_path) == text
    other.write_text("<!-- generated: unknown -->\n<!-- /generated -->\n")
    with pytest.raises(ResultError, match="unknown"):
        update(tmp_path)


@pytest.fixture(scope="module")
def report() -> dict:
    return load(ROOT / "docs/report/report.json")


def test_report_is_that_of_the_results(report) -> None:
    assert report["models"] == {name: Predictor(name).digest for name in REPORTED}
    oam = read_results(ROOT, report["main"])
    assert report["stores"] == oam["stores"]
    compared = 0
    for claim in report["claims"]:
        data_set, _, rest = claim.get("key", "").partition("/")
        if data_set in oam["measured"] and claim["measured"]:
            condition, task, metric = rest.split("/")
            expected = oam["measured"][data_set][condition][task][metric]
            assert claim["measured"] == {key: expected[key] for key in ("value", "low", "high")}
            compared += 1
    assert compared > 40


def test_verdicts_follow_from_what_the_report_measured(report) -> None:
    measured = {claim["key"]: claim["measured"] for claim in report["claims"] if claim["measured"]}
    judged = judge(load_claims(), measured, {"": "not measured"})
    assert [item.verdict for item in judged] == [claim["verdict"] for claim in report["claims"]]
    assert report["verdicts"] == {name: sum(item.verdict == name for item in judged) for name in report["verdicts"]}
    for claim in report["claims"]:
        assert claim["measured"] or (claim["verdict"] in (UNMEASURED, CONTRADICTED) and claim["reason"])


def test_pages_of_the_report_are_those_of_its_json(report) -> None:
    assert (ROOT / "docs/report/README.md").read_text() == claims_markdown(report)
    page = (ROOT / "docs/report/index.html").read_text()
    assert set(report["models"].values()) <= set(re.findall(r"<code>([0-9a-f]{64})</code>", page))
    counts = re.findall(r'<span class="badge \w+">(\d+)</span> ([\w ]+?)</span>', page)
    assert {name: int(count) for count, name in counts} == report["verdicts"]


def test_card_and_results_agree() -> None:
    """The model file was measured on its own at export: the same faces and conditions, so the same values.

    Not so oam-small's: it was exported before the detector and the drawn masks of today.
    """
    measured, card = read_results(ROOT, "oam")["measured"], Predictor("oam").description["figures"]["data_sets"]
    for data_set in measured.keys() & card.keys():
        for condition in ("clean", "masks"):
            for task, metric in (("age", "mae"), ("gender", "accuracy"), ("race", "accuracy"), ("mask", "accuracy")):
                sides = [tasks[data_set] for tasks in (measured, {key: card[key]["conditions"] for key in card})]
                one, other = (side.get(condition, {}).get(task, {}).get(metric) for side in sides)
                if one and other:
                    assert one["value"] == pytest.approx(other["value"], abs=0.02 if task == "age" else 0.002)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("docs/report/index.html", 1_200_000),
        ("docs/report/report.json", 150_000),
        ("docs/results/study.json", 300_000),
        ("docs/results/oam.json", 300_000),
    ],
)
def test_committed_results_are_small(path, limit) -> None:
    assert (ROOT / path).stat().st_size < limit


def test_digests_of_the_study_are_of_the_recipes_that_were_run() -> None:
    assert all(
        re.fullmatch("[0-9a-f]{64}", digest) for digest in read_results(ROOT, "study")["about"]["recipes"].values()
    )
    assert hashlib.sha256(b"").hexdigest() not in read_results(ROOT, "study")["about"]["recipes"].values()
