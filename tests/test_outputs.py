"""Forecasts of clips, and the files that they become, read back by av, Pillow, numpy and xarray."""

import resource
import shutil
from pathlib import Path
from typing import Any

import av
import cftime
import numpy as np
import pytest
from PIL import Image, ImageSequence

from foreframe import Clip, Forecaster, Scaling, Window, clips_from
from foreframe.base.notes import listening
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.outputs import (
    captions,
    check_output,
    write_values,
)
from foreframe.forecasting.rolling import Rolling
from foreframe.models import build_model

KELVIN = Scaling(250, 310, "K", "minmax")


def still(scaling: Scaling = KELVIN) -> Forecaster:
    return Forecaster(build_model("persistence"), Window(4, 4), scaling)


def write_forecast(
    path: Path, past: Clip, future: Any, scaling: Scaling, truth: Clip | None = None, **given: Any
) -> None:
    options = PredictOptions(steps=len(future), **given)
    made = Forecast(past, past, future, truth, len(past) - 1, scaling, "a test", options)
    made.write(path)


def field(times=None, t: int = 4, h: int = 6, w: int = 8, units: str = "K", c: int = 1) -> Clip:
    frames = np.random.default_rng(0).uniform(260, 300, (t, c, h, w)).astype(np.float32)
    there = {"latitude": np.linspace(60.0, 55.0, h), "longitude": np.linspace(0.0, 7.0, w)}
    return Clip(frames, times, units, there, "field.nc", "t2m")


def stamps(*days: str) -> np.ndarray:
    return np.array(days, "datetime64[ns]")


NOLEAP = [cftime.DatetimeNoLeap(2001, 2, day) for day in (25, 26, 27, 28)]
TIMES = {
    "5 minutes": (
        np.datetime64("2020-01-01T23:45", "ns") + np.arange(4) * np.timedelta64(5, "m"),
        stamps("2020-01-02T00:05", "2020-01-02T00:10"),
    ),
    "hours": (
        np.datetime64("2020-02-28T21", "ns") + np.arange(4) * np.timedelta64(1, "h"),
        stamps("2020-02-29T01", "2020-02-29T02"),
    ),
    "a calendar without leap days": (
        np.array(NOLEAP),
        np.array([cftime.DatetimeNoLeap(2001, 3, 1), cftime.DatetimeNoLeap(2001, 3, 2)]),
    ),
    "seconds": (np.arange(4) * 0.04, np.array([0.16, 0.20])),
}


@pytest.mark.parametrize("case", TIMES)
def test_the_times_that_follow(case) -> None:
    given, expected = TIMES[case]
    future = still().predict(field(given), 2)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(future.times, expected)
    else:
        assert future.times.tolist() == expected.tolist()
    assert (future.units, future.variable, len(future)) == ("K", "t2m", 2)
    np.testing.assert_array_equal(future.coordinates["latitude"], field().coordinates["latitude"])
    labels = captions(given, future.times)
    assert len(labels) == 6
    assert all("+" in label for label in labels[4:])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2019-03-31 2019-04-30", "2019-05-31 2019-06-30"),
        ("2019-11-30T18 2019-12-31T18", "2020-01-31T18 2020-02-29T18"),
        ("2018-12-30 2019-01-30 2019-02-28", "2019-03-30 2019-04-30"),
        ("2019-12-16 2020-01-16 2020-02-15", "2020-03-16 2020-04-16"),  # the days of the middles
        ("2019-10-17 2019-11-16 2019-12-17", "2020-01-17 2020-02-17"),  # of no regular day
        ("2019-01-15T06 2019-02-15T06", "2019-03-15T06 2019-04-15T06"),
        ("2003-01-01 2004-01-01", "2005-01-01 2006-01-01"),
        ("2019-04-01 2019-07-01 2019-10-01", "2020-01-01 2020-04-01"),
        ("2019-01-10 2019-02-07 2019-03-07", "2019-04-04 2019-05-02"),  # 28 days
        ("2019-01-10 2019-02-10 2019-03-13", "2019-04-13 2019-05-14"),  # 31 days
        ("2019-01-30 2019-03-01 2019-03-31 2019-04-30", "2019-05-30 2019-06-29"),  # 30 days
    ],
)
def test_months_go_on_where_times_follow_the_calendar(given: str, expected: str) -> None:
    for unit in ("ns", "s"):
        times = np.array(given.split(), f"datetime64[{unit}]")
        after = field(times, len(times)).times_after(2)
        np.testing.assert_array_equal(after, np.array(expected.split(), after.dtype))
        assert after.dtype == times.dtype


@pytest.mark.parametrize("case", ["5 minutes", "seconds"])
def test_npz_reads_back_with_what_it_means(tmp_path, case) -> None:
    clip = field(TIMES[case][0])
    future = still().predict(clip, 2)
    write_forecast(tmp_path / "out.npz", clip, future, KELVIN)
    [again] = clips_from(tmp_path / "out.npz")
    np.testing.assert_allclose(again.frames[0:2], future.frames)
    np.testing.assert_array_equal(again.times, future.times)
    assert again.units == "K"
    np.testing.assert_array_equal(again.coordinates["longitude"], clip.coordinates["longitude"])
    write_values(tmp_path / "roll.npz", [future, future])
    with np.load(tmp_path / "roll.npz") as held:
        assert held["frames"].shape == (2, 2, 1, 6, 8)
        assert held["times"].shape == (2, 2)
    write_values(tmp_path / "out.npy", future)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), future.frames)


def film(c: int, h: int, w: int) -> Clip:
    return Clip(
        np.random.default_rng(1).integers(0, 255, (4, c, h, w)).astype(np.uint8), np.arange(4) / 10
    )


def seconds_of(path: Path) -> list[float]:
    """How long each picture of a film is shown, equal ones that follow each other as one."""
    if path.suffix == ".gif":
        with Image.open(path) as film:
            return [picture.info["duration"] / 1000 for picture in ImageSequence.Iterator(film)]
    with av.open(str(path)) as film:
        rate = float(film.streams.video[0].average_rate)
        shown = [frame.to_ndarray(format="gray").astype(int) for frame in film.decode(video=0)]
    seconds: list[float] = []
    for k, picture in enumerate(shown):
        if k and np.abs(picture - shown[k - 1]).max() < 30:
            seconds[-1] += 1 / rate
        else:
            seconds.append(1 / rate)
    return seconds


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_film_of_a_forecast_plays_so_that_one_can_follow_it(tmp_path, ending) -> None:
    frames = np.zeros((7, 1, 40, 48), np.uint8)
    for t in range(7):
        frames[t, :, 10:20, 6 * t : 6 * t + 6] = 255
    grid = Clip(frames, TIMES["5 minutes"][0][0] + np.arange(7) * np.timedelta64(5, "m"))
    cases = [
        (Clip(frames, np.arange(7) / 40), None, 10),
        (Clip(frames, np.arange(7) / 8), None, 5),
        (Clip(frames, np.arange(7) / 2), None, 2),
        (grid, None, 5),
        (Clip(frames, np.arange(7) / 40), 25, 25),
    ]
    for k, (clip, fps, rate) in enumerate(cases):
        path = tmp_path / f"{k}{ending}"
        write_forecast(path, clip[:4], clip[4:], Scaling(0, 255), fps=fps)
        shown = np.array([1 / rate] * 6 + [1 / rate + (0 if fps else 1)])
        np.testing.assert_allclose(seconds_of(path), shown, atol=1e-6)


def test_a_rolling_film_plays_as_fast_as_its_recording(tmp_path) -> None:
    clip = film(1, 40, 48)
    options = PredictOptions(steps=1, past=2, every=1)
    Rolling(still(Scaling(0, 255)), clip[:3], "still", options).write(tmp_path / "out.mp4")
    assert seconds_of(tmp_path / "out.mp4") == pytest.approx([0.1] * 6)


def test_films_show_frames_at_their_own_size_and_say_where_they_do_not(tmp_path) -> None:
    def drawn(name: str, h: int, w: int, truth: bool = False, members: int = 0):
        """The last picture of a film, and the notes."""
        clip = Clip(np.zeros((1, 1, h, w), np.uint8))
        future = Ensemble([clip] * members) if members else clip
        notes: list[str] = []
        with listening(notes.append):
            path, came = tmp_path / name, clip if truth else None
            write_forecast(path, clip, future, Scaling(0, 255), came, fps=5)
        if name.endswith(".gif"):
            with Image.open(path) as film:
                film.seek(1)
                return np.asarray(film.convert("RGB")), notes
        with av.open(str(path)) as film:
            return list(film.decode(video=0))[-1].to_ndarray(format="rgb24"), notes

    def wide(picture: np.ndarray) -> list[int]:
        """The columns of each frame: what is dark below the captions, between edges."""
        dark = np.flatnonzero(np.diff(picture[-20].max(axis=-1) < 20)).reshape(-1, 2)
        return [int(last - first) for first, last in dark]

    for name, frame, how, columns in (
        ("own.mp4", (50, 1768), {}, [1768]),
        ("beside.mp4", (50, 1920), {"truth": True}, [1920] * 2),
        ("big.mp4", (50, 2560), {}, [1920]),
        ("several.mp4", (50, 2560), {"members": 3, "truth": True}, [756] * 5),
        ("big.gif", (50, 2560), {}, [768]),
    ):
        picture, notes = drawn(name, *frame, **how)
        assert wide(picture) == pytest.approx(columns, abs=2), name
        longest = f"frames of 50x2560 are drawn with {columns[0]} pixels along the longer side"
        assert [note.split(";")[0] for note in notes] == [longest] * (frame[1] == 2560)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.bmp", r"cannot write \.bmp; choose \.mp4"),
        ("file.txt/out.mp4", "cannot make the folder"),
        ("folder.mp4", "is there, and no file"),
        ("file", "is there, and no folder"),
        ("full", "not empty"),
        ("store.zarr", "is there, and no folder"),
        ("out.NC", r"cannot write \.NC"),
    ],
)
def test_where_nothing_can_be_written(tmp_path, name, message) -> None:
    for one in ("file.txt", "file", "store.zarr"):
        (tmp_path / one).write_text("mine")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        check_output(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_loses_nothing(tmp_path) -> None:
    """A limit on the size of files stands in for the full disk: writing fails in the same
    places.
    """
    clip = field(h=200, w=200)
    future = still().predict(clip, 2)
    files = [tmp_path / f"out.{kind}" for kind in ("mp4", "gif", "png", "npy", "npz", "nc")]
    write_forecast(tmp_path / "out.zarr", clip, future, KELVIN)  # loads what writes
    shutil.rmtree(tmp_path / "out.zarr")
    for file in files:
        file.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        for path in (*files, tmp_path / "out.zarr", tmp_path / "out"):
            with pytest.raises(ValueError, match=f"^cannot write .*{path.name}"):
                write_forecast(path, clip, future, KELVIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.read_text() == "old" for file in files)
    write_forecast(tmp_path / "out.nc", clip, future, KELVIN)  # and nothing is locked
