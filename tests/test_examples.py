"""The notebooks run from their first cell to their last, on synthetic people, and are committed without outputs."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))
nbformat = pytest.importorskip("nbformat", reason="notebooks are run with nbclient: oamface[dev]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all of them run, so that the people are drawn once."""
    return tmp_path_factory.mktemp("notebooks")


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["fairness_audit", "fine_tuning", "first_steps"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, folder, monkeypatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run with nbclient: oamface[dev]")
    pytest.importorskip("ipykernel", reason="notebooks are run by ipykernel: oamface[dev]")
    pytest.importorskip("anny", reason="synthetic people need anny: oamface[synth]")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": folder}}, timeout=200).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs and not any(output.output_type == "error" for output in outputs)
