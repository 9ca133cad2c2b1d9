"""Programs that tests run in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path


def printed_by(*words: str | Path, stdin: str = "", **env: str) -> str:
    """Return what a program of Python prints. It finds what the tests import, and must end well."""
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path} | env,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
