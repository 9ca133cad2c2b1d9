"""Minutes are what a user waits for."""

import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest

from foreframe.evaluation.networks import fewer_within
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
    [("00:01:00:20", 3620.0), ({"minutes": 2}, 120.0), (3, None), (0.5, None), (None, None)],
)
def test_validations_by_the_clock(interval: Any, seconds: float | None) -> None:
    assert seconds_between_validations({"val_check_interval": interval}) == seconds


@pytest.mark.parametrize("interval", ["soon", "00:20", "9999999999999:0:0:0", {"ages": 2}])
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
