"""What comes at one place, in words, in a table and in files."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreframe import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.calibration import Chances
from foreframe.forecasting.places import places_at
from foreframe.forecasting.point_forecasts import (
    PointForecast,
    point_forecasts,
    write_point_forecasts,
)

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
    assert said["up_to"] == 9  # the ninth of ten of the peaks 3 to 10
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) within the hour: 80 %. Begins in 30 min (15 to 50 in 8 of 10), "
        "most likely until 55 min; up to 9 mm/h."
    )


def test_what_is_unlikely_and_what_goes_on() -> None:
    few = members(shower(4, 12), shower(6, 12), *[DRY] * 8)
    assert point(few).sentence() == (
        "Rain (0.2 mm/h or more) within the hour: 20 %. If so, it begins in 20 min "
        "(20 to 30 in 8 of 10); up to 2 mm/h."
    )
    assert point(members(*[DRY] * 10)).sentence() == "Rain (0.2 mm/h or more) within the hour: 0 %."


def test_rain_that_is_here_already() -> None:
    wet = replace(PAST, frames=np.ones((4, 1, 3, 3), np.float32))
    made = point(members(shower(1, 3), shower(1, 6), shower(1, 12), shower(1, 12)), wet)
    assert made.now
    assert made.outlook()["begins"] is None
    assert made.sentence() == (
        "Rain (0.2 mm/h or more) now, most likely for another 45 min. In 15 min: 100 %, in 30 min: "
        "75 %, in 60 min: 50 %; up to 2 mm/h."
    )


def test_calibrated_chances_stand_for_shares() -> None:
    at, within = (np.full((12, 1, 3, 3), p, np.float32) for p in (0.3, 0.6))
    made = point(COMING, chances=Chances(at, within))
    assert made.outlook()["within"] == pytest.approx(0.6)
    assert "Begins in 5 min (5 to 5 in 8 of 10)" in made.sentence()


def test_one_forecast_says_yes_or_no() -> None:
    once = replace(AHEAD, frames=COMING[2].frames)
    assert point(once).sentence() == (
        "Rain (0.2 mm/h or more) within the hour: 100 %. Begins in 25 min, most likely until "
        "55 min; up to 5 mm/h."
    )
    assert point(once).table().splitlines()[:2] == [
        " time    ahead   forecast",
        "14:20   +5 min  0.00 mm/h",
    ]


def test_where_nothing_is_measured() -> None:
    frames = COMING.frames
    frames[:, :, 0, 1, 1] = np.nan
    made = point(Ensemble.like(AHEAD, frames))
    assert made.sentence() == "Rain (0.2 mm/h or more): nothing was measured here."
    assert json.loads(json.dumps(made.config()))["times"][0]["probability"] is None


def test_without_dates_leads_are_frames_and_other_units_are_no_rain() -> None:
    past = replace(PAST, times=None, units="K")
    future = Ensemble.like(replace(AHEAD, times=None, units="K"), COMING.frames)
    assert (
        point(future, past)
        .sentence()
        .startswith("0.2 K or more within 12 frames: 80 %. Begins in 6 frames (3 to 10 in 8 of 10)")
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
        "time": "2026-07-01T14:30:00", "lead": 15.0, "values": {"rain": [3.0] + 9 * [0.0]},
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
