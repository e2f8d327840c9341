import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from helpers.drawn import write_store
from helpers.results import said, write_result
from oamface.datasets.store import Store
from oamface.errors import ResultError
from oamface.paper.claims import VERDICTS, load_claims
from oamface.paper.figures import FIGURES, draw_all
from oamface.paper.findings import Findings
from oamface.paper.page import shown
from oamface.paper.report import report


class Page(HTMLParser):
    """What a page holds: ids, links inside it, and everything that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.inside: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            elif key == "href" and tag == "a":
                self.inside.append(value)
            elif key in ("src", "srcset", "xlink:href", "href") and not value.startswith(("#", "data:")):
                self.loaded.append(value)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    steps = [{"event": "step", "step": 20 * n, "size": 48, "age": 3 / n, "gender": 1 / n} for n in range(1, 9)]
    passes = [{"event": "pass", "step": 80 * n, "size": 48 * n, "valid_gender": 0.8, "valid_years": 7} for n in (1, 2)]
    path.write_text("\n".join(json.dumps(line) for line in steps + passes))
    return [path]


@pytest.fixture(scope="module")
def out(results, logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report(results, folder, logs=logs)
    return folder


def test_every_claim_and_figure_is_on_the_page(out) -> None:
    claims = load_claims()
    page = Page(text := (out / "index.html").read_text())
    assert {f"table-{name}" for name in claims.tables} <= set(page.ids)
    rows = re.findall(r'<span class="mark (\w+)">[^<]+</span>', text[text.index('<h2 id="claims"') :])
    assert len(rows) == len(claims.claims)
    assert all(target[1:] in page.ids for target in page.inside if target.startswith("#"))
    assert len(set(page.ids)) == len(page.ids)


def test_the_page_loads_nothing(out) -> None:
    page = Page(text := (out / "index.html").read_text())
    assert page.loaded == []
    assert "<script" not in text
    assert "@import" not in text
    assert len(text) < 5_000_000
    assert "data:image/jpeg" not in text
    assert "object at 0x" not in text


def test_the_json_has_every_claim_with_its_verdict(out) -> None:
    told = json.loads((out / "report.json").read_text())
    assert sum(told["verdicts"].values()) == len(told["claims"]) == len(load_claims().claims)
    for claim in told["claims"]:
        assert claim["verdict"] in VERDICTS
        assert (claim["measured"] is None) == (claim["verdict"] in VERDICTS[3:])
        assert claim["measured"] or claim["reason"]
    assert told["results"]["oam-cnn"]["fairness"]


def test_the_docs_page_has_a_row_for_every_claim(out) -> None:
    lines = (out / "README.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in lines) == len(load_claims().claims) + 1


def test_the_same_results_give_the_same_page(out, results, logs, tmp_path) -> None:
    report(results, tmp_path, logs=logs)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_every_figure_is_drawn_where_there_is_something_to_draw(results, logs) -> None:
    drawn = draw_all(Findings.read(results), logs=logs)
    absent = {"balancing", "cross"}  # the study of these results has no such variants
    assert set(drawn) == set(FIGURES) - absent


def test_trunks_and_other_weights_are_compared_where_they_took_part(results, out, tmp_path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    recipe = {"stages": [{"size": 150, "passes": 1, "batch": 96}], "samples_per_epoch": 9600, "pretrained": "package"}
    about = {"recipe": recipe, "steps": 100, "parameters": 6_300_000}
    write_result(folder, said(20), "trunk_face_trained-0", "checkpoint", **about)
    write_result(folder, said(21), "oam-open", "model file", parameters=6_300_000, bytes=13_000_000)
    report(folder, tmp_path / "out", main="oam-cnn")
    page = (tmp_path / "out" / "index.html").read_text()
    cells = "".join(f'<td class="n">{value}</td>' for value in ("6.3 M", "150", "9,600"))
    assert f"as it recognises faces</td>{cells}" in page
    assert "<h3>oam-open</h3>" in page
    assert "Which backbone" not in (out / "index.html").read_text()


def test_faces_are_shown_only_when_asked_for(results, out, tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"test": 300}))
    report(results, tmp_path / "with", faces_of=[store])
    text = (tmp_path / "with" / "index.html").read_text()
    assert text.count("data:image/png;base64") > (out / "index.html").read_text().count("data:image/png;base64")
    assert "Keep this file to yourself" in text
    assert "Keep this file to yourself" not in (out / "index.html").read_text()


def test_a_missing_log_is_said(results, tmp_path) -> None:
    with pytest.raises(ResultError, match="no log"):
        report(results, tmp_path, logs=[tmp_path / "none.jsonl"])


@pytest.mark.parametrize(
    ("figure", "unit", "wanted"),
    [
        ({"value": 0.917, "low": 0.905, "high": 0.928}, "%", "91.7 % (90.5 to 92.8)"),
        ({"value": 6.012, "low": 5.7, "high": 6.3}, "years", "6.01 years (5.70 to 6.30)"),
        ({"value": 11.4, "low": 11.4, "high": 11.4}, "M", "11.4 M"),
        (None, "%", "-"),
    ],
)
def test_figures_in_words(figure, unit, wanted) -> None:
    assert shown(figure, unit) == wanted
