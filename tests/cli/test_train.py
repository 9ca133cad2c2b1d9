"""foreframe train on what people have, then evaluate and predict, from file to file."""

import json
from pathlib import Path

import numpy as np
import pytest

import foreframe
import standins
from foreframe import Forecaster
from foreframe.cli import main

PAST, STEPS = 3, 5
FEW = (
    f"--run run --model quick --hidden 8 --past {PAST} --future 3 --batch_size 2 --epochs 1 "
    "--trainer.limit_train_batches 3 --validation_clips 4 --picture_every 2 "
    "--device cpu --devices 1"
).split()
RAIN = ("--splits.tile", "64", "--scaling", "standard")
GREY = ("--reading.colour", "grey", "--reading.size", "[32,40]")


OWN = {
    "film": ("film.mp4", standins.film, "future.mp4", GREY),
    "folder of films": ("films", standins.folder_of_films, "future", ("--reading.size", "[24,32]")),
    "netcdf": ("t2m.nc", standins.temperatures, "future.nc", ("--reading.variable", "t2m")),
    "missing values": ("rain.nc", standins.rain, "future.nc", RAIN),
}
CHEAP = ("film", "netcdf")  # one film and one grid in each run of the tests


def forecast_frames(path: str) -> int:
    """How many frames of the forecast a file holds; moving pictures show the past before them, and
    a film its last frame for a second more.
    """
    (clip,), kind = foreframe.clips_from(path), Path(path).suffix
    return len(clip.frames) - PAST * (kind in ("", ".mp4")) - 5 * (kind == ".mp4")


@pytest.mark.parametrize(
    "name",
    [name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in OWN],
)
def test_from_file_to_forecast(name: str, tmp_path, monkeypatch, capsys) -> None:
    path, make, output, options = OWN[name]
    monkeypatch.chdir(tmp_path)
    make(Path(path))
    assert main(["train", "--data", path, *options, *FEW]) == 0, capsys.readouterr().err
    channels = Forecaster.load("run").model.channels
    assert f"{path}: {channels}x" in capsys.readouterr().out  # size and range, of recordings alone
    (row,) = [json.loads(line) for line in Path("run/validation.jsonl").read_text().splitlines()]
    assert (row["step"], row["clips"]) == (3, 4)
    assert main(["evaluate", "run", "--clips", "4", "--baselines", "[]"]) == 0, (
        capsys.readouterr().err
    )
    card = json.loads(Path("run/evaluation/scorecard.json").read_text())
    assert np.isfinite(card["scores"]["model"]["openstl"]["mse"]["per_lead"]).all()
    assert "tile" not in card["splits"]  # which are for training
    steps = ["--recording", "0", "--steps", f"{STEPS}"]
    assert main(["predict", "run", path, *steps, "-o", output]) == 0, capsys.readouterr().err
    assert f"{STEPS} frames that follow" in capsys.readouterr().out
    assert forecast_frames(output) == STEPS
