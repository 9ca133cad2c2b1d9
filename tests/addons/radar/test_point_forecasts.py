"""What comes at one place, in words, in a table and in files."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import cftime
import numpy as np
import pytest

from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.addons.radar.calibration import Chances
from foreframe.addons.radar.places import places_at
from foreframe.addons.radar.point_forecasts import (
    PointForecast,
    point_forecasts,
    write_point_forecasts,
)
from foreframe.clips.clip import Variable
from foreframe.clips.ensembles import Ensemble
from foreframe.models import build_model

NOLEAP = [cftime.DatetimeNoLeap(2001, 2, day) for day in (25, 26, 27, 28)]
START, STEP = np.datetime64("2026-07-01T14:00", "ns"), np.timedelta64(5, "m")
PAST = Clip(
    np.zeros((4, 1, 3, 3), np.float32),
    START + STEP * np.arange(4),
    "mm/h",
    {"latitude": [48.0, 47.5, 47.0], "longitude": [8.0, 8.5, 9.0]},
    variable="rain",
)
AHEAD = replace(PAST, frames=np.zeros((12, 1, 3, 3), np.float32), times=PAST.times_after(12))


def members(*series: list[float]) -> Ensemble:
    """Members with these values at the cell in the middle, and nothing elsewhere."""
    frames = np.zeros((len(series), 12, 1, 3, 3), np.float32)
    frames[:, :, 0, 1, 1] = series
    return Ensemble.like(AHEAD, frames)


def point(future: Clip | Ensemble, past: Clip = PAST, **more) -> PointForecast:
    (made,) = point_forecasts(places_at(past, "47.5,8.5"), past, future, threshold=0.2, **more)
    return made


def shower(first: int, last: int, peak: float = 2.0) -> list[float]:
    return [peak if first <= k <= last else 0.0 for k in range(1, 13)]


DRY = [0.0] * 12
COMING = members(*[shower(k, 11, k) for k in range(3, 11)], DRY, DRY)  # 3 to 10 frames from now


def test_when_it_begins_and_how_sure_that_is() -> None:
    """By counting: 8 of 10 members begin after 15, 20, ... 50 min, and end after 55 min."""
    made = point(COMING)
    assert made.within.tolist() == pytest.approx([0, 0, *np.arange(1, 9) / 10, 0.8, 0.8])
    said = made.outlook()
    assert said["within"] == pytest.approx(0.8)
    assert said["begins"] == {"median": 30, "from": 15, "to": 50}
    assert said["until"] == 55
    assert said["up_to"] == 9.3  # 9 of 10 of the peaks 3 to 10
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) within the hour: 80 %. Begins in about 30 min (15 to 50 in 8 of "
        "10 cases), most likely until 55 min; up to 9.3 mm/h."
    )


@pytest.mark.parametrize(
    ("peak", "units", "up_to"),
    [(14.9, "mm/h", 15), (0.871, "mm/h", 0.88), (123.0, "mm/h", 130), (289.62, "K", 289.7)],
)
def test_up_to_is_rounded_up(peak: float, units: str, up_to: float) -> None:
    past = replace(PAST, units=units)
    future = Ensemble.like(replace(AHEAD, units=units), members(*[shower(1, 3, peak)] * 5).frames)
    assert point(future, past).outlook()["up_to"] == up_to


def test_what_is_unlikely_and_what_goes_on() -> None:
    few = members(shower(4, 12), shower(6, 12), *[DRY] * 8)
    assert point(few).sentence() == (
        "Rain (0.2 mm/h or more) within the hour: 20 %. If so, it begins in about 20 min "
        "(20 to 30 in 8 of 10 cases); up to 2 mm/h."
    )
    assert point(members(*[DRY] * 10)).sentence() == "Rain (0.2 mm/h or more) within the hour: 0 %."


WET = replace(PAST, frames=np.ones((4, 1, 3, 3), np.float32))


def test_the_end_of_rain_that_is_here_already() -> None:
    """A gap of less than half an hour belongs to it, and a later shower does not."""
    made = point(members(shower(1, 3), shower(1, 6), shower(1, 12), shower(1, 12)), WET)
    assert made.now
    assert made.outlook()["begins"] is None
    assert made.outlook()["ends"] == {"median": 45, "from": 15, "to": None}
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) in the last frame, most likely for another 45 min (15 or "
        "more in 9 of 10 cases). In 15 min: 100 %, in 30 min: 75 %, in 60 min: 50 %; up to 2 mm/h."
    )
    made = point(members(*[shower(1, k) for k in range(1, 6)]), WET).outlook()
    assert (made["until"], made["all_clear"]) == (15, True)
    assert made["ends"] == {"median": 15, "from": 5, "to": 20}
    made = point(members(*[shower(5, 10)] * 4), WET).outlook()
    assert (made["until"], made["all_clear"]) == (50, False)  # the hour is over too soon
    made = point(members(*[shower(8, 10)] * 4), WET)
    assert made.outlook()["until"] == 0
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) in the last frame, most likely over in 5 min, then dry for "
        "at least 30 min. In "
        "15 min: 0 %, in 30 min: 0 %, in 60 min: 0 %; up to 2 mm/h."
    )
    assert point(members(*[DRY] * 4), WET).outlook()["until"] == 0
    brief = point(members(*[shower(1, 1)] * 4)).sentence()
    assert brief.endswith("in about 5 min, brief, then dry for at least 30 min; up to 2 mm/h.")


def test_calibrated_chances_stand_for_shares() -> None:
    at, within = (np.full((12, 1, 3, 3), p, np.float32) for p in (0.3, 0.6))
    made = point(COMING, chances=Chances(at, within))
    assert made.outlook()["within"] == pytest.approx(0.6)
    assert "Begins in about 5 min, most likely" in made.sentence()


def test_one_forecast_has_no_percentage(tmp_path: Path) -> None:
    once = replace(AHEAD, frames=COMING[2].frames)
    made = point(once)
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) within the hour. Begins in 25 min, until 55 min; up to 5 mm/h."
    )
    lines = str(made).splitlines()
    assert lines[0].startswith("47.5,8.5: latitude 47.5, longitude 8.5 (row 1,")
    assert lines[5].split() == ["+5", "min", "2026-07-01", "14:20", "UTC", "0.0"]
    assert point(once, WET).sentence() == (
        "Rain (0.2 mm/h or more) in the last frame, for another 55 min; up to 5 mm/h."
    )
    assert point(AHEAD).sentence() == "No rain (0.2 mm/h or more) within the hour."
    always = replace(AHEAD, frames=np.ones((12, 1, 3, 3), np.float32))
    assert point(always, WET).sentence() == (
        "Rain (0.2 mm/h or more) in the last frame, and all the time within the hour; up to 1 mm/h."
    )
    assert made.outlook()["within"] is None
    assert "probability" not in made.config()["times"][0]
    write_point_forecasts(tmp_path / "one.csv", [made])
    assert "probability" not in (tmp_path / "one.csv").read_text()


def test_where_nothing_is_measured() -> None:
    frames = COMING.frames.copy()
    frames[:, :, 0, 1, 1] = np.nan
    made = point(Ensemble.like(AHEAD, frames))
    assert made.sentence() == "Rain (0.2 mm/h or more): no radar coverage here."
    assert re.search(r"^\+60 min +2026-07-01 15:15 UTC +- +-$", str(made), re.MULTILINE)
    assert json.loads(json.dumps(made.config()))["times"][0]["probability"] is None
    gap = PAST.frames[:].copy()
    gap[-1] = np.nan
    made = point(COMING, replace(PAST, frames=gap))
    assert made.now is None
    assert made.outlook()["now"] is None
    assert made.sentence().endswith("; up to 9.3 mm/h. No value here in the last frame.")
    brief = point(members(*[shower(1, 1)] * 4), replace(PAST, frames=gap)).outlook()
    assert (brief["until"], brief["all_clear"]) == (5, False)


@pytest.mark.parametrize(
    ("times", "ahead", "line"),
    [
        (np.arange("2026-07-01", "2026-07-17", dtype="M8[D]"), "+1 d", "2026-07-05 00:00 UTC"),
        (np.arange("2026-01", "2027-05", dtype="M8[M]"), "+1 month", "2026-05-01 00:00 UTC"),
    ],
)
def test_days_and_months(times: np.ndarray, ahead: str, line: str) -> None:
    """And temperatures with decimals, as many at each place."""
    times = times.astype("M8[ns]")
    past = replace(PAST, times=times[:4], units="K")
    field = np.full((12, 1, 3, 3), 295, np.float32)
    field[..., 0] = 285
    future = replace(AHEAD, times=times[4:], units="K", frames=field)
    for place in point_forecasts(places_at(past, ["47.5,8.5", "48,8"]), past, future):
        assert re.search(rf"^{re.escape(ahead)} +{line} +2[89]5\.0$", str(place), re.MULTILINE)
        assert place.outlook()["values"]["rain"] == [place.values[0, 0, 0]] * 12


def test_without_dates_leads_are_frames_and_other_units_are_no_rain() -> None:
    past = replace(PAST, times=None, units="K")
    future = Ensemble.like(replace(AHEAD, times=None, units="K"), COMING.frames)
    assert (
        point(future, past)
        .sentence()
        .startswith("0.2 K or more within 12 frames: 80 %. Begins in about 6 frames (3 to 10 in")
    )


def test_files_hold_places_by_name(tmp_path: Path) -> None:
    places = places_at(PAST, ["47.5,8.5", "48,8"])
    points = point_forecasts(places, PAST, COMING, None, 0.2)
    for kind in (".json", ".geojson", ".csv"):
        write_point_forecasts(tmp_path / f"places{kind}", points)
    first, second = json.loads((tmp_path / "places.json").read_text())
    assert (first["name"], first["latitude"], first["longitude"]) == ("47.5,8.5", 47.5, 8.5)
    assert first["sentence"] == points[0].sentence()
    assert first["times"][2] == {
        "time": "2026-07-01T14:30:00Z", "lead": 15.0, "values": {"rain": [3.0] + 9 * [0.0]},
        "probability": pytest.approx(0.1), "within": pytest.approx(0.1),
    }  # fmt: skip
    assert second["within"] == 0
    made = json.loads((tmp_path / "places.geojson").read_text())
    assert made["type"] == "FeatureCollection"
    assert made["features"][0]["geometry"] == {"type": "Point", "coordinates": [8.5, 47.5]}
    assert made["features"][1]["properties"]["name"] == "48,8"
    with (tmp_path / "places.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 16
    assert [row["ahead"] for row in rows[:16]] == [str(k) for k in range(-3, 13)]
    assert rows[6]["member_1"] == "3"
    assert float(rows[15]["within"]) == pytest.approx(0.8)
    nowhere = replace(PAST, coordinates={})
    with pytest.raises(ValueError, match="tells no latitudes"):
        write_point_forecasts(
            tmp_path / "no.geojson", point_forecasts(places_at(nowhere, "1,1"), PAST, COMING)
        )
    assert not (tmp_path / "no.geojson").exists()


@pytest.mark.parametrize("times", [None, np.arange(4) / 25, np.array(NOLEAP)], ids=str)
def test_several_variables_at_any_times(tmp_path: Path, times: np.ndarray | None) -> None:
    names = (Variable("t2m", "K", channels=2), Variable("u", "m/s"))
    values = np.random.default_rng(0).uniform(260, 300, (4, 3, 6, 8)).astype(np.float32)
    grid = {"latitude": np.linspace(60.0, 55.0, 6), "longitude": np.linspace(0.0, 7.0, 8)}
    clip = replace(Clip(values, times, "K, m/s", grid), variables=names)
    still = Forecaster(build_model("persistence"), Window(4, 4), Scaling(0, 400, "K, m/s"))
    future = still.predict(clip, 2)
    points = point_forecasts(places_at(clip, "57.2,4.9"), clip, future, future)
    write_point_forecasts(tmp_path / "place.csv", points)
    with (tmp_path / "place.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variable"] for row in rows] == ["t2m 1", "t2m 2", "u"] * 6
    assert [row["units"] for row in rows[:3]] == ["K", "K", "m/s"]
    assert [int(row["ahead"]) for row in rows[::3]] == [-3, -2, -1, 0, 1, 2]
    measured = np.array([float(row["measured"]) for row in rows]).reshape(6, 3)
    np.testing.assert_allclose(measured[:4], values[:, :, 3, 5], rtol=1e-5)
    forecast = np.array([float(row["forecast"]) for row in rows[12:]]).reshape(2, 3)
    np.testing.assert_allclose(forecast, np.asarray(future.frames)[:, :, 3, 5], rtol=1e-5)
    whens = [row["time"] for row in rows[::3]]
    if times is None:
        assert whens == [""] * 6
    elif times.dtype.kind == "f":
        assert [float(when) for when in whens] == pytest.approx([*times, *future.times])
    else:
        assert whens == [str(each)[:19].replace(" ", "T") for each in (*times, *future.times)]
