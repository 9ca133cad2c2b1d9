"""Areas of several cells: boxes and polygons of GeoJSON, and their forecasts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreframe import Clip
from foreframe.addons.radar.amounts import amounts_of
from foreframe.addons.radar.areas import areas_in
from foreframe.addons.radar.point_forecasts import point_forecasts, write_point_forecasts
from foreframe.clips.ensembles import Ensemble
from refusals import one_line

SIDES = {"latitude": np.arange(48.0, 46, -0.25), "longitude": np.arange(6.0, 10, 0.5)}
TIMES = np.datetime64("2026-07-01T14:00", "ns") + np.timedelta64(5, "m") * np.arange(2)
PAST = Clip(np.zeros((2, 1, 8, 8), np.float32), TIMES, "mm/h", SIDES, variable="rain")
WEST = [[6.1, 46.9], [7.1, 46.9], [7.1, 47.6], [6.1, 47.6], [6.1, 46.9]]
SIX = [(row, column) for row in (2, 3, 4) for column in (1, 2)]  # the cells of WEST
HOLE = [[6.4, 47.2], [6.6, 47.2], [6.6, 47.3], [6.4, 47.3], [6.4, 47.2]]  # cell (3, 1)


def cells(area: str, clip: Clip = PAST) -> list[list[tuple[int, int]]]:
    return [[*zip(found.rows, found.columns, strict=True)] for found in areas_in(clip, area, True)]


def test_a_box_has_the_cells_whose_centres_are_in_it() -> None:
    """With the centres on its edge, in any turn of longitudes, and at least one cell."""
    assert cells("6.5,47,7,47.5") == cells("-353.5,47,-353,47.5") == [SIX]
    assert cells("6.6,47.3,6.7,47.31") == [[(3, 1)]]
    pacific = {"latitude": [1.0, 0.0], "longitude": [170.0, 179.0, 188.0, 197.0]}
    wide = replace(PAST, frames=PAST.frames[:, :, :2, :4], coordinates=pacific)
    assert cells("175,-0.5,-170,0.5", wide) == [[(1, 1), (1, 2)]]


def test_polygons_of_a_file(tmp_path: Path) -> None:
    """Each is an area; rings after the first are holes, and other geometries are ignored."""
    basin = {"type": "Polygon", "coordinates": [WEST, HOLE]}
    whole = {"type": "MultiPolygon", "coordinates": [[WEST, HOLE], [HOLE]]}
    shapes = (basin, {"type": "Point", "coordinates": [6, 47]}, None, whole)
    features = [{"properties": None, "geometry": shape} for shape in shapes]
    features[0]["properties"] = {"name": "Basin"}
    path = tmp_path / "map.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert [area.name for area in areas_in(PAST, str(path), True)] == ["Basin", "map 2"]
    assert cells(str(path)) == [[cell for cell in SIX if cell != (3, 1)], SIX]


def test_an_area_is_one_location(tmp_path: Path) -> None:
    """By a loop over members: maximum, mean, the chance somewhere in it, and sums of pixels."""
    rain = np.random.default_rng(0).gamma(0.2, 9, (5, 3, 1, 8, 8)).astype(np.float32)
    rain[..., 2, 1] = np.nan  # does not count
    future = Ensemble.like(replace(PAST, frames=rain[0], times=PAST.times_after(3)), rain)
    about = PAST, future, None, 20.0, None, amounts_of(future, 15, 3, None)
    (made,) = point_forecasts(areas_in(PAST, "6.5,47,7,47.5"), *about)
    reached, heavy = np.zeros((5, 3)), []
    for m, member in enumerate(rain[:, :, 0]):
        for s, field in enumerate(member):
            values = [field[cell] for cell in SIX[1:]]
            np.testing.assert_allclose(made.values[m, s], [max(values), np.mean(values)], rtol=1e-6)
            reached[m, s] = max(values) >= 20
        sums = [sum(member[:, *cell]) / 12 for cell in SIX[1:]]
        np.testing.assert_allclose(made.amounts.values[m], [max(sums), np.mean(sums)], rtol=1e-5)
        heavy.append(max(sums) >= 5)
    np.testing.assert_allclose(made.at, reached.mean(axis=0))
    np.testing.assert_allclose(made.within[-1], reached.max(axis=1).mean())
    assert made.config()["sum"]["probability"]["5"] == pytest.approx(np.mean(heavy))
    assert made.sentence().startswith("Rain (20 mm/h or more somewhere in the area) within 15 min")
    assert "Amount in 15 min: maximum" in made.sentence()
    write_point_forecasts(tmp_path / "area.csv", [made])
    table = [line.split(",") for line in (tmp_path / "area.csv").read_text().splitlines()]
    ((*_, m1, m2, m3, m4, m5, _, _),) = [line for line in table if "rain mean in 15 min" in line]
    assert [*map(float, (m1, m2, m3, m4, m5))] == pytest.approx(made.amounts.values[:, 1])
    ((_, p, _),) = [line[-3:] for line in table if "5 mm or more in 15 min" in line]
    assert float(p) == pytest.approx(np.mean(heavy))
    write_point_forecasts(tmp_path / "area.geojson", [made])
    (feature,) = json.loads((tmp_path / "area.geojson").read_text())["features"]
    assert (feature["geometry"]["type"], feature["properties"]["cells"]) == ("Polygon", 6)


def test_areas_that_are_refused_and_parts_without_values(tmp_path: Path) -> None:
    path = tmp_path / "map.geojson"
    boxes = ("1,2,3", "6,47,7,46", "a,b,c,d", "nan,46,7,47", "places.txt")
    words = dict.fromkeys(boxes, "an area is west,south") | {str(path): "there is no file"}
    for word, message in words.items():
        with one_line(message):
            areas_in(PAST, word, True)
    with one_line("has no latitudes and longitudes"):
        areas_in(replace(PAST, coordinates={}), "6,46,7,47")
    for content, message in {
        "text": "cannot read the area",
        '{"type": "Point"}': "no Polygon or MultiPolygon in this file",
        '{"type": "Polygon"}': "no valid Polygon",
        '{"type": "Polygon", "coordinates": [[[26e5, 12e5]]]}': "longitude, latitude in degrees",
        '{"type": "Polygon", "coordinates": [[[50, 40]]]}': "no cell at this location",
    }.items():
        path.write_text(content)
        with one_line(message):
            areas_in(PAST, str(path), True)
    with pytest.warns(UserWarning, match="only the part within counts"):
        areas_in(PAST, "0,46,7,47")
    with pytest.warns(UserWarning, match="100 % of its cells have no values"):
        areas_in(replace(PAST, frames=PAST.frames[:] * np.nan), "6.5,47.25,7,47.5")
