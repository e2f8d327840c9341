import json

from hypothesis import given
from hypothesis import strategies as st

from oamface.cli.stdout import json_line, printable

NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80)


@given(NAMES, st.sampled_from(["utf-8", "ascii", "cp1252", "UTF8", "latin-1"]))
def test_json_line_round_trips_every_name(name: str, encoding: str) -> None:
    line = json_line({"source": name}, encoding)
    assert json.loads(line.encode(encoding).decode(encoding)) == {"source": name}
    assert "\n" not in line


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("a\x1b[31m\nb é") == "a\\x1b[31m\\nb é"
