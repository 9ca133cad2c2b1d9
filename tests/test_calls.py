"""What `foreframe.predict`, `stream` and `check` return, and the options that commands pass on."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.base.notes import Note, collecting, listening, warn
from foreframe.base.verbs import added_calls
from foreframe.cli import main
from foreframe.clips.ensembles import Ensemble
from foreframe.data.cf import write_grid
from foreframe.models import build_model

RAIN = np.linspace(0, 8, 6 * 12 * 16, dtype=np.float32).reshape(6, 1, 12, 16)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the tests, with six frames of rain."""
    monkeypatch.chdir(tmp_path)
    times = np.datetime64("2026-01-01") + np.arange(6) * np.timedelta64(5, "m")
    write_grid("rain.nc", Clip(RAIN, times, "mm/h", name="rain", variable="rain"))
    return tmp_path


@pytest.fixture
def forecaster() -> Forecaster:
    return Forecaster(build_model("mean"), Window(4, 3), Scaling(0, 10, "mm/h", "minmax"))


def test_a_forecast_says_what_it_is(forecaster: Forecaster) -> None:
    said = {
        "3 frames that follow frame 5 of rain.nc": {},
        "1 frame that follows frame 3 of rain.nc": {"steps": 1, "after": 3},
        "2 forecasts of 1 frame, one after every 2 from frame 3 on": {"steps": 1, "every": 2},
    }
    for text, options in said.items():
        assert str(foreframe.predict(forecaster, "rain.nc", **options)) == text


def test_a_forecast_is_the_bytes_of_its_files(forecaster: Forecaster) -> None:
    forecast = foreframe.predict(forecaster, "rain.nc", "out.npy")
    array = np.load(io.BytesIO(forecast.to_bytes(".npy")))
    np.testing.assert_array_equal(array, np.load("out.npy"))
    np.testing.assert_allclose(array, forecaster.predict(RAIN[2:], 3), rtol=1e-6)
    with Image.open(io.BytesIO(forecast._repr_png_())) as picture:
        assert picture.format == "PNG"
    for ending, words in (("", "folders"), (".zarr", "folders"), (".xyz", "cannot write .xyz")):
        with pytest.raises(ValueError, match=words):
            forecast.to_bytes(ending)


def test_notes_are_those_of_their_own_thread(forecaster: Forecaster) -> None:
    both = Barrier(2, timeout=30)

    def notes(name: str) -> tuple[list[str], list[str]]:
        heard: list[str] = []
        kept: list[str] = []
        with listening(heard.append), collecting(kept):
            both.wait()
            warn(name)
            both.wait()
            warn(name)
        return heard, kept

    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(notes, "ab")] == [(["a"], ["a"]), (["b"], ["b"])]
    with pytest.warns(Note, match="5 frames are fewer than the 9 of training"):
        forecast = foreframe.predict(forecaster, "rain.nc", past=9, after=4)
    assert forecast.notes == ("5 frames are fewer than the 9 of training: it forecasts worse",)


def test_a_note_points_at_the_line_of_the_user() -> None:
    """Not at one of ours, however deep; here jaxtyping's decorators lie between the two."""
    ours = "def inner():\n    warn('deep')\ndef outer():\n    inner()"
    names = {"warn": warn}
    exec(compile(ours, str(Path(foreframe.__file__).with_name("made.py")), "exec"), names)
    with pytest.warns(Note, match="deep") as caught:
        names["outer"]()
    assert caught[0].filename == __file__


def test_the_public_names_are_all_there_is_to_see() -> None:
    """Also after its rooms were loaded."""
    assert foreframe.models.build_model is build_model
    assert foreframe.Clip is Clip
    assert dir(foreframe) == sorted((*foreframe.__all__, *added_calls()))


@pytest.fixture
def drawing() -> Forecaster:
    """Draws members."""
    torch.manual_seed(0)
    of = {"quick": {"core": {"convlstm": {"hidden": [4]}}}}
    model = build_model("dressed", {"of": of})
    drawing = Forecaster(model, Window(4, 3), Scaling(0, 10, "mm/h", "range"))
    drawing.save("drawing")
    return drawing


def test_members_are_realizations(drawing: Forecaster) -> None:
    words = ["predict", "drawing", "rain.nc", "--members", "4", "--seed", "3", "-o"]
    assert main([*words, "members.nc"]) == 0
    assert main([*words, "members.npz"]) == 0
    made = drawing.predict(RAIN[2:], 3, members=4, seed=3)
    np.testing.assert_array_equal(np.load("members.npz")["frames"], made)
    with xr.open_dataset("members.nc") as rain:
        assert rain["rain"].dims[:2] == ("realization", "time")
        assert rain["realization"].attrs["standard_name"] == "realization"
        assert "4 members of seed 3" in rain.attrs["history"]
        np.testing.assert_allclose(rain["rain"].values, made[:, :, 0], atol=1e-4)


def test_the_mean_of_streamed_members_is_scored(drawing: Forecaster) -> None:
    frames = list(foreframe.stream(drawing, "rain.nc", members=3, steps=2))
    made = frames[4].forecast
    assert made.shape == (3, 2, 1, 12, 16)
    wanted = np.sqrt(np.square(made.mean(axis=0)[0] - RAIN[5]).mean())
    assert frames[5].errors[1] == pytest.approx(wanted, rel=1e-4)


def test_an_ensemble_of_clips(drawing: Forecaster) -> None:
    clip = drawing.open("rain.nc")
    made = drawing.predict(clip, 3, members=4)
    assert len(made) == 4
    np.testing.assert_allclose(np.asarray(made.mean().frames), made.frames.mean(axis=0), rtol=1e-5)
    spread = made.frames.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.asarray(made.spread().frames), spread, rtol=1e-4)
    assert (np.asarray(Ensemble(made[:1]).spread().frames) == 0).all()
    assert made[1].start == clip.times[-1]
    np.testing.assert_array_equal(made[0].times, made.mean().times)
