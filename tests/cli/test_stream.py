"""foreframe stream: from a film, a folder that grows and standard input, stopped and gone on
from.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import standins
from foreframe import Forecaster, Scaling, Window, clips_from
from foreframe.cli import main
from foreframe.data import ReadOptions
from foreframe.forecasting.incoming import live_frames, patience
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from recorded import GREY, encode, series
from refusals import refused


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run() -> str:
    """The mean of all frames so far: what was seen before a stop can be told from its forecasts."""
    Forecaster(build_model("mean"), Window(3, 3), Scaling(0, 255, "", "minmax")).save("run")
    return "run"


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (8, 1, 12, 16)).astype(np.uint8)


def lines(text: str) -> list[dict]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def streamed(capsys, *arguments: str) -> list[dict]:
    assert main(["stream", *arguments]) == 0
    return lines(capsys.readouterr().out)


@pytest.mark.parametrize(("every", "steps"), [(1, 3), (3, 2)])
def test_errors_and_forecasts_are_those_of_brute_force(run, frames, capsys, every, steps) -> None:
    np.save("clip.npy", frames)
    words = [run, "clip.npy", "--steps", f"{steps}", "--every", f"{every}", "--output", "live"]
    told = streamed(capsys, *words)
    assert [line["frame"] for line in told] == list(range(8))
    forecaster = Forecaster.load(run)
    made = {t: forecaster.predict(frames[: t + 1], steps) for t in range(8) if (t + 1) % every == 0}
    for line in told:
        t = line["frame"]
        earlier = {ahead: made.get(t - ahead) for ahead in range(1, steps + 1)}
        expected = {
            f"+{ahead}": np.sqrt(np.mean((future[ahead - 1] - frames[t].astype(float)) ** 2))
            for ahead, future in earlier.items()
            if future is not None
        }
        assert line.get("rmse", {}) == pytest.approx(expected, rel=1e-4)
        assert list(line.get("rmse", {})) == sorted(expected, key=int)  # "+1" first
        assert ("forecast" in line) == (t in made)
        if t in made:
            np.testing.assert_allclose(np.load(line["forecast"]), made[t], rtol=1e-5)


def test_missing_values_leave_valid_json_and_small_numbers_their_figures(capsys) -> None:
    scaling = Scaling(0, 1e-3, "kg m-2 s-1", "minmax")
    Forecaster(build_model("persistence"), Window(3, 3), scaling).save("run")
    frames = np.random.default_rng(0).random((5, 1, 4, 4)).astype(np.float32) * 1e-7
    frames[0, 0, :2] = np.nan
    frames[1, 0, 2:] = np.nan  # nothing there that the first frame knew
    frames[2] = np.nan
    np.save("clip.npy", frames)
    told = streamed(capsys, "run", "clip.npy", "--steps", "2")
    assert "rmse" not in told[1]
    assert "rmse" not in told[2]
    assert set(told[3]["rmse"]) == {"+1", "+2"}
    assert 1e-8 < told[4]["rmse"]["+1"] < 1e-7


def grow(folder: Path, frames: np.ndarray, halves: float) -> None:
    for k, frame in enumerate(frames):
        time.sleep(0.05)
        if k % 2:
            Image.fromarray(frame[0]).save(folder / f".{k}.png")
            content = (folder / f".{k}.png").read_bytes()
            path = folder / f"frame-{k}.png"
        else:
            np.save(folder / f".{k}.npy", frame)
            content = (folder / f".{k}.npy").read_bytes()
            path = folder / f"frame-{k}.npy"
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(halves)
            file.write(content[len(content) // 2 :])


def test_a_folder_that_grows(run, frames, capsys) -> None:
    """Files that are half there are waited for; each comes once, in the order of its number."""
    many = np.concatenate([frames, frames])[:12]  # frame-10 comes after frame-9
    Path("live").mkdir()
    writer = threading.Thread(target=grow, args=(Path("live"), many, 0.15))
    writer.start()
    told = streamed(capsys, run, "live", "--steps", "1", "--wait", "3", "--output", "out")
    writer.join()
    assert len(told) == 12
    np.testing.assert_allclose(
        np.load("out/frame-000011.npy"), Forecaster.load(run).predict(many, 1), rtol=1e-5
    )


def test_what_is_no_stream(run, frames, capsys) -> None:
    Path("live").mkdir()
    assert "live: no frame came" in refused(capsys, "stream", run, "live", "--wait", "0.1")
    assert "there is no file or folder" in refused(capsys, "stream", run, "nowhere")
    Path("file").touch()
    assert "cannot make the folder file" in refused(
        capsys, "stream", run, "live", "--output", "file/live"
    )
    assert "cannot make the folder file" in refused(
        capsys, "stream", run, "live", "--state", "file/state"
    )
    Path("state").write_text("no state")
    assert "damaged" in refused(capsys, "stream", run, "live", "--state", "state")
    assert Path("state").read_text() == "no state"


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.fixture
def piped(monkeypatch) -> Callable[[bytes], None]:
    """Puts bytes into standard input."""

    def put(content: bytes) -> None:
        pipe = io.BufferedReader(Pipe(content))
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))

    return put


def npy(frames: np.ndarray) -> bytes:
    held = io.BytesIO()
    for frame in frames:
        np.save(held, frame)
    return held.getvalue()


def test_a_pipe_that_breaks_off_keeps_what_came(run, frames, piped, capsys) -> None:
    piped(npy(frames)[:-50])
    assert main(["stream", run, "-", "--state", "state"]) == 2
    out, err = capsys.readouterr()
    assert len(lines(out)) == 7
    said = err.splitlines()[-1]
    assert said.startswith("foreframe: standard input: a .npy frame cannot be read: ")
    assert Forecaster.load(run).stream(1).restore("state").seen == 7


def test_a_film_from_standard_input(run, frames, piped, capsys) -> None:
    piped(encode(Path("film.mkv"), frames[:, 0], **GREY).read_bytes())
    assert len(streamed(capsys, run, "-", "--steps", "1", "--output", "out")) == 8
    np.testing.assert_allclose(
        np.load("out/frame-000007.npy"), Forecaster.load(run).predict(frames, 1), rtol=1e-5
    )


def test_a_state_is_kept_and_gone_on_from(run, frames, capsys) -> None:
    """A folder is read on where it was left."""
    live = [run, "live", "--state", "state", "--wait", "0.1"]
    Path("live").mkdir()
    for k in range(3):
        np.save(f"live/a{k}.npy", frames[k])
    streamed(capsys, *live)
    for k in range(3, 8):
        np.save(f"live/a{k}.npy", frames[k])
    told = streamed(capsys, *live, "--output", "out", "--steps", "1")
    assert [line["frame"] for line in told] == [3, 4, 5, 6, 7]
    expected = Forecaster.load(run).predict(frames, 1)
    np.testing.assert_allclose(np.load("out/frame-000007.npy"), expected, rtol=1e-5)
    # As a timetable may call it, with nothing to do.
    assert main(["stream", *live]) == 0
    assert "live: no new frame came" in capsys.readouterr().err.splitlines()[-1]


def test_a_stream_reads_as_in_training_unless_options_differ() -> None:
    standins.film(Path("film.mp4"), 6)
    trained = Trained(reading=ReadOptions(colour="grey", size=[24, 32]))
    forecaster = Forecaster(build_model("mean"), scaling=Scaling(0, 255), trained=trained)
    (clip,) = clips_from("film.mp4", colour="grey", size=[24, 32])
    frames = [past.frames[:][-1] for past in live_frames(forecaster, "film.mp4")]
    np.testing.assert_array_equal(frames, clip.frames[0:6])
    np.testing.assert_array_equal(forecaster.open("film.mp4").frames[0:6], clip.frames[0:6])
    (first, *_) = live_frames(forecaster, "film.mp4", size=[12, 16], every=2)
    assert first.frames.shape == (1, 1, 12, 16)
    assert forecaster.open("film.mp4", size=[12, 16], every=2).frames.shape == (3, 1, 12, 16)


def test_a_file_is_read_on_where_it_was_left(run, frames) -> None:
    np.save("all.npy", frames)
    forecaster, place = Forecaster.load(run), {}
    begun = live_frames(forecaster, "all.npy", place)
    assert [next(begun).frames[:].max() for _ in range(2)]
    rest = [past.frames[:][-1] for past in live_frames(forecaster, "all.npy", place)]
    np.testing.assert_array_equal(rest, frames[2:])


@pytest.mark.slow
def test_stopped_it_keeps_its_state(run, frames) -> None:
    Path("live").mkdir()
    for k in range(4):
        np.save(f"live/a{k}.npy", frames[k])
    words = f"-m foreframe stream {run} live --state state --wait 60"
    process = subprocess.Popen(
        [sys.executable, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.splitlines() == ["foreframe: note: what 4 frames have shown is kept in state"]
    live = Forecaster.load(run).stream(1).restore("state")
    np.testing.assert_allclose(
        live.push(frames[4]), Forecaster.load(run).predict(frames[:5], 1), rtol=1e-5
    )


def rain(name: str, first: int, n: int = 1) -> np.ndarray:
    """Some frames of rain, five minutes apart; the third of all is lost."""
    values = np.random.default_rng(first).uniform(0, 9, (n, 1, 5, 6)).astype(np.float32)
    since = np.datetime64("2026-07-01T00:00") + 5 * (first + (first > 1))
    there = {"latitude": np.linspace(48.0, 47.0, 5), "longitude": np.linspace(7.0, 8.0, 6)}
    series(name, values, since=str(since), **there)
    return values


@pytest.fixture
def showers() -> np.ndarray:
    """Eight frames, in files of one and, at the end, of two; the third of nine is lost."""
    scaling = Scaling(0, 20, "mm/h", "minmax")
    Forecaster(build_model("mean"), Window(8, 3), scaling).save("run")
    Path("rain").mkdir()
    counts = [1, 1, 1, 1, 2, 2]
    files = [rain(f"rain/{k}.nc", sum(counts[:k]), n) for k, n in enumerate(counts)]
    return np.concatenate(files)


def with_outage(showers: np.ndarray) -> np.ndarray:
    """The mean sees the last value again where a frame is missing."""
    return np.insert(showers, 2, showers[1], axis=0)


def test_files_of_a_series_are_forecast_with_times_and_grid(showers, capsys) -> None:
    told = streamed(capsys, "run", "rain", "--steps", "2", "--output", "out", "--wait", "0")
    numbers = (0, 1, 3, 4, 5, 6, 7, 8)  # between the second and the third one is missing
    assert [line["forecast"] for line in told] == [f"out/frame-{k:06d}.nc" for k in numbers]
    for after in (3, 4, 8):
        with xr.open_dataset(f"out/frame-{after:06d}.nc") as made:
            expected = with_outage(showers)[: after + 1].mean(0)[0]
            np.testing.assert_allclose(made.rain[0], expected, rtol=1e-5)
            assert made.rain.units == "mm/h"
            assert made.latitude.values[0] == 48
            seen = np.datetime64("2026-07-01", "ns") + after * np.timedelta64(5, "m")
            assert made.forecast_reference_time == seen
            assert list(made.time.values - seen) == [
                np.timedelta64(5, "m"),
                np.timedelta64(10, "m"),
            ]
            assert "forecast from run" in made.history


def test_reading_goes_on_within_a_file_of_a_folder(showers) -> None:
    place: dict = {}
    frames = live_frames(Forecaster.load("run"), "rain", place, wait=0)
    for _ in range(5):  # the last is the first of a file of two
        next(frames)
    rest = list(live_frames(Forecaster.load("run"), "rain", dict(place), wait=0))
    np.testing.assert_array_equal([past.frames[:][-1] for past in rest], showers[5:])
    assert np.diff(rest[-1].times).tolist() == [300_000_000_000] * 2


def test_a_live_series_is_waited_for_and_an_old_one_is_not() -> None:
    now, minute = np.datetime64("now", "ns"), np.timedelta64(1, "m")
    ago = [now - 12 * minute, now - 7 * minute, now - 2 * minute]
    assert patience(ago) == 15 * 60
    assert patience(ago[-1:]) == 60 * 60
    assert patience([time - 90 * minute for time in ago]) == 5
    assert patience([now - np.timedelta64(days, "D") for days in (3, 2, 1)]) == 5
    assert patience([0.1, 0.2]) == patience([]) == 5
    assert patience([time + 90 * minute for time in ago]) == 15 * 60  # a clock that is slow
