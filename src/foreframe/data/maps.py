"""Pixels on a map: coordinates and grid mapping of a raster by the CF conventions."""

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from foreframe.clips.clip import LATITUDES, Clip, Coordinate

MAPPING = "crs"
METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "km": 1e3, "degrees_north": 111_195.0}


def on_map(crs: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return the arguments of a `Clip` for rasters on a map: `coordinates`, `dims` and `attributes`
    with the `grid_mapping`.

    Args:
        crs: a pyproj.CRS.
        x: (W,) pixel centres from left to right, in the units of the map.
        y: (H,) pixel centres from top to bottom.

    Raises:
        ValueError: the CRS has no axes to the east and north, such as a geocentric one.
    """
    names = ("longitude", "latitude") if crs.is_geographic else ("x", "y")
    axes = {axis["axis"]: axis for axis in crs.cs_to_cf()}
    if not {"X", "Y"} <= set(axes):
        raise ValueError(f"crs {crs.name} has no axes to the east and north; use another")
    for axis in axes.values():
        axis["units"] = "m" if axis["units"] == "metre" else axis["units"]
    coordinates = {
        names[1]: Coordinate(("row",), y, axes["Y"]),
        names[0]: Coordinate(("column",), x, axes["X"]),
    }
    coordinates[MAPPING] = Coordinate((), np.array(0, np.int32), _mapping(crs))
    return {
        "coordinates": coordinates,
        "dims": (names[1], names[0]),
        "attributes": {"grid_mapping": MAPPING},
    }


def row_spacing(clip: Clip) -> float | None:
    """Return the metres between rows of a regular grid; None if its coordinates have no units."""
    for name, rows in clip.coordinates.items():
        usual = "degrees_north" if name.lower() in LATITUDES else ""
        metres = METRES.get(rows.attributes.get("units", usual))
        if rows.dims == ("row",) and len(rows.values) > 1 and metres:
            return metres * float(np.median(np.abs(np.diff(rows.values))))
    return None


def _mapping(crs: Any) -> dict[str, Any]:
    """Return the attributes of a grid mapping, with the pole of a polar one, which pyproj omits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # only crs_wkt is complete
        attributes = dict(crs.to_cf())
    if attributes.get("grid_mapping_name") == "polar_stereographic":
        pole = math.copysign(90.0, attributes.get("standard_parallel", 90.0))
        attributes.setdefault("latitude_of_projection_origin", pole)
    return attributes


def mapping_names(text: str) -> list[str]:
    """Return the names in a grid_mapping attribute: "crs", or "crs: x y wgs84: lat lon"."""
    words = text.split()
    return [word.rstrip(":") for word in words if word.endswith(":")] if ":" in text else words


def turned(coordinate: Coordinate) -> Coordinate:
    """Return the coordinate of frames with rows in reverse order."""
    if "row" not in coordinate.dims:
        return coordinate
    return replace(coordinate, values=np.ascontiguousarray(coordinate.values[::-1]))


def without_corner(coordinate: Coordinate) -> Coordinate:
    """Return a grid mapping without GDAL's position of the first pixel, for other frames."""
    others = {key: value for key, value in coordinate.attributes.items() if key != "GeoTransform"}
    return replace(coordinate, attributes=others)
