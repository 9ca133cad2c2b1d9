"""foreframe predict: what it prints and leaves behind, from every kind of file, and what it
refuses.
"""

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image

import foreframe
import standins
from foreframe import Forecaster, Scaling, Window
from foreframe.base.notes import Note
from foreframe.cli import main
from foreframe.data.data_options import ReadOptions
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from recorded import series
from refusals import refused


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Commands run in a folder of their own, whose name is not plain."""
    home = tmp_path / "a b ü"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def run() -> str:
    """Grey films of 8 bits, four frames looked at; left where files that are to be found are
    not.
    """
    Forecaster(
        build_model("tutorial", {"core": {"convlstm": {"hidden": [2]}}}),
        Window(4, 4),
        Scaling(0, 255),
    ).save("../run")
    return "../run"


@pytest.fixture
def kelvin() -> str:
    Forecaster(build_model("persistence"), Window(4, 4), Scaling(250, 310, "K", "minmax")).save(
        "../kelvin"
    )
    return "../kelvin"


def grid(name: str, frames: int = 9, step: str = "1h") -> str:
    values = np.random.default_rng(0).uniform(260, 300, (frames, 1, 6, 8)).astype(np.float32)
    there = {"latitude": np.linspace(60.0, 55.0, 6), "longitude": np.linspace(0.0, 7.0, 8)}
    series(name, values, "K", step, **there)
    return name


def told(capsys, *arguments: str) -> str:
    """What is refused in one line, leaving every file as it was."""
    before = {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}
    err = refused(capsys, "predict", *arguments)
    assert {
        path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")
    } == before
    return err


def test_the_output_may_be_named_by_blanks_and_letters(run, capsys) -> None:
    standins.film(Path("ein Film ö.mp4"), 10, 32, 48)
    # In colours, of which a model of one channel takes the brightness.
    assert (
        main(["predict", run, "ein Film ö.mp4", "--steps", "3", "-o", "neu é/die Zukunft.mp4"]) == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 frames that follow frame 9 of ein Film ö.mp4")
    assert said[1] == "It plays slowly, 5 frames a second; --fps 10 is the film's speed"
    with av.open("neu é/die Zukunft.mp4") as held:
        # The four that it was trained to look at, then three, the last for a second more.
        assert sum(1 for _ in held.decode(video=0)) == 7 + 5
    assert main(["predict", run, "ein Film ö.mp4", "--fps", "10", "-o", "fast.mp4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_is_looked_at(capsys) -> None:
    """As many frames as in training, or as many as are said, or those that there are."""
    grid("t.nc")
    mean = Forecaster(build_model("mean"), Window(4, 4), Scaling(250, 310, "K", "minmax"))
    mean.save("../mean")
    values = xr.load_dataset("t.nc").t2m.values
    for given, seen in (({}, values[5:]), ({"past": 2}, values[7:]), ({"after": 4}, values[1:5])):
        frames = foreframe.predict(mean, "t.nc", steps=1, **given).frames
        np.testing.assert_allclose(frames[0, 0], seen.mean(axis=0), rtol=1e-5)
    for after in ("9", "-1"):
        assert f"after {after}: t.nc has frames 0 to 8" in told(
            capsys, "../mean", "t.nc", "-o", "new.npy", "--after", after
        )


def test_rolling_scores_are_those_of_brute_force() -> None:
    """Root mean squared errors over every pair of forecast and truth that there is, the last
    windows' included.
    """
    steps, every, past = 3, 2, 4
    mean = Forecaster(build_model("mean"), Window(past, steps), Scaling(0, 1, "", "minmax"))
    frames = np.random.default_rng(0).random((11, 1, 5, 6)).astype(np.float32)
    frames[5, 0, 2, 2] = frames[8, 0, 1] = np.nan
    rolling = foreframe.predict(mean, frames, "out.npy", steps=steps, every=every)
    made, firsts = np.load("out.npy"), range(past, len(frames) + 1, every)
    assert made.shape == (len(firsts), steps, 1, 5, 6)
    # as if nothing came after the end
    longer = np.concatenate([frames, np.full((steps, 1, 5, 6), np.nan, np.float32)])
    truth = np.stack([longer[first : first + steps] for first in firsts])
    now = np.stack([frames[first - 1 : first] for first in firsts])
    for n, first in enumerate(firsts):
        expected = np.nanmean(_filled(frames[first - past : first]), axis=0)
        np.testing.assert_allclose(made[n], np.stack([expected] * steps), rtol=1e-5)
    for name, forecast in (("forecast", made), ("persistence", now)):
        errors = np.square(forecast - np.where(np.isnan(now), np.nan, truth))
        expected = np.sqrt(np.nanmean(errors, axis=(0, 2, 3, 4)))
        np.testing.assert_allclose(rolling.errors[name], expected, rtol=1e-3)
    rows = rolling.table().splitlines()
    assert [row.split()[0] for row in rows[4:]] == ["+1", "+2", "+3"]
    assert float(rows[4].split()[1]) == pytest.approx(rolling.errors["forecast"][0], rel=1e-3)


def _filled(frames: np.ndarray) -> np.ndarray:
    """The last value seen stands in for a missing one, and 0 before there was one."""
    pixels = pd.DataFrame(frames.reshape(len(frames), -1))
    return pixels.ffill().fillna(0).to_numpy().reshape(frames.shape)


def test_rolling_fields_keep_one_size_and_one_scale(kelvin) -> None:
    """The last starts lack some of their truth, which the scale says from the first picture on."""
    grid("t.nc", 14, "1D")
    foreframe.predict(kelvin, "t.nc", "out", steps=6, every=5)
    pictures = [np.asarray(Image.open(one)) for one in sorted(Path("out").iterdir())]
    assert len(pictures) == 3 * (4 + 6)
    assert len({one.shape for one in pictures}) == 1
    scales = np.stack(pictures)[:, :, -60:]
    assert (scales == scales[0]).all()


def test_several_recordings_go_to_a_folder_with_a_file_each(kelvin, capsys) -> None:
    names = ["d1/a.nc", "d1/a-2.nc", "d2/a.nc", "9.npy"]
    for number, name in enumerate(names[:3]):
        grid(name, 9 + number)
    np.save("9.npy", np.full((5, 1, 6, 8), 280, np.float32))
    with pytest.warns(Note, match=r"^9\.npy: it does not say its units"):
        files = foreframe.predict(kelvin, names, "each", steps=2)
    assert [path.name for path in files] == ["a.nc", "a-2.nc", "a-3.nc", "9.npy"]
    for name, path in zip(names[:3], files[:3], strict=True):
        own = foreframe.predict(kelvin, name, steps=2)
        np.testing.assert_array_equal(xr.load_dataset(path).t2m, own.frames[:, 0])
    xr.load_dataset("d1/a.nc").where(False).to_netcdf("gone.nc")
    words = ["--every", "3", "-o", "rolling"]
    assert main(["predict", kelvin, "gone.nc", *names, *words]) == 2
    assert "1 of 5 failed. The first: gone.nc: 192 of 192 values" in capsys.readouterr().err
    assert len(list(Path("rolling").iterdir())) == 4
    assert main(["predict", kelvin, *names, "-o", "again"]) == 0
    assert capsys.readouterr().out == "4 forecasts written to again\n"


def test_what_came_before_a_cut_is_not_looked_at() -> None:
    """A film is one recording, also to a run that was trained on its scenes."""
    Path("film").mkdir()
    for t in range(40):
        ramp = np.arange(32) * np.ones((32, 1))
        picture = 2 * ramp if t < 35 else 255 - 3 * ramp.T
        Image.fromarray((picture + t % 2).astype(np.uint8)).save(f"film/{t:02}.png")
    forecaster = Forecaster(build_model("mean"), Window(8, 4), Scaling(0, 255))
    forecaster.trained = Trained(reading=ReadOptions(cuts=True))
    each = [np.asarray(Image.open(f"film/{t:02}.png")).mean() for t in range(40)]
    with pytest.warns(Note, match="another scene begins at frame 35, and nothing before"):
        forecast = foreframe.predict(forecaster, "film")
    assert forecast.frames.mean() == pytest.approx(np.mean(each[35:]), rel=1e-3)
    for options, seen in (
        ({"after": 20}, each[13:21]),
        ({"reading": {"cuts": False}}, each[32:]),
    ):
        frames = foreframe.predict(forecaster, "film", **options).frames
        assert frames.mean() == pytest.approx(np.mean(seen), rel=1e-3)
    with pytest.warns(Note, match="another scene begins at frame 35, and ends the truth"):
        truth = foreframe.predict(forecaster, "film", after=32).truth
    assert truth is not None
    assert (
        np.isnan(np.asarray(truth.frames)).all(axis=(1, 2, 3)).tolist() == [False] * 2 + [True] * 2
    )


def test_big_frames_are_tiled_unless_told_otherwise() -> None:
    torch.manual_seed(0)
    network = build_model("tutorial", {"core": {"convlstm": {"hidden": [2]}}})
    small = Forecaster(network, Window(3, 4), trained=Trained(frame=(16, 16)))
    frames = np.random.default_rng(0).random((3, 1, 90, 40)).astype(np.float32)
    note = "frames of 90x40 are forecast in tiles of 64 pixels"
    with pytest.warns(Note, match=note):
        tiled = foreframe.predict(small, frames, steps=2)
    whole = foreframe.predict(small, frames, steps=2, tile=0)
    assert (tiled.notes, whole.notes) == ((note,), ())
    np.testing.assert_allclose(tiled.frames, whole.frames, rtol=0, atol=1e-6)
    with pytest.warns(Note, match=note):
        bare = foreframe.predict(small, frames, steps=2, overlap=0)
    assert np.abs(bare.frames - whole.frames).max() > 1e-4  # what is compared is not flat


def hours(name: str, first: int, n: int = 1) -> str:
    """A file of some hours of 2 May 2026, each of its own value."""
    values = np.full((4, 4, n), 250 + np.arange(first, first + n), np.float32).transpose(2, 0, 1)
    series(name, values[:, None], "K", "1h", str(np.datetime64("2026-05-02T00") + first))
    return name


@pytest.mark.parametrize("a_file", [1, 4])
def test_files_of_a_series_by_pattern_list_or_folder_are_one(kelvin, a_file, capsys) -> None:
    """As far back as the last file that is lost, which is said."""
    Path("series").mkdir()
    lost = 4 * a_file
    names = [
        hours(f"series/{k:02d}.nc", k, a_file) for k in range(0, 9 * a_file, a_file) if k != lost
    ]
    for source in (["series/*.nc"], names, ["series"]):
        assert main(["predict", kelvin, *source, "-o", "out.nc"]) == 0
        said = capsys.readouterr().err
        since = f"2026-05-02T{lost - 1:02d}:00:00 and 2026-05-02T{lost + a_file:02d}:00:00"
        assert f"nothing is there between {since}" in said
        with xr.open_dataset("out.nc") as made:
            np.testing.assert_allclose(made.t2m[0], 250 + 9 * a_file - 1, rtol=1e-5)
            after = np.datetime64("2026-05-02T00", "ns") + np.timedelta64(9 * a_file, "h")
            assert made.time.values[0] == after
    made = foreframe.predict(kelvin, "series/*.nc", recording=0)
    np.testing.assert_allclose(made.frames[0], 250 + lost - 1, rtol=1e-5)
    grid("other.nc")  # other numbers of pixels: another recording
    said = told(capsys, kelvin, "series/00.nc", "other.nc", "-o", "out.nc")
    assert "series/00.nc and 1 more holds 2 recordings; choose one with --recording" in said
