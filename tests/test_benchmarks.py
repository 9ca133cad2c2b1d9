"""The programs of benchmarks/ say what they do, and run: small, and not to be measured by.

Not run beyond its help: publish.py, which writes into the package.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = json.dumps({"batch": 1, "past": 2, "future": 2, "size": 8, "hidden": 2})


def run(program: str, *arguments: str, asked: str = "") -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        input=asked,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("program", ["publish.py", "quality.py", "speed.py", "streaming.py"])
def test_help(program: str) -> None:
    about = (BENCHMARKS / program).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    said = run(program, "--help")
    assert said.startswith("usage: ")
    assert about in said


def test_streaming() -> None:
    said = run("streaming.py", "40")
    assert "after      40 frames" in said
    assert "differ by" in said


def test_speed_of_the_generator() -> None:
    assert "foreframe, uint8 (training)" in run("speed.py", "--part", "generator", "--rounds", "1")


@pytest.mark.parametrize("way", ["plain", "engine-bf16-save", "engine-layer"])
def test_a_worker_of_the_speed_tables(way: str) -> None:
    ready, *told = run("worker.py", way, SIZES, asked="forward\nstep\nmemory\n").split()
    assert ready == "ready"
    assert len(told) == 3
    assert all(float(number) >= 0 for number in told)
    assert float(told[0]) > 0


def test_quality_draws_what_was_trained_before(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rows = [
        {"seconds": seconds, "scores": {"openstl": {"mse": {"overall": mse}}}}
        for seconds, mse in ((30, 150.0), (62, 120.25), (250, 97.5))
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "run" / "validation.jsonl").write_text(lines, encoding="utf-8")
    said = run("quality.py", str(tmp_path / "curve.png"), str(tmp_path / "run"))
    assert "| run | 150.0 | 120.2 |" in said
    assert "97.5 (4 min)" in said
    with Image.open(tmp_path / "curve.png") as picture:
        assert min(picture.size) > 100
