import subprocess
import sys
from pathlib import Path

import skimage.data
from PIL import Image

from oamface.data.store import Store


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("oamface")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_prepare_writes_a_store_and_says_what_it_left_out(tmp_path) -> None:
    (tmp_path / "set/with_mask").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "set/with_mask/a.png")
    (tmp_path / "set/with_mask/b.png").write_bytes(b"")
    done = run("prepare", "masks", tmp_path / "set", "--out", tmp_path / "out", "--size", 64)
    assert done.returncode == 0, done.stderr
    assert "1 pictures refused" in done.stdout
    assert Store.open(tmp_path / "out", size=64).names == ["with_mask/a.png"]


def test_errors_are_one_line_and_code_2(tmp_path) -> None:
    done = run("prepare", "utkface", tmp_path / "missing.tar", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "missing.tar" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert run("prepare", "imagenet", tmp_path, "--out", tmp_path).returncode == 2


def test_the_command_line_does_not_import_the_training_half() -> None:
    code = "import sys, oamface.cli; sys.exit(bool({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
