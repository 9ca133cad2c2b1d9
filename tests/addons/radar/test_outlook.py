"""The verb outlook: locations in words and files, maps, live input; calibration."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import foreframe
from foreframe import Forecaster, Window
from foreframe.addons.radar.calibration import calibrated, calibration_of, chances_of
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.models import build_model
from recorded import series
from refusals import refused

RAIN = np.linspace(0, 8, 6 * 12 * 16, dtype=np.float32).reshape(6, 1, 12, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved forecaster that draws, and some rain."""
    folder = tmp_path_factory.mktemp("outlook")
    torch.manual_seed(0)
    drawing = {"of": {"quick": {"core": {"convlstm": {"hidden": [4]}}}}}
    scaling = Scaling(0.0, 10.0, "mm/h", "range")
    Forecaster(build_model("perturbed", drawing), Window(4, 3), scaling).save(folder / "drawing")
    series(folder / "rain.nc", RAIN)
    return folder


def outlook(folder: Path, output: str, *more: str) -> str:
    path, rain = str(folder / output), str(folder / "rain.nc")
    assert main(["outlook", str(folder / "drawing"), rain, "-o", path, *more]) == 0
    return path


def lines_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_probability_is_the_share_of_members(folder: Path) -> None:
    members = Forecaster.load(folder / "drawing").predict(RAIN[2:], 3, members=5)
    path = outlook(folder, "wet.nc", "--members", "5", "--probability", "1.5")
    wet = xr.open_dataset(path)["probability_of_rain"]
    assert wet.attrs["units"] == "1"
    assert wet.attrs["long_name"] == "probability of 1.5 mm/h or more"
    np.testing.assert_allclose(wet.values, (members[:, :, 0] >= 1.5).mean(axis=0))
    assert 0 < wet.values.mean() < 1


def test_values_at_one_location(folder: Path, capsys) -> None:
    """Each member has a column beside what was measured."""
    more = ["--members", "4", "--seed", "3", "--after", "4", "--at"]
    rows = lines_of(outlook(folder, "place.csv", *more, "5,7"))
    assert "5,7: row 5, column 7" in capsys.readouterr().out
    assert [line["ahead"] for line in rows] == ["-3", "-2", "-1", "0", "1", "2", "3"]
    assert [line["measured"] for line in rows[5:]] == ["", ""]  # the recording has ended
    made = Forecaster.load(folder / "drawing").predict(RAIN[1:5], 3, members=4, seed=3)
    for k in range(4):
        column = [line[f"member_{k + 1}"] for line in rows]
        assert column[:4] == [""] * 4
        np.testing.assert_allclose([*map(float, column[4:])], made[k, :, 0, 5, 7], atol=1e-4)


def test_a_map_is_on_a_scale_with_the_threshold(folder: Path) -> None:
    rain = str(folder / "rain.nc")
    found = foreframe.outlook(folder / "drawing", rain, members=5, probability=3.0)
    assert found.map._paint().heading == ("3 mm/h", "or more,", "probability")
    assert str(found).startswith("3 frames of probabilities (3 mm/h or more, by 5 members) that")
    found.write(folder / "wet.png")
    assert (folder / "wet.png").stat().st_size > 1000


def test_several_locations_in_words_and_in_a_file(folder: Path, tmp_path: Path, capsys) -> None:
    """Without a file they are printed; members are drawn by default."""
    (tmp_path / "list.csv").write_text("name,row,column\nLake,1,2\n")
    words = ["outlook", str(folder / "drawing"), str(folder / "rain.nc"), "--after", "4"]
    places = ["--at", "5,7", "--at", str(tmp_path / "list.csv")]
    assert main([*words, *places]) == 0
    shown = capsys.readouterr().out
    assert shown.count("Rain (0.2 mm/h or more)") == 2
    assert "Lake: row 1, column 2\n" in shown
    assert main([*words, *places, "--members", "4", "-o", str(tmp_path / "places.json")]) == 0
    first, second = json.loads((tmp_path / "places.json").read_text())
    assert (first["name"], second["name"]) == ("5,7", "Lake")
    made = foreframe.outlook(
        folder / "drawing", str(folder / "rain.nc"), after=4, at=["5,7"], members=4
    )
    assert made.points[0].sentence() == first["sentence"]
    assert len(first["times"][0]["values"]["rain"]) == 4


def test_amounts_are_sums_of_each_member(folder: Path, capsys) -> None:
    """By an explicit loop: 2 of 3 frames, 5 minutes each, of rain in mm/h."""
    made = Forecaster.load(folder / "drawing").predict(RAIN[2:], 3, members=5)
    amount = np.stack([sum(member[s, 0] * 5 / 60 for s in range(2)) for member in made])
    more = ["--members", "5", "--sum", "10"]
    found = xr.open_dataset(outlook(folder, "sums.nc", *more))
    assert "sum of 2 frames of 5 members that follow frame 5 of" in capsys.readouterr().out
    for name, share in (("amount_median", 0.5), ("amount_from", 0.1), ("amount_to", 0.9)):
        np.testing.assert_allclose(found[name][0], np.quantile(amount, share, axis=0), atol=1e-5)
    for level in (1, 5, 10, 20):
        np.testing.assert_allclose(found[f"probability_{level}mm"][0], (amount >= level).mean(0))
    (place,) = json.loads(Path(outlook(folder, "sums.json", "--at", "11,15", *more)).read_text())
    low, middle, high = np.quantile(amount[:, 11, 15], (0.1, 0.5, 0.9))
    assert place["sum"]["probability"]["1"] == pytest.approx((amount[:, 11, 15] >= 1).mean())
    words = f"Amount in 10 min: {middle:.1f} mm ({low:.1f} to {high:.1f} in 8 of 10 cases);"
    assert f"{words} at least 1 mm: " in place["sentence"]
    how = {"at": "5,7", "sum": 10, "steps": 2, "past": 6}
    once = foreframe.outlook("mean", str(folder / "rain.nc"), **how).points[0]
    assert once.sentence().endswith(f"Amount in 10 min: {once.values[0].sum() / 12:.1f} mm.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out.npy"], "give --at 47.4,8.5, or for a map either"),
        (["-o", "out.npy", "--probability", "1"], "a probability is the share of members"),
        (["--members", "2", "--probability", "1"], "missing: --output, or --at"),
        (["-o", "out.npy", "--at", "5,7"], "locations, --at, are written as .csv, .json, .geojson"),
        (["--at", "Zurich"], "a location is latitude,longitude or row,column"),
        (["--at", "-64,0"], "with rows 0 to 11 and columns 0 to 15"),
        (["--at", "5,7", "--sum", "7"], "sum 7: frames are 5 min apart; give a multiple of that"),
        (["--at", "5,7", "--sum", "60"], "sum 60: the forecast ends at 15 min; use --steps 12"),
        (["--sum", "10", "-o", "out.png"], "a map of sums is written as .nc or .zarr"),
        (
            ["--sum", "10", "--probability", "1", "-o", "o.nc"],
            "for a map either --sum 60 or --probability",
        ),
        (["--at", "5,7", "--grid", "source"], "grid source is for foreframe predict"),
        (["--at", "5,7", "--every", "2"], "every and wait are for live input"),
    ],
)
def test_mistakes_are_refused(folder: Path, capsys, words: list[str], message: str) -> None:
    what = [str(folder / "drawing"), str(folder / "rain.nc")]
    assert message in refused(capsys, "outlook", *what, *words)


def test_live_input_gives_an_outlook_after_every_frame(
    folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """In lines of JSON, for a person in sentences; the file holds the last one."""
    for k, frame in enumerate(RAIN):
        series(tmp_path / "rain" / f"{k}.nc", frame[None], since=f"2026-07-01T00:{5 * k:02}")
    out = tmp_path / "out.json"
    words = ["outlook", str(folder / "drawing"), str(tmp_path / "rain"), "--at", "5,7"]
    words += ["--members", "4", "--wait", "0", "--sum", "15"]
    assert main([*words, "-o", str(out)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == [*range(6)]
    assert [bool(line["places"][0]["sum"]) for line in lines] == [False] + 5 * [True]
    (last,) = json.loads(out.read_text())
    assert lines[-1]["places"][0]["sentence"] == last["sentence"]
    how = {"at": "5,7", "members": 4, "past": 6, "sum": 15}
    made = foreframe.outlook(words[1], str(folder / "rain.nc"), **how).points[0]
    np.testing.assert_allclose(
        [time["values"]["rain"] for time in last["times"]], made.values[:, :, 0].T, atol=1e-5
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([*words, "--every", "3"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line == f"2026-07-01T00:25:00Z, 5,7: {last['sentence']}"


@pytest.mark.slow
def test_probabilities_are_calibrated_by_validation_clips_and_hindcasts(
    folder: Path, tmp_path: Path, capsys
) -> None:
    """What is learnt is written beside the weights, and is used unless it is left out."""
    rng = np.random.default_rng(0)
    rain = rng.uniform(0, 4, (160, 1, 12, 16)).astype(np.float32)
    series(tmp_path / "long.nc", rain)
    run, file = tmp_path / "run", str(tmp_path / "long.nc")
    Forecaster.load(folder / "drawing").save(run)
    how = ["--data", file, "--clips", "4", "--members", "4", "--thresholds", "[2]"]
    assert main(["calibrate", str(run), *how]) == 0
    shown = capsys.readouterr().out
    assert f"calibration.json, learnt from 4 validation clips, is in {run}. On" in shown
    before, after = re.findall(r"([\d.]+), then ([\d.]+)", shown)[0]
    assert float(after) < float(before)
    known = calibration_of(Forecaster.load(run))
    assert known.thresholds == (2.0,)
    assert np.shape(known.at) == np.shape(known.within) == (1, 3, 2)

    def shares(*more: str) -> np.ndarray:
        path = str(tmp_path / "wet.npy")
        drawn = ["--members", "4", "--probability", "2", "-o", path]
        assert main(["outlook", str(run), file, *drawn, *more]) == 0
        return np.load(path)

    made = Forecaster.load(run).predict(rain[-4:], 3, members=4)
    np.testing.assert_allclose(shares("--calibrated", "false"), (made >= 2).mean(axis=0), atol=1e-6)
    assert np.square(shares() - 0.5).mean() < np.square((made >= 2).mean(axis=0) - 0.5).mean()
    early = shares("--after", "3")  # before which nothing can be tried
    chances = chances_of(Forecaster.load(run).predict(rain[:4], 3, members=4), 2, known.blur)
    np.testing.assert_allclose(early, calibrated(chances, known.prior(2, 3)).at, atol=1e-5)
    assert "calibrate needs a run" in refused(capsys, "calibrate", "lagged", *how)
