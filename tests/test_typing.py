"""Types reach users: mypy reads a script of theirs as strictly as it can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import foreframe

SCRIPT = Path(__file__).parent / "typing" / "script.py"
PACKAGE = Path(foreframe.__file__).parent


@pytest.mark.full
def test_a_users_script_is_typed(tmp_path) -> None:
    """Types that it asserts, and errors that it expects: an ignored line without one is refused."""
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        cwd=tmp_path,  # without the settings of this project
        check=False,
    )
    assert done.stdout.startswith("Success"), done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
