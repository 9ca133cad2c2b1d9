"""ODIM_H5, the files of weather radar networks: composites and images on a map.

Source: EUMETNET OPERA weather radar information model for implementation with the HDF5 file format,
version 2.4.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from foreframe.base.budget import check_budget, check_stretch
from foreframe.base.extras import needed
from foreframe.clips.clip import Clip, Variable
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import FLOAT32, Frames
from foreframe.data.grids import select_variables
from foreframe.data.header_limits import check_frames_fit
from foreframe.data.maps import on_map

SUFFIXES = (".h5", ".hdf5", ".hdf")
NO_ECHO = -32.0  # dBZ, the lowest value of the 8-bit numbers that OPERA recommends
_WEIGHT = 24  # bytes a pixel that reading a picture takes: as it is stored, and as float64
_IMAGES = ("COMP", "IMAGE", "CVOL")


class _Quantity(NamedTuple):
    """What ODIM's name of a quantity means.

    Args:
        units, attributes: as CF has them.
        nothing: the value where the radar looked and detected nothing.
    """

    units: str = ""
    attributes: Mapping[str, str] = {}
    nothing: float = math.nan


_ECHO = _Quantity("dBZ", {"standard_name": "equivalent_reflectivity_factor"}, NO_ECHO)
_QUANTITIES = {
    **dict.fromkeys(("TH", "TV", "DBZH", "DBZV"), _ECHO),
    "RATE": _Quantity("mm/h", {"standard_name": "lwe_precipitation_rate"}, 0.0),
    "ACRR": _Quantity(
        "mm",
        {"standard_name": "lwe_thickness_of_precipitation_amount", "cell_methods": "time: sum"},
        0.0,
    ),
    "VIL": _Quantity("kg m-2", {}, 0.0),
    "HGHT": _Quantity("km"),
    "VRAD": _Quantity("m/s"),
    "QIND": _Quantity("1"),
}


class _Layer(NamedTuple):
    """One picture of a file.

    Args:
        at: the group that holds it, such as dataset1/data1.
        dataset: the number of its dataset.
        quantity: ODIM's name, such as DBZH.
        time: the end of what it shows.
        shape: rows and columns.
        gain, offset: from stored numbers to values.
        nodata, undetect: stored numbers for "not measured" and "measured, nothing detected".
    """

    at: str
    dataset: int
    quantity: str
    time: datetime | None
    shape: tuple[int, ...]
    gain: float
    offset: float
    nodata: float
    undetect: float


def read_odim(
    path: str | Path,
    variable: str | Sequence[str] | None = None,
    select: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
) -> Clip:
    """A composite or an image out of an ODIM_H5 file, read when its frames are needed.

    Frames are float32 (T,C,H,W), a frame for each time that the file holds. What was not measured
    (`nodata`) is NaN. Where nothing was detected (`undetect`), a rate, an amount or a column is 0
    and a reflectivity -32 dBZ; other quantities are NaN there. `notes` say so. The place is x and y
    in metres, or longitude and latitude, with a grid mapping.

    Args:
        path: of the file.
        variable: quantities, such as DBZH; several become channels in that order. May be left out
            where the file holds only one.
        select: {"dataset": 2} where several datasets hold the same quantity at the same time.
        budget: GiB that a slice may take.

    Raises:
        ValueError: h5py or pyproj is not installed; not an HDF5 file of ODIM; a polar volume; no
            such quantity, or several; pictures of unlike sizes; no place; more than the budget.
    """
    path = Path(path)
    h5py = needed("h5py", "radar", f"{path.name}: reading ODIM HDF5")
    needed("pyproj", "radar", f"{path.name}: reading ODIM HDF5")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with h5py.File(path) as file:
            _check_kind(file, path.name)
            layers = _layers(file, path.name)
            corner = _corner(file, path.name)
            nominal = _time(_attributes(file, "what"), "date", "time", path.name)
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a whole HDF5 file ({error}); check that it is HDF5, or copy it again"
        ) from None

    quantities = list(dict.fromkeys(layer.quantity for layer in layers))
    names = select_variables(variable, quantities, path.name, ("quantity", "quantities"))
    channels = [_chosen(layers, name, dict(select or {}), path.name) for name in names]
    times = [layer.time for layer in channels[0]]
    if any([layer.time for layer in others] != times for others in channels):
        raise ValueError(f"{path.name}: {', '.join(names)} have other times; read them apart")
    if len(times) == 1:  # scans end at odd seconds, files are of even minutes
        times = [nominal or times[0]]
    if None in times:
        raise ValueError(f"{path.name} says no time (/what/date and time); make it again")
    height, width = channels[0][0].shape
    if any(layer.shape != (height, width) for channel in channels for layer in channel):
        raise ValueError(f"{path.name}: its pictures are of unlike sizes; read them apart")
    shape = (len(times), len(names), height, width)
    check_budget(_WEIGHT * height * width, budget, f"a frame of {path} of {height}x{width} pixels")
    check_frames_fit(shape, 4, path.stat().st_size, budget, str(path))

    try:
        place = _place(corner, height, width)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    kinds = [_QUANTITIES.get(name, _Quantity()) for name in names]
    variables = tuple(
        Variable(name, kind.units, {**place["attributes"], **kind.attributes})
        for name, kind in zip(names, kinds, strict=True)
    )
    units = [kind.units for kind in kinds]
    return Clip(
        _LayerFrames(path, channels, [kind.nothing for kind in kinds], shape, budget),
        np.array(times, "datetime64[ns]"),
        units[0] if len(set(units)) == 1 else ", ".join(units),
        place["coordinates"],
        path.name,
        ", ".join(names),
        tuple(_note(name, kind) for name, kind in zip(names, kinds, strict=True)),
        variables[0].attributes if len(variables) == 1 else place["attributes"],
        place["dims"],
        variables=variables if len(variables) > 1 else (),
    )


@dataclass(frozen=True, eq=False)
class _LayerFrames(Frames):
    """Frames (T,C,H,W), float32; the file is opened for each slice.

    Args:
        path: of the file.
        channels: for each channel the layers of its times.
        nothing: for each channel the value where nothing was detected.
        shape: (T,C,H,W).
        budget: GiB that a slice may take.
    """

    path: Path
    channels: list[list[_Layer]]
    nothing: list[float]
    shape: tuple[int, ...]
    budget: float
    dtype: np.dtype = FLOAT32

    def read(self, first: int, last: int) -> Float32[np.ndarray, "t c h w"]:
        import h5py

        shape = (last - first, *self.shape[1:])
        check_stretch(shape, 4, self.budget, _WEIGHT * math.prod(shape[2:]))
        frames = np.empty(shape, np.float32)
        try:
            with h5py.File(self.path) as file:
                for c, layers in enumerate(self.channels):
                    for k, layer in enumerate(layers[first:last]):
                        raw = file[f"{layer.at}/data"][()]
                        frames[k, c] = _values(raw, layer, self.nothing[c])
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"cannot read {self.path}; is it whole? ({error})") from None
        return frames


def _values(raw: np.ndarray, layer: _Layer, nothing: float) -> np.ndarray:
    """A picture (H,W) in its own units."""
    values = raw * layer.gain + layer.offset
    values[raw == layer.undetect] = nothing
    values[raw == layer.nodata] = math.nan
    return values


def _note(name: str, kind: _Quantity) -> str:
    value = "missing" if math.isnan(kind.nothing) else f"{kind.nothing:g} {kind.units}"
    return f"{name}: where nothing was detected (undetect) the value is {value}"


# What a file says of itself


def _attributes(group: Any, name: str) -> dict[str, Any]:
    """The attributes of a group called what or where, as plain numbers and texts; {} without
    it.
    """
    return {key: _plain(value) for key, value in group[name].attrs.items()} if name in group else {}


def _plain(value: Any) -> Any:
    value = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else value


def _check_kind(file: Any, name: str) -> None:
    """Refuse what is no picture of ODIM's."""
    kind = str(_attributes(file, "what").get("object", ""))
    if kind not in _IMAGES:
        raise ValueError(
            f"{name} is HDF5, but no composite or image of ODIM's (object {kind!r}); make a "
            "composite of a polar volume first, with wradlib or xradar, and convert other kinds"
        )


def _layers(file: Any, name: str) -> list[_Layer]:
    """All pictures of a file, in order of dataset and data; quality fields are none."""
    layers = []
    for n, dataset in _numbered(file, "dataset"):
        for _, data in _numbered(dataset, "data"):
            if "data" not in data or data["data"].ndim != 2:
                continue
            what = {**_attributes(dataset, "what"), **_attributes(data, "what")}
            numbers = [float(what.get(key, default)) for key, default in _NUMBERS.items()]
            quantity, shape = str(what.get("quantity", "unknown")), tuple(data["data"].shape)
            end = _time(what, "enddate", "endtime", name)
            layers.append(_Layer(data.name, n, quantity, end, shape, *numbers))
    if not layers:
        raise ValueError(f"{name} holds no picture; make or fetch it again")
    return layers


_NUMBERS = {"gain": 1.0, "offset": 0.0, "nodata": math.nan, "undetect": math.nan}


def _numbered(group: Any, word: str) -> list[tuple[int, Any]]:
    """The members called word1, word2, ..., by their numbers."""
    numbers = [key.removeprefix(word) for key in group if key.startswith(word)]
    return [(n, group[f"{word}{n}"]) for n in sorted(int(n) for n in numbers if n.isdecimal())]


def _time(what: Mapping[str, Any], day: str, hour: str, name: str) -> datetime | None:
    """A date and a time together; None where the file has neither."""
    text = f"{what.get(day, '')}{what.get(hour, '')}"
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S") if text else None
    except ValueError:
        raise ValueError(f"{name}: {day} and {hour} {text!r} are no time; make it again") from None


def _chosen(layers: list[_Layer], quantity: str, select: dict[str, Any], name: str) -> list[_Layer]:
    """The pictures of one quantity in order of time.

    Raises:
        ValueError: no such dataset, or several at one time.
    """
    if further := sorted(select.keys() - {"dataset"}):
        raise ValueError(f"{name} has no dimension {further[0]} to select from; it has dataset")
    matches = [layer for layer in layers if layer.quantity == quantity]
    numbers = [layer.dataset for layer in matches]
    if "dataset" in select:
        matches = [layer for layer in matches if str(layer.dataset) == str(select["dataset"])]
    if not matches or len({layer.time for layer in matches}) < len(matches):
        raise ValueError(
            f"{name}: {quantity} lies in datasets {', '.join(map(str, numbers))}; select one of "
            f"them, e.g. dataset={numbers[0]}"
        )
    return sorted(matches, key=lambda layer: layer.time or datetime.min)


# Where its pixels lie


def _corner(file: Any, name: str) -> tuple[str, float, float, float, float]:
    """The projection, the outer corner of the first pixel in degrees, and the pixels' sides."""
    where = _attributes(file, "where")
    keys = ("projdef", "UL_lon", "UL_lat", "xscale", "yscale")
    if lacking := [key for key in keys if key not in where]:
        raise ValueError(f"{name} does not say where it lies: /where has no {', '.join(lacking)}")
    projection, longitude, latitude, width, height = (where[key] for key in keys)
    return str(projection), float(longitude), float(latitude), float(width), float(height)


@lru_cache(maxsize=32)
def _place(
    corner: tuple[str, float, float, float, float], height: int, width: int
) -> dict[str, Any]:
    """As `on_map` gives it; a folder of files has one place again and again.

    Raises:
        ValueError: a projection that PROJ does not know.
    """
    import pyproj

    projection, longitude, latitude, x_scale, y_scale = corner
    try:
        crs = pyproj.CRS.from_proj4(projection)
        to_map = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
        left, top = to_map.transform(longitude, latitude, errcheck=True)
    except pyproj.exceptions.ProjError as error:
        raise ValueError(
            f"the projection {projection!r} is not understood ({error}); make it again"
        ) from None
    # the sides of pixels are metres, whatever the unit of the map
    unit = 1.0 if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    x = left + (np.arange(width) + 0.5) * x_scale / unit
    y = top - (np.arange(height) + 0.5) * y_scale / unit
    return on_map(crs, x, y)
