"""What a release needs agrees: one version, workflows that call what exists, files that parse."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import oamface

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FILES = [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def load(path: Path):
    return yaml.load(path.read_text(), yaml.BaseLoader)  # or the key "on" would be true


def test_versions_agree() -> None:
    assert oamface.__version__ == VERSION
    assert load(ROOT / "CITATION.cff")["version"] == VERSION


def test_newest_version_of_the_changelog_is_the_packages() -> None:
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert versions[0] == (VERSION, load(ROOT / "CITATION.cff")["date-released"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_parses(path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_targets_and_actions_of_a_major_version(path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}  # jobs that need more say so
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    called = {name for step in steps for name in re.findall(r"^make ([a-z-]+)$", step.get("run", ""), re.MULTILINE)}
    assert called <= TARGETS
    assert called
    assert all(re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step["uses"]) for step in steps if "uses" in step)


def test_light_installation_is_tested_on_every_python_and_system() -> None:
    matrix = load(ROOT / ".github/workflows/tests.yml")["jobs"]["light"]["strategy"]["matrix"]
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    pythons = [line.rsplit(" ", 1)[1] for line in listed if re.search(r":: 3\.\d+$", line)]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest", "windows-latest"], "python": pythons}


def test_only_the_publishing_job_may_ask_pypi_for_a_token() -> None:
    jobs = load(ROOT / ".github/workflows/release.yml")["jobs"]
    allowed = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert allowed == ["publish"]
    assert jobs["publish"]["environment"] == "pypi"


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name)
def test_issue_form_asks_with_unique_names(path) -> None:
    form = load(path)
    if path.name == "config.yml":
        return
    names = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert names and len(names) == len(set(names))
    assert {"name", "description", "body"} <= form.keys()


def test_hooks_are_what_make_lint_runs() -> None:
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    hooks = [hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    tools = {re.search(r"-m (\w+(?: \w+)?)", hook["entry"]).group(1) for hook in hooks}
    assert tools == set(re.findall(r"-m (\w+(?: [a-z]+)?)", lint))
