"""The service as a container isolates it: no file system is writable, and the process has no capability."""

import io
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from helpers.program import PROGRAM

# Run in a mount namespace of its own: what it changes ends with it.
ISOLATE = """
mount --make-rprivate / || exit 9
for folder in $(awk '{print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro "$folder"; done 2> /dev/null
for folder in / /tmp /var/tmp /dev/shm "$HOME" "$PWD"; do touch "$folder/oamface-test" 2> /dev/null && exit 9; done
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
CANNOT_ISOLATE = 9


@pytest.fixture
def service() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running service and its address."""
    if not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("isolating a process needs unshare and setpriv")
    call = ["unshare", "--mount", "sh", "-c", ISOLATE, "sh", PROGRAM, "serve", "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line and process.wait(60) in (1, CANNOT_ISOLATE):  # 1: from unshare, as oamface's own errors are 2
            pytest.skip("this user may not make file systems read-only")
        assert line.startswith("oamface: http://"), process.communicate(timeout=60)
        yield process, line.split()[1]
        process.kill()


@pytest.mark.slow
def test_service_needs_no_writable_file_system_and_no_capability(service, portrait) -> None:
    process, address = service
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert {int(value, 16) for value in re.findall(r"^Cap(?:Eff|Prm|Bnd):\s(\w+)$", status, re.MULTILINE)} == {0}
    for name in ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(portrait).save(stream, name)
        response = httpx.post(f"{address}/v1/analyze", content=stream.getvalue(), timeout=60)
        assert response.status_code == 200, (name, response.text)
        assert len(response.json()["faces"]) == 1, name
    files = [("image", (f"{number}.tif", stream.getvalue())) for number in range(2)]
    assert httpx.post(f"{address}/v1/batch", files=files, timeout=60).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
