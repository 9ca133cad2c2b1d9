"""Areas in a recording: the grid cells in a box or in the polygons of a GeoJSON file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from foreframe.addons.radar.places import degrees, nearest
from foreframe.base.notes import warn
from foreframe.base.wording import in_one_line, plural
from foreframe.clips.clip import Clip

KINDS = ("Polygon", "MultiPolygon")
SLACK = 1e-5  # degrees: centres on the edge of a box, rounded to float32, are in it


@dataclass(frozen=True, eq=False)
class Area:
    """Several cells of a grid, as one location.

    Args:
        name: the box, the name in the file, or the name of the file.
        rows, columns: the positions of the cells whose centres are in the area.
        geometry: a Polygon or MultiPolygon of GeoJSON.
    """

    name: str
    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    geometry: dict[str, Any]

    def __str__(self) -> str:
        return plural(len(self.rows), "cell")

    def _asdict(self) -> dict[str, Any]:
        return {"name": self.name, "cells": len(self.rows)}

    def variables(self, channels: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the names and units of maximum and mean of each channel."""
        kinds = ("maximum", "mean")
        return [(f"{name} {kind}", units) for name, units in channels for kind in kinds]

    def values_in(self, frames: Num[np.ndarray, "*m c h w"]) -> Num[np.ndarray, "*m two_c"]:
        """Return maximum and mean of each channel over the cells with values."""
        cells = frames[..., self.rows, self.columns]
        known = ~np.isnan(cells)
        n = np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)
        most = np.where(n > 0, cells.max(axis=-1, initial=-np.inf, where=known), np.nan)
        both = np.stack([most, np.where(known, cells, 0).sum(axis=-1) / n], axis=-1)
        return both.reshape(*both.shape[:-2], 2 * both.shape[-2])


def areas_in(clip: Clip, area: str | Sequence[str], files: bool = False) -> list[Area]:
    """Return the areas of a grid, with a note about parts without values.

    Args:
        area: each "west,south,east,north" in degrees, or the path of a GeoJSON file, in which each
            Polygon or MultiPolygon is an area.
        files: accept paths.

    Raises:
        ValueError: no box, no such file, or no polygons in it; a clip without latitudes and
            longitudes; an area beyond the grid.
    """
    shapes: list[tuple[str, dict[str, Any]]] = []
    for word in [area] if isinstance(area, str) else area:
        shapes += _listed(Path(word)) if files and word.lower().endswith("json") else [_box(word)]
    grid = degrees(clip) if shapes else None
    if shapes and grid is None:
        raise ValueError(f"area: {clip.name} has no latitudes and longitudes")
    return [_rasterised(clip, grid, *shape) for shape in shapes]


def _box(word: str) -> tuple[str, dict[str, Any]]:
    """Return name and geometry of west,south,east,north."""
    try:
        west, south, east, north = map(float, word.split(","))
    except ValueError:
        west = south = east = north = np.nan
    if not (south < north and abs(west) <= 360 and abs(east) <= 360):
        raise ValueError(
            "an area is west,south,east,north in degrees, such as 8.4,47.3,8.6,47.5, or a .geojson "
            f"file, not {word!r}"
        )
    west, south, north = west - SLACK, south - SLACK, north + SLACK
    east += SLACK + 360 * (east < west)  # across the date line
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return word, {"type": "Polygon", "coordinates": [ring]}


def _listed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and geometry of each area of a file."""
    with in_one_line(f"cannot read the area {path}"):
        found = json.loads(path.read_text(encoding="utf-8"))
        features = found.get("features", [found])
        shapes = [(f.get("properties") or {}, f.get("geometry", f) or {}) for f in features]
        shapes = [(about, shape) for about, shape in shapes if shape.get("type") in KINDS]
    if not shapes:
        raise ValueError(f"{path}: no Polygon or MultiPolygon in this file")
    for k, (about, shape) in enumerate(shapes, 1):
        yield str(about.get("name") or (f"{path.stem} {k}" if shapes[1:] else path.stem)), shape


def _rasterised(clip: Clip, grid: Any, name: str, geometry: dict[str, Any]) -> Area:
    """Return the cells whose centres are in a geometry, or the nearest one if there is none."""
    from matplotlib.path import Path as Outline  # which locations do not need

    with in_one_line(f"{name}: no valid {geometry['type']}"):
        polygons = geometry["coordinates"]
        polygons = polygons if geometry["type"] == "MultiPolygon" else [polygons]
        rings = [[np.array([p[:2] for p in ring], float) for ring in each] for each in polygons]
        edges = np.concatenate([ring for each in rings for ring in each])
        low, high = edges.min(axis=0), edges.max(axis=0)
    if not (np.abs(edges) <= (721, 91)).all():
        raise ValueError(f"{name}: positions must be longitude, latitude in degrees (WGS 84)")
    (lat, lon), centre = grid, (low + high) / 2
    turned = (lon - centre[0] + 180) % 360 - 180  # the shorter way round
    centres = np.stack([centre[0] + turned, lat], axis=-1)
    inside = ((low <= centres) & (centres <= high)).all(axis=-1)
    points = centres[inside]
    within = [[Outline(ring).contains_points(points) for ring in each] for each in rings]
    # All rings of a polygon but the first are holes.
    inside[inside] = np.any([np.logical_xor.reduce(each) for each in within], axis=0)
    rows, columns = np.nonzero(inside)
    if not len(rows):
        place = nearest(lat, lon, name, *centre[::-1])
        rows, columns = np.array([place.row]), np.array([place.column])
    least, most = np.nanmin(centres, axis=(0, 1)), np.nanmax(centres, axis=(0, 1))
    cell = (most - least) / (min(lat.shape) - 1 or 1)
    if ((low < least - cell) | (high > most + cell)).any():
        warn(f"{name} reaches beyond the recording; only the part within counts")
    elif share := float(np.isnan(clip.frames[len(clip) - 1][0, rows, columns]).mean()):
        warn(f"{name}: {100 * share:.0f} % of its cells have no values, and do not count")
    return Area(name, rows, columns, geometry)
