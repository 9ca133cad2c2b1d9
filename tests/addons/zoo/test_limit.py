"""The least error that ten frames of Moving MNIST allow, estimated by a benchmark."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe import MovingMNIST

LIMIT = Path(__file__).parents[3] / "benchmarks" / "zoo" / "digits" / "limit.py"


@pytest.mark.slow
def test_the_limit_of_moving_digits(tmp_path: Path) -> None:
    written = tmp_path / "limit.json"
    program = [sys.executable, str(LIMIT), "--clips", "8", "--samples", "32"]
    program += ["--json", str(written)]
    table = subprocess.run(program, check=True, text=True, stdout=subprocess.PIPE).stdout
    scores = json.loads(written.read_text(encoding="utf-8"))
    both, alone = (scores[axes]["MSE"]["overall"] for axes in ("both axes", "independent axes"))
    assert 2 < both < alone < 40
    assert f"| both axes: MSE | {both:.3g}" in table
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
    limit = runpy.run_path(str(LIMIT))
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
