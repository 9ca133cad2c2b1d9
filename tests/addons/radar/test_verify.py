"""benchmarks/radar/verify.py: its counts equal explicit loops."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe import Clip

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch):
    for folder in (BENCHMARKS, BENCHMARKS / "radar"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["verify.py"])
    import verification
    import verify

    return verify, verification


def rain(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(0.4, 3.0, shape)
    values[..., :3, :2] = np.nan
    return values


def test_counts(programs) -> None:
    verify, verification = programs
    forecast, truth = rain(0, (2, 24, 21)), rain(1, (2, 24, 21))
    found = verify.counted(forecast, truth)
    hits, misses, alarms = verification.contingency([found, found], "5")
    for s, (made, came) in enumerate(zip(forecast, truth, strict=True)):
        cells = [*zip(made.ravel(), came.ravel(), strict=True)]
        known = [(f, o) for f, o in cells if not np.isnan([f, o]).any()]
        assert hits[s] == 2 * sum(f >= 5 and o >= 5 for f, o in known)
        assert misses[s] == 2 * sum(f < 5 <= o for f, o in known)
        assert alarms[s] == 2 * sum(o < 5 <= f for f, o in known)
        expected = np.sqrt(np.mean([(f - o) ** 2 for f, o in known]))
        assert verification.rmse([found])[s] == pytest.approx(expected)
        gap = reference = 0.0
        for y in range(24 - 16):
            for x in range(21 - 16):
                part = np.s_[y : y + 17, x : x + 17]
                if np.isnan(came[part]).any():
                    continue
                p, o = (of[part] >= 5 for of in (made, came))
                gap += (p.mean() - o.mean()) ** 2
                reference += p.mean() ** 2 + o.mean() ** 2
        assert verification.fss([found], "5")[s] == pytest.approx(1 - gap / reference)


def test_parts_of_the_brier_score_add_up(programs) -> None:
    verify, verification = programs
    truth = rain(1, (1, 24, 21))
    p = np.round(np.random.default_rng(2).uniform(0, 0.9, truth.shape), 1) + 0.05  # one per bin
    some = [{"n": [1], "1": {"bins": verify.probable(p, truth, 1.0)}}]
    found = {name: values[0] for name, values in verification.brier(some, "1").items()}
    known = ~np.isnan(truth)
    score = np.mean((p[known] - (truth[known] >= 1)) ** 2)
    parts = found["reliability"] - found["resolution"] + found["uncertainty"]
    assert score == pytest.approx(parts)
    assert found["skill"] == pytest.approx(1 - score / found["uncertainty"])


def test_warnings_count_from_the_moment_at_which_a_user_is_informed(programs) -> None:
    _, verification = programs
    begins = [1, 2, 7, 12, 1]  # frames after the last one; 12: after the half hour
    values = np.zeros((13, 5))
    for place, frame in enumerate(begins):
        values[frame:, place] = 3.0
    p = [0.9, 0.9, 0.9, 0.9, 0.1]
    method = {"n": [1] * 12, "within": [[x] * 12 for x in p]}
    start = {"first": 1, "methods": {"radar": method}}
    event = {"values": values.tolist(), "minutes": 5, "starts": [start]}
    cases = verification.cases_of(event, "radar", age=5.0)
    np.testing.assert_allclose(cases["until"][0], [0, 5, 30, np.inf, 0])
    assert verification.outcome(cases, 0.5).tolist() == [2, 1, 1, 1]


def test_gauges_read_from_the_radar_are_the_radar(programs, tmp_path: Path) -> None:
    verify, _ = programs
    values = np.random.default_rng(0).gamma(0.4, 3.0, (4, 1, 6, 7))
    times = np.datetime64("2020-01-01T00:00", "s") + np.arange(4) * np.timedelta64(300, "s")
    clip = Clip(values, times, "mm/h")
    spots = {"a": (1, 2), "b": (5, 6)}
    with (tmp_path / "gauges.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["name", "row", "column", "time", "value"])
        for name, (row, column) in spots.items():
            for moment, frame in zip(times[:3], values[:3, 0], strict=True):
                lines.writerow([name, row, column, f"{moment}Z", frame[row, column]])
    places, found = verify.gauges(tmp_path / "gauges.csv", clip)
    assert [(place.row, place.column) for place in places] == [*spots.values()]
    np.testing.assert_allclose(found[:3], values[:3, 0, [1, 5], [2, 6]])
    assert np.isnan(found[3]).all()
