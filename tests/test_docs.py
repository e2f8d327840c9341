"""What the documents show works: snippets type-check and run, commands and options exist, links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main
from PIL import Image

import oamface
from helpers.videos import write_video
from oamface.bulk.rows import SCHEMA, to_rows

ROOT = Path(__file__).parents[1]
DOCS = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if "report" not in path.parts]
NAMES = [str(path.relative_to(ROOT)) for path in DOCS]


def snippets(language: str) -> list[tuple[str, str]]:
    """(document and number, text) of every fenced block in a language."""
    blocks = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [
        (f"{name}:{number}", text)
        for name, path in zip(NAMES, DOCS, strict=True)
        for number, text in enumerate(blocks.findall(path.read_text()), 1)
    ]


def commands() -> list[tuple[str, str]]:
    """(document, command line) of everything that starts with `oamface` in a code block, continuation lines joined."""
    found = []
    for name, path in zip(NAMES, DOCS, strict=True):
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"^(?:    |\$ )?((?:\S+ \| )?oamface .*)$", text, re.MULTILINE):
            if "```" not in line:
                found.append((name, line[line.index("oamface") :]))
        found += [(name, line) for line in re.findall(r"`(oamface (?:[a-z]|--)[^`]*)`", text)]
    return found


PYTHON = snippets("python")


def test_documents_hold_snippets_and_commands() -> None:
    assert len(PYTHON) >= 3
    assert len(commands()) >= 30


def test_python_snippets_pass_mypy_strict(tmp_path) -> None:
    for number, (_, text) in enumerate(PYTHON):
        (tmp_path / f"snippet_{number}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", *tmp_path.glob("*.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def files_of_snippets(tmp_path_factory, portrait) -> Path:
    """What the snippets read: two images, a video and a folder of bulk analysis."""
    folder = tmp_path_factory.mktemp("snippets")
    for name in ("photo.jpg", "other.jpg"):
        Image.fromarray(portrait).save(folder / name)
    write_video(folder / "clip.mp4", [portrait] * 3)
    (folder / "results").mkdir()
    rows = list(to_rows(oamface.analyze(portrait)))
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "results/part-00000.parquet")
    return folder


@pytest.mark.parametrize(("where", "text"), PYTHON, ids=[where for where, _ in PYTHON])
def test_python_snippet_runs(where, text, files_of_snippets) -> None:
    done = subprocess.run([sys.executable, "-c", text], cwd=files_of_snippets, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "line"), commands())
def test_shown_command_and_its_options_exist(name, line) -> None:
    from oamface.cli.app import app

    command = typer.main.get_command(app)
    words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    assert used <= options | {"--help"}


@pytest.mark.parametrize("path", DOCS, ids=NAMES)
def test_relative_links_lead_to_files(path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in link and not link.startswith("mailto:"):
            assert (path.parent / link).exists(), link


def test_every_public_name_has_a_docstring_and_an_entry_in_the_api_page() -> None:
    page = (ROOT / "docs/api.md").read_text().splitlines()
    for name in oamface.__all__:
        assert f"::: oamface.{name}" in page
        thing = getattr(oamface, name)
        members = vars(thing).items() if isinstance(thing, type) else ()
        public = [value for key, value in members if key[0] != "_" and (callable(value) or isinstance(value, property))]
        for documented in (thing, *public):
            assert (documented.__doc__ or "").strip(), documented


@pytest.mark.slow
def test_docs_build(tmp_path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs oamface[docs]")
    call = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert "The predicted probability" in (site / "api/index.html").read_text()  # of Age.at_least, from its docstring
    models = (site / "models/index.html").read_text()
    for model in oamface.list_models():
        assert f">{model.name}<" in models
        assert "Training data" in (site / f"models/{model.name}/index.html").read_text()
    assert oamface.__version__ in (site / "changelog/index.html").read_text()
    assert (site / "files/recipes/oam.toml").read_bytes() == (ROOT / "recipes/oam.toml").read_bytes()


def test_figures_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "docs/figures").iterdir()) < 300_000
