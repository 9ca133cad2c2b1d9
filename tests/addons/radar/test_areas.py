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

SIDE = {"latitude": np.arange(48.0, 46, -0.25), "longitude": np.arange(6.0, 10, 0.5)}
TIMES = np.datetime64("2026-07-01T14:00", "ns") + np.timedelta64(5, "m") * np.arange(2)
PAST = Clip(np.zeros((2, 1, 8, 8), np.float32), TIMES, "mm/h", SIDE, variable="rain")
WEST = [[6.1, 46.9], [7.1, 46.9], [7.1, 47.6], [6.1, 47.6], [6.1, 46.9]]  # a box of 3 x 2 cells
HOLE = [[6.4, 47.2], [6.6, 47.2], [6.6, 47.3], [6.4, 47.3], [6.4, 47.2]]  # one of them


def polygon(*rings: list[list[float]]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": rings}


def cells(area: str, clip: Clip = PAST) -> list[tuple[int, int]]:
    (found,) = areas_in(clip, area)
    return [*zip(found.rows.tolist(), found.columns.tolist(), strict=True)]


def test_a_box_has_the_cells_whose_centres_are_in_it() -> None:
    """With the centres on its edge, in any turn of longitudes, and at least one cell."""
    assert cells("6.5,47.25,7,47.5") == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert cells("-353.5,47.25,-353,47.5") == cells("6.5,47.25,7,47.5")
    assert cells("6.6,47.3,6.7,47.31") == [(3, 1)]
    pacific = {"latitude": [1.0, 0.0], "longitude": [170.0, 179.0, 188.0, 197.0]}
    wide = Clip(np.zeros((1, 1, 2, 4), np.float32), None, "mm/h", pacific)
    assert cells("175,-0.5,-170,0.5", wide) == [(1, 1), (1, 2)]


def test_polygons_of_a_file(tmp_path: Path) -> None:
    """Each is an area; rings after the first are holes, and other geometries are ignored."""
    several = {"type": "MultiPolygon", "coordinates": [[WEST, HOLE], [HOLE]]}
    shapes = [("Basin", polygon(WEST, HOLE)), (None, several), (None, None)]
    shapes.append((None, {"type": "Point", "coordinates": [6, 47]}))
    features = [{"properties": name and {"name": name}, "geometry": of} for name, of in shapes]
    path = tmp_path / "map.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    basin, whole = areas_in(PAST, str(path))
    assert (basin.name, whole.name) == ("Basin", "map 2")
    six = [(row, column) for row in (2, 3, 4) for column in (1, 2)]
    assert [*zip(whole.rows, whole.columns, strict=True)] == six
    assert [*zip(basin.rows, basin.columns, strict=True)] == [c for c in six if c != (3, 1)]
    path.write_text(json.dumps(polygon(WEST)))
    assert cells(str(path)) == six


def test_an_area_is_one_location(tmp_path: Path) -> None:
    """By a loop over members: maximum, mean, the chance somewhere in it, and sums of pixels."""
    rain = np.random.default_rng(0).gamma(0.2, 9, (5, 3, 1, 8, 8)).astype(np.float32)
    rain[..., 2, 1] = np.nan  # does not count
    ahead = replace(PAST, frames=rain[0], times=PAST.times_after(3))
    future = Ensemble.like(ahead, rain)
    amounts = amounts_of(future, 15, 3, None)
    areas = areas_in(PAST, "6.5,47,7,47.5")
    (made,) = point_forecasts(areas, PAST, future, None, 20.0, None, amounts)
    among = [(2, 2), (3, 1), (3, 2), (4, 1), (4, 2)]
    reached, heavy = np.zeros((5, 3)), 0
    for m, member in enumerate(rain[:, :, 0]):
        for s, field in enumerate(member):
            values = [field[cell] for cell in among]
            np.testing.assert_allclose(made.values[m, s], [max(values), np.mean(values)], rtol=1e-6)
            reached[m, s] = max(values) >= 20
        sums = [sum(member[:, *cell]) / 12 for cell in among]
        np.testing.assert_allclose(made.amounts.values[m], [max(sums), np.mean(sums)], rtol=1e-5)
        heavy += max(sums) >= 5
    np.testing.assert_allclose(made.at, reached.mean(axis=0))
    np.testing.assert_allclose(made.within[-1], reached.max(axis=1).mean())
    assert made.config()["sum"]["probability"]["5"] == pytest.approx(heavy / 5)
    assert made.sentence().startswith("Rain (20 mm/h or more somewhere in the area) within 15 min")
    assert "rain maximum" in str(made)
    assert "Amount in 15 min: maximum" in made.sentence()
    write_point_forecasts(tmp_path / "area.geojson", [made])
    (feature,) = json.loads((tmp_path / "area.geojson").read_text())["features"]
    assert (feature["geometry"]["type"], feature["properties"]["cells"]) == ("Polygon", 6)


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.geojson"
    with one_line("there is no file"):
        areas_in(PAST, str(path))
    for content, words in {
        "text": "cannot read the area",
        "[1]": "cannot read the area",
        '{"type": "Point", "coordinates": [6, 47]}': "no Polygon or MultiPolygon in this file",
        '{"type": "Polygon"}': "no valid Polygon",
        json.dumps(polygon([[2600000, 1200000]] * 4)): "longitude, latitude in degrees",
        json.dumps(polygon([[50, 40], [51, 40], [51, 41]])): "no cell at this location",
    }.items():
        path.write_text(content)
        with one_line(words):
            areas_in(PAST, str(path))


def test_boxes_that_are_refused_and_parts_without_values() -> None:
    for word in ("1,2,3", "6,47,7,46", "a,b,c,d", "nan,46,7,47", "places.txt"):
        with one_line("an area is west,south,east,north"):
            areas_in(PAST, word)
    with one_line("has no latitudes and longitudes"):
        areas_in(replace(PAST, coordinates={}), "6,46,7,47")
    with pytest.warns(UserWarning, match="only the part within counts"):
        areas_in(PAST, "0,46,7,47")
    gap = np.zeros((2, 1, 8, 8), np.float32)
    gap[..., 1] = np.nan
    with pytest.warns(UserWarning, match="50% of its cells have no values"):
        areas_in(replace(PAST, frames=gap), "6.5,47.25,7,47.5")
