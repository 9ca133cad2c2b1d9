"""Minutes are what a user waits for."""

import re
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest
import torch
from trainings import train_small

from foreframe.evaluation.networks import fewer_within
from foreframe.training import monitoring
from foreframe.training.validation import Validation, seconds_between_validations


def test_slow_validations_by_the_clock_become_rarer_and_belong_to_the_minutes(tmp_path) -> None:
    scores, module = Validation(tmp_path / "rows", 2, seconds=20.0), SimpleNamespace(validation=0.0)
    trainer = Mock(L.Trainer, sanity_checking=False)
    for seconds, interval in ((1, 20.0), (4, 40.0)):
        scores._began = time.monotonic() - seconds
        scores._keep_time(trainer, module)
        assert module.validation == pytest.approx(seconds, abs=0.1)
        assert scores.seconds == pytest.approx(interval, abs=1)


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("00:01:00:20", 3620.0), (3, None), (0.5, None), (None, None)],
)
def test_validations_by_the_clock(interval: Any, seconds: float | None) -> None:
    assert seconds_between_validations({"val_check_interval": interval}) == seconds


@pytest.mark.parametrize("interval", ["soon", "00:20", "9999999999999:0:0:0", {"minutes": 2}])
def test_a_time_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(ValueError, match="or DD:HH:MM:SS, not"):
        seconds_between_validations({"val_check_interval": interval})


def test_as_many_clips_as_seconds_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("foreframe.evaluation.networks.time.monotonic", lambda: clock.now)

    def score(clips: Any) -> None:
        asked.append(len(clips))
        clock.now += 0.25

    clips = range(1000)
    some = fewer_within(1.25, clips, 4, score)
    assert asked == [4]
    assert len(some) == 16
    assert (some[0], some[-1]) == (0, 999)  # evenly spread
    assert fewer_within(0.01, clips, 4, score) == [0, 333, 666, 999]
    assert fewer_within(float("inf"), clips, 4, score) == clips
    assert fewer_within(0.01, range(3), 4, score) == range(3)


def test_a_training_prints_its_pace_and_memory_once(tmp_path, capsys) -> None:
    train_small(tmp_path / "run", epochs=6)  # of 4 steps
    lines = [line for line in capsys.readouterr().out.splitlines() if "expected end" in line]
    words = (
        r"step 10: [\d.e-]+ s per step, expected end \d\d \w+ \d\d:\d\d, peak memory ([\d,]+) MiB"
    )
    (found,) = [re.fullmatch(words, line) for line in lines]
    assert found is not None
    assert 50 < int(found[1].replace(",", "")) < 50_000


@pytest.mark.parametrize(
    ("limits", "left"),
    [({}, 980), ({"max_steps": 500}, 480), ({"minutes": 5.0}, 270), ({"each": 2}, 1960)],
)
def test_the_end_follows_from_steps_or_minutes(monkeypatch, limits: Any, left: float) -> None:
    """1,000 steps of a second each, after a first one of a minute, which compiles; 20 are done."""
    printed: list[str] = []
    clock = iter([0.0, *range(60, 70)])
    monkeypatch.setattr(monitoring, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(monitoring, "say", printed.append)
    accumulated, most = limits.get("each", 1), limits.get("max_steps", -1)
    trainer = Mock(L.Trainer, global_step=20, max_steps=most, accumulate_grad_batches=accumulated)
    learning = SimpleNamespace(minutes=limits.get("minutes"))
    module = Mock(planned_steps=1000, elapsed=30.0, learning=learning, device=torch.device("cpu"))
    pace = monitoring.Pace()
    for _ in range(11):
        pace.on_train_batch_end(trainer, module)
    (line,) = printed
    assert f"step 20: {accumulated} s per step" in line
    end = {datetime.now() + timedelta(seconds=left + late) for late in (-2, 2)}
    assert any(f"expected end {one:%d %b %H:%M}" in line for one in end)


def test_peak_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 2**31)
    assert monitoring.peak_memory("cuda") == ", peak memory 2,048 MiB"
    assert monitoring.peak_memory("mps") == ""
