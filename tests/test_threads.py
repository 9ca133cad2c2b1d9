"""OpenMP's waiting threads sleep soon, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

SET = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")


def seen(program: str, **given: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name not in SET} | given
    show = f"import os; print(*(os.environ.get(name, '-') for name in {SET}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; {show}"],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "given", "expected"),
    [
        ("import foreframe", {}, ["10000", "0", "-"]),
        ("import foreframe", {"GOMP_SPINCOUNT": "7"}, ["7", "0", "-"]),
        ("import foreframe", {"OMP_WAIT_POLICY": "active"}, ["-", "-", "active"]),
        ("import torch, foreframe", {}, ["-", "-", "-"]),  # too late
    ],
)
def test_what_is_set(program: str, given: dict[str, str], expected: list[str]) -> None:
    assert seen(program, **given) == expected
