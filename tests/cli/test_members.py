"""Members on the command line: forecasts, probabilities, scores."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import foreframe
import foreframe.forecasting.outputs
from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.calibration import calibrated, chances_of
from foreframe.models import build_model
from foreframe.visuals import Paint
from recorded import series
from refusals import refused

RAIN = np.linspace(0, 8, 6 * 12 * 16, dtype=np.float32).reshape(6, 1, 12, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved forecaster that draws, and some rain."""
    folder = tmp_path_factory.mktemp("members")
    torch.manual_seed(0)
    drawing = {"of": {"quick": {"core": {"convlstm": {"hidden": [4]}}}}}
    scaling = Scaling(0.0, 10.0, "mm/h", "range")
    Forecaster(build_model("perturbed", drawing), Window(4, 3), scaling).save(folder / "drawing")
    series(folder / "rain.nc", RAIN)
    return folder


def predict(folder: Path, output: str, *more: str) -> str:
    path = str(folder / output)
    rain = str(folder / "rain.nc")
    assert main(["predict", str(folder / "drawing"), rain, "-o", path, *more]) == 0
    return path


def test_members_are_realizations(folder: Path) -> None:
    rain = xr.open_dataset(predict(folder, "members.nc", "--members", "4", "--seed", "3"))
    assert rain["rain"].dims[:2] == ("realization", "time")
    assert rain["rain"].shape == (4, 3, 12, 16)
    assert rain["realization"].attrs["standard_name"] == "realization"
    assert "4 members of seed 3" in rain.attrs["history"]
    forecaster = Forecaster.load(folder / "drawing")
    made = forecaster.predict(RAIN[2:], 3, members=4, seed=3)
    np.testing.assert_allclose(rain["rain"].values, made[:, :, 0], atol=1e-4)
    again = np.load(predict(folder, "members.npz", "--members", "4", "--seed", "3"))["frames"]
    np.testing.assert_array_equal(again, made)


def test_the_mean_of_streamed_members_is_scored(folder: Path) -> None:
    live = foreframe.stream(folder / "drawing", str(folder / "rain.nc"), members=3, steps=2)
    frames = list(live)
    made = frames[4].forecast
    assert made.shape == (3, 2, 1, 12, 16)
    wanted = np.sqrt(np.square(made.mean(axis=0)[0] - RAIN[5]).mean())
    assert frames[5].errors[1] == pytest.approx(wanted, rel=1e-4)


def test_a_probability_is_the_share_of_members(folder: Path) -> None:
    members = xr.open_dataset(predict(folder, "members.nc", "--members", "5"))["rain"]
    path = predict(folder, "wet.nc", "--members", "5", "--probability", "1.5")
    wet = xr.open_dataset(path)["probability_of_rain"]
    assert wet.attrs["units"] == "1"
    assert wet.attrs["long_name"] == "probability of 1.5 mm/h or more"
    np.testing.assert_allclose(wet.values, (members.values >= 1.5).mean(axis=0))
    assert 0 < wet.values.mean() < 1


def lines_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_values_of_one_place(folder: Path, capsys) -> None:
    """Each member has a column beside what was measured."""
    more = ["--members", "4", "--seed", "3", "--after", "4", "--at"]
    given = lines_of(predict(folder, "place.csv", *more, "5,7"))
    said = capsys.readouterr().out
    assert "5,7: row 5, column 7" in said
    assert "1 place lies in" in said
    assert [line["ahead"] for line in given] == ["-3", "-2", "-1", "0", "1", "2", "3"]
    assert [line["measured"] for line in given[5:]] == ["", ""]  # the recording has ended
    made = Forecaster.load(folder / "drawing").predict(RAIN[1:5], 3, members=4, seed=3)
    for k in range(4):
        own = [line[f"member_{k + 1}"] for line in given]
        assert own[:4] == [""] * 4
        np.testing.assert_allclose([float(of) for of in own[4:]], made[k, :, 0, 5, 7], atol=1e-4)


def test_pictures_of_probabilities_are_on_a_scale_that_says_so(folder: Path, monkeypatch) -> None:
    given: list[Paint] = []
    real = foreframe.forecasting.outputs.strip

    def drawn(*of: np.ndarray, paint: Paint, times: list[str]) -> np.ndarray:
        given.append(paint)
        return real(*of, paint=paint, times=times)

    monkeypatch.setattr("foreframe.forecasting.outputs.strip", drawn)
    predict(folder, "wet.png", "--members", "5", "--probability", "3")
    assert given[0].heading == ("3 mm/h", "or more,", "probability")
    assert (given[0].low, given[0].high) == (0, 1)


def test_an_ensemble_of_clips(folder: Path) -> None:
    forecaster = Forecaster.load(folder / "drawing")
    clip = forecaster.open(str(folder / "rain.nc"))
    made = forecaster.predict(clip, 3, members=4)
    assert len(made) == 4
    np.testing.assert_allclose(np.asarray(made.mean().frames), made.frames.mean(axis=0), rtol=1e-5)
    spread = made.frames.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.asarray(made.spread().frames), spread, rtol=1e-4)
    assert (np.asarray(made[:1].spread().frames) == 0).all()
    assert made[1].start == clip.times[-1]
    np.testing.assert_array_equal(made[0].times, made.mean().times)


@pytest.mark.slow
def test_probabilities_are_calibrated_by_validation_clips_and_hindcasts(
    folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """What is learnt lies beside the weights, and changes probabilities unless it is left out."""
    rng = np.random.default_rng(0)
    rain = rng.uniform(0, 4, (160, 1, 12, 16)).astype(np.float32)
    series(tmp_path / "long.nc", rain)
    run, file = tmp_path / "run", str(tmp_path / "long.nc")
    Forecaster.load(folder / "drawing").save(run)
    words = ["--data", file, "--clips", "4", "--baselines", "[]", "--output", str(tmp_path / "out")]
    how = ["--members", "4", "--thresholds", "[2]", "--calibrate"]
    assert main(["evaluate", str(run), *words, *how]) == 0
    said = capsys.readouterr().out
    assert f"calibration.json, learnt from 4 validation clips, lies in {run}. On" in said
    before, after = re.search(r"2 mm/h or more: Brier score ([\d.]+), then ([\d.]+)", said).groups()
    assert float(after) < float(before)
    known = Forecaster.load(run).calibration
    assert known.thresholds == (2.0,)
    assert np.shape(known.at) == np.shape(known.within) == (1, 3, 2)

    def shares(*more: str) -> np.ndarray:
        path = str(tmp_path / "wet.npy")
        drawn = ["--members", "4", "--probability", "2", "-o", path]
        assert main(["predict", str(run), file, *drawn, *more]) == 0
        return np.load(path)

    made = Forecaster.load(run).predict(rain[-4:], 3, members=4)
    np.testing.assert_allclose(shares("--calibrated", "false"), (made >= 2).mean(axis=0), atol=1e-6)
    assert np.square(shares() - 0.5).mean() < np.square((made >= 2).mean(axis=0) - 0.5).mean()
    counts = 0

    def counted(*arguments: Any) -> Any:
        nonlocal counts
        counts += 1
        return computed(*arguments)

    computed = Forecaster.forecast_from
    monkeypatch.setattr(Forecaster, "forecast_from", counted)
    rolled = shares("--every", "1")
    # One each: rolling forecasts are the hindcasts of later ones.
    assert counts == len(rolled) == 157
    np.testing.assert_allclose(rolled[-1], shares(), atol=1e-5)
    store, counts = str(tmp_path / "store.zarr"), 0
    drawn = ["--members", "4", "--probability", "2", "--every", "1", "-o", store]
    assert main(["predict", str(run), file, *drawn]) == 0
    assert counts == len(rolled) + 1  # one to know the store's shape
    with xr.open_zarr(store) as found:
        (kept,) = found.data_vars.values()
        np.testing.assert_array_equal(kept.values, rolled[:, :, 0])
    early = shares("--after", "3")  # before which nothing can be tried
    chances = chances_of(Forecaster.load(run).predict(rain[:4], 3, members=4), 2, known.blur)
    np.testing.assert_allclose(early, calibrated(chances, known.prior(2, 3)).at, atol=1e-5)
    assert "scored on test: leave out split" in refused(
        capsys, "evaluate", str(run), *words, *how, "--split", "validation"
    )
    assert "a run's folder" in refused(
        capsys, "evaluate", "lagged", *words, *how, "--past", "4", "--future", "3"
    )


def test_several_places_in_words_and_in_a_file(folder: Path, tmp_path: Path, capsys) -> None:
    """Without a file they are only told; members are drawn without being asked for."""
    (tmp_path / "list.csv").write_text("name,row,column\nLake,1,2\n")
    words = ["predict", str(folder / "drawing"), str(folder / "rain.nc"), "--after", "4"]
    places = ["--at", "5,7", "--at", str(tmp_path / "list.csv")]
    assert main([*words, *places]) == 0
    said = capsys.readouterr().out
    assert said.count("Rain (0.2 mm/h or more)") == 2
    assert "Lake: row 1, column 2\n" in said
    assert main([*words, *places, "--members", "4", "-o", str(tmp_path / "places.json")]) == 0
    first, second = json.loads((tmp_path / "places.json").read_text())
    assert (first["name"], second["name"]) == ("5,7", "Lake")
    made = foreframe.predict(
        folder / "drawing", str(folder / "rain.nc"), after=4, at=["5,7"], members=4
    )
    assert made.points[0].sentence() == first["sentence"]
    assert len(first["times"][0]["values"]["rain"]) == 4
    assert "missing: --output, or --at" in refused(capsys, *words)
