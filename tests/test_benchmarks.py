"""The programs of benchmarks/ say what they do, and one of each kind runs, small."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from foreframe import MovingMNIST

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Which others use.
WORKERS = {"worker", "runtime_worker", "candidates", "processor_time", "learning"}
# Programs of add-ons, which may be deleted.
ADDONS = {"archive": "archives", "browser": "serve", "places": "radar"}
ADDONS |= dict.fromkeys(("last_picture", "motion", "temperature"), "zoo")
MISSING = {p for p, a in ADDONS.items() if not (Path(__file__).parent / "addons" / a).is_dir()}
PROGRAMS = sorted(p for p in BENCHMARKS.rglob("*.py") if p.stem not in WORKERS | MISSING)
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


def run(program: str, *arguments: str, words: str = "") -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        input=words,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_table_of_speed() -> None:
    said = run("streaming.py", "40")
    assert "after      40 frames" in said
    assert "differ by" in said


@pytest.mark.slow
def test_a_worker_measures_time_and_memory() -> None:
    began = time.perf_counter()
    ready, *told = run("worker.py", "plain", SIZES, words="forward\nstep\nmemory\n").split()
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
    said = run("recordings.py", "--quick", *files, "--output", str(tmp_path / "out"))
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+)", said, re.MULTILINE))
    assert rows["short"].startswith("train failed: ")
    kept = json.loads((tmp_path / "out" / "long" / "seed-0.json").read_text(encoding="utf-8"))
    scores = {row: of["standard"]["mse"]["overall"] for row, of in kept["card"]["scores"].items()}
    own, shown = scores.pop("model"), rows["long, model"].split("|")[-2]
    assert float(shown) == pytest.approx(own / min(scores.values()), abs=6e-4)


@pytest.mark.slow
def test_the_limit_of_moving_digits(tmp_path: Path) -> None:
    written = tmp_path / "limit.json"
    said = run("digits/limit.py", "--clips", "8", "--samples", "32", "--json", str(written))
    scores = json.loads(written.read_text(encoding="utf-8"))
    both, alone = (scores[axes]["MSE"]["overall"] for axes in ("both axes", "independent axes"))
    assert 2 < both < alone < 40
    assert f"| both axes: MSE | {both:.3g}" in said
    assert 0.7 < scores["both axes"]["spread / skill"]["overall"] < 1.4


def rejected(past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Trajectories (n, 2 axes, 20) of random starts and angles that have these past positions; the
    columns' may be unknown (-1). All starts that lead to the first position are equally likely.
    """
    angle = random.uniform(0, 2 * np.pi, 2_000_000)
    speed = 0.1 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    place = random.random(speed.shape)
    place = np.where(past[:, 0] < 0, place, (past[:, 0] + place) / 36 - speed)
    possible = ((place >= 0) & (place < 1)).all(axis=1)
    track = np.empty((possible.sum(), 2, 0), np.int64)
    place, speed = place[possible], speed[possible]
    for frame in range(20):
        place = place + speed
        speed = np.where((place <= 0) | (place >= 1), -speed, speed)
        place = place.clip(0, 1)
        track = np.concatenate([track, np.int64(place * 36)[..., None]], axis=2)
        if frame < 10:
            same = ((track[..., frame] == past[:, frame]) | (past[:, frame] < 0)).all(axis=1)
            track, place, speed = track[same], place[same], speed[same]
    return track


@pytest.mark.slow
@pytest.mark.parametrize("columns", [True, False], ids=["both axes", "rows alone"])
def test_the_limit_draws_what_the_past_leaves_open(columns: bool) -> None:
    limit = runpy.run_path(str(BENCHMARKS / "digits" / "limit.py"))
    films, random = MovingMNIST(count=1), np.random.default_rng(0)
    past = np.concatenate(films.positions(np.arange(12)), axis=1)[..., :10]
    past = past[((past[..., 0] > 0) & (past[..., 0] < 36)).all(axis=1)][:6]  # not on a wall at once
    past[:, 1] = np.where(columns, past[:, 1], -1)
    for digit, drawn in zip(past, limit["posterior"](past, 20_000, random), strict=True):
        true = rejected(digit, random)
        assert len(true) > 30
        axes = slice(0, 2 if columns else 1)
        shares = [
            np.stack([(track[:, axes] == place).mean(axis=0) for place in range(37)])
            for track in (drawn, true)
        ]
        apart = np.abs(shares[0] - shares[1]).sum(axis=0) / 2  # total variation
        assert apart.max() < 3 / len(true) ** 0.5
