"""Minutes are what a user waits for."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest

from foreframe import MovingMNIST
from foreframe.clips.clip import Window
from foreframe.evaluation.networks import fewer_within
from foreframe.models import build_model
from foreframe.training.notices import listening
from foreframe.training.pace import seconds_of_validation, val_check_interval, validated_clips
from foreframe.training.watch import BusyWatch


def test_as_many_clips_as_the_minutes_allow() -> None:
    assert validated_clips(4, 100, 0.01, 9000) == 100
    assert validated_clips(4, 100, 0.2, 9000) == 30  # a fortieth of the minutes
    assert validated_clips(4, 100, 0.01, 60) == 20  # a third of what an epoch trains on
    assert validated_clips(0.1, 100, 10, 9000) == 8
    assert validated_clips(0.1, 5, 10, 9000) == 5


def test_validations_by_the_clock_become_rarer() -> None:
    assert val_check_interval("00:00:00:20", 0.5) == "00:00:00:20"
    assert val_check_interval("00:00:00:20", 4) == "00:00:01:20"
    assert val_check_interval("00:02:00:00", 4) == "00:02:00:00"
    assert val_check_interval(0.25, 4) == 0.25
    with pytest.raises(ValueError, match="DD:HH:MM:SS"):
        val_check_interval("00:10:00", 4)


def test_a_clip_is_timed_and_the_network_left_as_it_was() -> None:
    network = build_model("next_frame", {"core": {"convlstm": {"hidden": [4]}}}).train()
    clips: Any = MovingMNIST("validation", clips=3)
    took = seconds_of_validation(network, clips, Window(10, 10), 0, 4)
    assert 0 < took < 30
    assert network.training


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


@pytest.mark.parametrize(("times", "said"), [(5.0, 1), (2.0, 0)])
def test_busy_cores_are_told_once(
    times: float, said: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(wall=0.0)
    monkeypatch.setattr("foreframe.training.watch.time.perf_counter", lambda: clock.wall)
    monkeypatch.setattr("foreframe.training.watch.time.process_time", lambda: clock.wall / times)
    watch, module = BusyWatch(), SimpleNamespace(device=SimpleNamespace(type="cpu"))
    with listening(verbose=True):
        for step in range(1, 61):
            watch.on_train_batch_start()
            clock.wall += 0.5
            watch.on_train_batch_end(Mock(spec=L.Trainer, global_step=step), module)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == said
    assert not said or "step 20: a step takes 0.5 s and uses 0.1 s of a processor" in lines[0]
