"""The programs of benchmarks/ say what they do, and one of each kind runs, small."""

import json
import re
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from programs import printed_by

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Which others use.
WORKERS = {"worker", "runtime_worker", "candidates", "processor_time", "learning", "verification"}
ADDONS = Path(__file__).parents[1] / "src" / "foreframe" / "addons"


def present(program: Path) -> bool:
    """Whether the program's add-on is installed; the core's programs always are."""
    room = program.relative_to(BENCHMARKS).parts[0]
    return room == program.name or (ADDONS / room).is_dir()


PROGRAMS = [p for p in sorted(BENCHMARKS.rglob("*.py")) if p.stem not in WORKERS and present(p)]
SIZES = json.dumps({"batch": 1, "past": 2, "future": 2, "size": 8, "hidden": 2})


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_help(program: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(program.parent))
    monkeypatch.setattr(sys, "argv", [str(program), "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(program), run_name="__main__")
    assert not left.value.code
    about = re.search(r'"""(.*)', program.read_text(encoding="utf-8"))
    assert about is not None
    said = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    assert said.startswith("usage: ")
    assert about[1] in said


@pytest.mark.slow
def test_a_table_of_speed() -> None:
    said = printed_by(BENCHMARKS / "streaming.py", "40")
    assert "after      40 frames" in said
    assert "differ by" in said


@pytest.mark.slow
def test_a_worker_measures_time_and_memory() -> None:
    began = time.perf_counter()
    asked = "forward\nstep\nmemory\n"
    said = printed_by(BENCHMARKS / "worker.py", "plain", SIZES, stdin=asked)
    ready, *told = said.split()
    assert ready == "ready"
    forward, step, mib = map(float, told)
    assert min(forward, step) > 1e-6
    assert forward + step < time.perf_counter() - began
    assert 0 <= mib < 64  # above what the process held before, which is more than that


@pytest.mark.full
def test_a_table_of_trainings(tmp_path: Path) -> None:
    """A recording that is trained on and scored, and one that is too short for that."""
    np.save(tmp_path / "short.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(tmp_path / "long.npy", np.random.default_rng(0).random((80, 8, 8)))
    files = [str(tmp_path / f"{name}.npy") for name in ("short", "long")]
    words = ("--quick", *files, "--output", tmp_path / "out")
    said = printed_by(BENCHMARKS / "recordings.py", *words)
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+)", said, re.MULTILINE))
    assert rows["short"].startswith("train failed: ")
    kept = json.loads((tmp_path / "out" / "long" / "seed-0.json").read_text(encoding="utf-8"))
    scores = {row: of["standard"]["mse"]["overall"] for row, of in kept["card"]["scores"].items()}
    own, shown = scores.pop("model"), rows["long, model"].split("|")[-2]
    assert float(shown) == pytest.approx(own / min(scores.values()), abs=6e-4)
