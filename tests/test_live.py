"""Frames as they come are those of the file or folder, once each, wherever reading goes on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import standins
from foreframe import Clip, Forecaster, Scaling, clips_from
from foreframe.data import ReadOptions
from foreframe.forecasting.incoming import live_frames, place_of
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def persistence(**reading) -> Forecaster:
    trained = Trained(reading=ReadOptions(**reading))
    return Forecaster(build_model("persistence"), scaling=Scaling(0, 255), trained=trained)


def stacked(pasts: Iterable[Clip]) -> np.ndarray:
    """The last frame of each."""
    return np.stack([past.frames[:][-1] for past in pasts])


def test_frames_are_read_as_in_training_unless_told_otherwise() -> None:
    standins.film(Path("film.mp4"), 6)
    forecaster = persistence(colour="grey", size=[24, 32])
    frames = stacked(live_frames(forecaster, "film.mp4"))
    (clip,) = clips_from("film.mp4", colour="grey", size=[24, 32])
    np.testing.assert_array_equal(frames, clip.frames[0:6])
    opened = forecaster.open("film.mp4")
    np.testing.assert_array_equal(opened.frames[0:6], clip.frames[0:6])
    (first, *_) = live_frames(forecaster, "film.mp4", size=[12, 16], every=2)
    assert first.frames.shape == (1, 1, 12, 16)
    assert forecaster.open("film.mp4", size=[12, 16], every=2).frames.shape == (3, 1, 12, 16)


def test_reading_goes_on_where_it_stopped() -> None:
    frames = (255 * standins.blobs(5, 16, 16)).astype(np.float32)
    Path("live").mkdir()
    for k, frame in enumerate(frames):
        np.save(f"live/{k}.npy", frame)
    np.save("all.npy", frames)
    forecaster = persistence()
    for source in ("live", "all.npy"):
        stream = forecaster.stream(1)
        place = place_of(stream, source)
        begun = live_frames(forecaster, source, place, wait=0)
        first = [next(begun), next(begun)]
        stream.source = dict(place)
        rest = list(live_frames(forecaster, source, place_of(stream, source), wait=0))
        np.testing.assert_array_equal(stacked(first + rest), frames[:, None])
        assert place_of(stream, "another") == {"path": str(Path("another").resolve())}
