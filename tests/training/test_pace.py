"""Minutes are what a user waits for."""

import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest

from foreframe.evaluation.networks import fewer_within
from foreframe.training.validation import Validation


def test_slow_validations_by_the_clock_become_rarer_and_belong_to_the_minutes(tmp_path) -> None:
    scores, module = Validation(tmp_path / "rows", 2, seconds=20.0), SimpleNamespace(validation=0.0)
    trainer = Mock(L.Trainer, sanity_checking=False)
    for seconds, interval in ((1, 20.0), (4, 40.0)):
        scores._began = time.monotonic() - seconds
        scores._keep_time(trainer, module)
        assert module.validation == pytest.approx(seconds, abs=0.1)
        assert scores.seconds == pytest.approx(interval, abs=1)


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
