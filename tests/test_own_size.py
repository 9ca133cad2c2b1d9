"""A run that sees large frames reduced forecasts a film as large as it is, and is scored beside the
weights with which it began.
"""

from pathlib import Path

import pytest

import foreframe
import standins
from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.data import DataOptions, ReadOptions, open_dataset
from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.forecasting.recordings import reading_as_trained
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model

READ = ReadOptions(size=[24, 32], colour="grey")
FREE = TiledOptions(budget=1e3)
BIG = (4, 1, 480, 640)


def forecaster(preset: str = "guided") -> Forecaster:
    trained = Trained(
        "film.mp4", reading=READ, frame=(24, 32), preset=preset, seed=0, weights="scenes"
    )
    return Forecaster(build_model(preset), Window(4, 4), Scaling(0, 255), trained)


def test_predict_and_streams_take_films_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    standins.film(Path("film.mp4"), frames=24)
    own, quick = forecaster(), forecaster("quick")
    assert own.open("film.mp4").frames.shape == (24, 1, 48, 64)
    assert own.open("film.mp4", size=[24, 32]).frames.shape == (24, 1, 24, 32)
    assert quick.open("film.mp4").frames.shape == (24, 1, 24, 32)  # to which motion is in pixels
    assert own.choose_tile(BIG, 1, FREE) == 0 < quick.choose_tile(BIG, 1, FREE)
    own.save("saved")
    assert foreframe.predict("saved", "film.mp4").frames.shape == (4, 1, 48, 64)
    assert main(["stream", "saved", "film.mp4", "--every", "12", "--output", "live"]) == 0
    how = reading_as_trained(own, "film.mp4", {})
    film = open_dataset(DataOptions("film.mp4", past=4, future=4, reading=how), "all")
    assert film[0].shape[2:] == (24, 32)


@pytest.mark.slow
def test_frames_that_fill_the_budget_are_laid_in_tiles() -> None:
    own = forecaster()
    assert own.choose_tile((4, 1, 256, 256), 4, TiledOptions()) == 0
    options = TiledOptions(budget=0.75)
    side = own.choose_tile((4, 1, 900, 1600), 4, options)
    assert 128 <= side < 1600
    own.check_size((4, 1, 900, 1600), 4, options, side)
