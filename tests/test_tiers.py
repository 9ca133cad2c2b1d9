"""Tests by what they cost: each tier has a target of the Makefile."""

import re
import tomllib
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_marker_is_run_by_a_make_target() -> None:
    """Whatever markers a test has, some target selects it; one that has none is in `make test`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    registered = project["tool"]["pytest"]["ini_options"]["markers"]
    markers = [line.partition(":")[0] for line in registered]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    selected = re.findall(r"^\t\$\(PYTEST\w*\) -m (.+)$", makefile, re.MULTILINE)
    assert len(selected) == 1 + len(markers)
    for n in range(len(markers) + 1):
        for carried in combinations(markers, n):
            here = {marker: marker in carried for marker in markers}
            assert any(eval(words.strip('"'), {}, here) for words in selected), carried


def test_what_lands_has_passed_the_slow_tests() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make test", "make test-slow", "make lint"} <= set(steps)
