"""Some of the cases that bad_inputs.py makes up, by a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("bad_inputs.py")


@pytest.mark.parametrize(
    ("first", "cases"),
    [
        pytest.param(100_000, 5, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(0, 3000, marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
    ],
)
def test_bad_inputs_are_handled_or_refused_in_one_line(first: int, cases: int) -> None:
    told = subprocess.run(
        [sys.executable, str(SCRIPT), "--first", str(first), "--cases", str(cases)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert f"{cases} cases in all" in told.stdout
