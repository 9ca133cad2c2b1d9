"""Some of the cases that bad_inputs.py makes up, by a process of their own."""

from pathlib import Path

import pytest

from programs import printed_by

SCRIPT = Path(__file__).with_name("bad_inputs.py")


@pytest.mark.parametrize(
    ("first", "cases"),
    [
        pytest.param(100_000, 5, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(0, 3000, marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
    ],
)
def test_bad_inputs_are_handled_or_refused_in_one_line(first: int, cases: int) -> None:
    words = ("--first", f"{first}", "--cases", f"{cases}")
    said = printed_by(SCRIPT, *words, OMP_NUM_THREADS="1")
    assert f"{cases} cases in all" in said
