import os
import signal
import subprocess
import sys

PROGRAM = """
import os, signal
from oamface.cli import app

def load(**options):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        while True: pass
    except BaseException as error:
        raise ImportError("initialization failed") from error

app.app = load
app.main()
"""


def test_signal_while_a_native_module_is_loaded_is_an_interruption() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "oamface: interrupted; what was done is kept\n"


def test_import_error_without_a_signal_is_not_hidden() -> None:
    program = PROGRAM.replace(f"os.kill(os.getpid(), signal.{signal.SIGTERM.name})", "raise ValueError")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr.endswith("ImportError: initialization failed\n")
