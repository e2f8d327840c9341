"""Keeps private vocabulary out: words that an engineer of the field would have to learn first."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What to say instead is in CONTRIBUTING.md.
BANNED = re.compile(
    r"(?<![\w-])("
    r"photographs?|photographed|pictures?|trunks?|chips?|marks|told|taught|teach|teaches|echo(?:es|ed)?|averagings?|"
    r"everybody|everyones|laid|settle[sd]?|settling|framing|bare|traced|catalogues?|mapped|soft_loss|set_loss|"
    r"recovery_loss|on_covered|without_a_face|faces_a_pass|steps_a_pass|kindly"
    r")(?![\w-])"
)
ENDINGS = {".py", ".md", ".toml", ".j2", ".js", ".html", ".css", ".yaml"}
GENERATED = ("docs/report/", "docs/api/", "src/oamface/server/static/vendor/")


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in ENDINGS and not str(path).startswith(GENERATED)]


def parts(name: str) -> str:
    """Identifiers split at underscores and capitals, so that `trunk_name` and `TrunkName` are seen too."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))


@pytest.mark.parametrize("path", files(), ids=str)
def test_file_uses_the_words_of_the_field(path: Path) -> None:
    lines = (ROOT / path).read_text().splitlines() if (ROOT / path).exists() else []
    if path == Path(__file__).relative_to(ROOT):
        return
    found = [
        f"{path}:{number}: {match.group()}"
        for number, line in enumerate(lines, 1)
        if (match := BANNED.search(line.lower()) or BANNED.search(parts(line).lower()))
    ]
    assert not found
