"""A hundred of the cases that bad_inputs.py makes up; the script runs thousands."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_hundred_bad_inputs_are_handled_or_refused_in_one_line() -> None:
    script = Path(__file__).with_name("bad_inputs.py")
    told = subprocess.run(
        [sys.executable, str(script), "--cases", "100", "--first", "100000"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "all               100" in told.stdout
