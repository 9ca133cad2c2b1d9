"""ODIM_H5, the files of weather radar networks: composites and images on a map.

Source: EUMETNET OPERA weather radar information model for implementation with the HDF5 file format,
version 2.4.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip, Variable, shared_attributes
from foreframe.clips.frames import FLOAT32, Frames
from foreframe.data.data_options import BUDGET
from foreframe.data.maps import on_map
from foreframe.data.readers import Reader
from foreframe.data.store import select_variables

NO_ECHO = -32.0  # dBZ, the lowest value of the 8-bit numbers that OPERA recommends
_WEIGHT = 24  # bytes a pixel for reading a picture: stored numbers and float64
_IMAGES = ("COMP", "IMAGE", "CVOL")


class _Quantity(NamedTuple):
    """The meaning of a quantity of ODIM.

    Args:
        units, attributes: as in CF.
        nothing: the value of pixels in which nothing was detected.
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


class _Picture(NamedTuple):
    """One picture of a file.

    Args:
        at: its group, such as dataset1/data1.
        quantity: ODIM's name, such as DBZH.
        end: end of the measurement.
        shape: rows and columns.
        gain, offset: from stored numbers to values.
        nodata, undetect: stored numbers for "not measured" and "measured, nothing detected".
    """

    at: str
    quantity: str
    end: datetime | None
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
    """Open a composite or an image of an ODIM_H5 file; its frames are read when they are needed.

    Frames are float32 (1,C,H,W): files hold one time. Pixels that were not measured
    (`nodata`) are NaN. Pixels in which nothing was detected (`undetect`) are 0 for a rate, an
    amount or a column and -32 dBZ for a reflectivity; for other quantities they are NaN. `notes`
    mention it. The position is x and y in metres, or longitude and latitude, with a grid mapping.

    Args:
        path: the file.
        variable: quantities, such as DBZH; several become channels in that order. By default the
            only one.
        select: {"dataset": 2} if several datasets have the same quantity.
        budget: memory limit for a frame in GiB.

    Raises:
        ValueError: h5py or pyproj is not installed; not an HDF5 file of ODIM; a polar volume; no
            such quantity, or several; pictures of unlike sizes; no place; more than the budget.
    """
    path = Path(path)
    for package in ("h5py", "pyproj"):
        needed(package, "radar", f"{path.name}: reading ODIM HDF5")
    nominal, where, pictures = _header(path)
    quantities = list(dict.fromkeys(picture.quantity for picture in pictures))
    names = select_variables(variable, quantities, path.name)
    channels = [_chosen(pictures, name, select or {}, path.name) for name in names]
    if len({picture.shape for picture in channels}) > 1:
        raise ValueError(f"{path.name}: its pictures differ in size; read them one by one")
    time = nominal or channels[0].end  # scans end at odd seconds; nominal times are even minutes
    if time is None:
        raise ValueError(f"{path.name} has no time (/what/date and time); make it again")
    height, width = channels[0].shape
    shape = (1, len(names), height, width)
    check_budget(_WEIGHT * height * width, budget, f"a frame of {path} of {height}x{width} pixels")
    place = _place(where, height, width, path.name)
    kinds = [_QUANTITIES.get(name, _Quantity()) for name in names]
    units = [kind.units for kind in kinds]
    attributes = [{**place["attributes"], **kind.attributes} for kind in kinds]
    variables = tuple(map(Variable, names, units, attributes)) if len(names) > 1 else ()
    return Clip(
        _PictureFrames(path, channels, [kind.nothing for kind in kinds], shape),
        np.array([time], "datetime64[ns]"),
        units[0] if len(set(units)) == 1 else ", ".join(units),
        name=path.name,
        variable=", ".join(names),
        notes=tuple(map(_note, names, kinds)),
        variables=variables,
        **place | {"attributes": shared_attributes(attributes)},
    )


@dataclass(frozen=True, eq=False)
class _PictureFrames(Frames):
    """Frames (1,C,H,W), float32; the file is opened for each slice.

    Args:
        path: the file.
        channels: the picture of each channel.
        nothing: the value of each channel for pixels in which nothing was detected.
        shape: (1,C,H,W).
    """

    path: Path
    channels: list[_Picture]
    nothing: list[float]
    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT32

    def read(self, first: int, last: int) -> Float32[np.ndarray, "t c h w"]:
        frames = np.empty(self.shape, np.float32)
        with _opened(self.path) as file:
            for c, (picture, nothing) in enumerate(zip(self.channels, self.nothing, strict=True)):
                raw = file[f"{picture.at}/data"][()]
                values = raw * picture.gain + picture.offset
                values[raw == picture.undetect] = nothing
                values[raw == picture.nodata] = math.nan
                frames[0, c] = values
        return frames[first:last]


def _note(name: str, kind: _Quantity) -> str:
    value = "missing" if math.isnan(kind.nothing) else f"{kind.nothing:g} {kind.units}"
    return f"{name}: where nothing was detected (undetect) the value is {value}"


# Reading the attributes of a file


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the file (ValueError: it cannot be read)."""
    import h5py

    cure = "check that it is HDF5, or copy it again"
    with in_one_line(f"{path} is not a whole HDF5 file; {cure}"), h5py.File(path) as file:
        yield file


def _header(path: Path) -> tuple[datetime | None, dict[str, Any], list[_Picture]]:
    """Return a file's nominal time, the attributes of its place, and its pictures in order of
    dataset and data, without quality fields.

    Raises:
        ValueError: it cannot be read, or has no picture of ODIM.
    """
    pictures = []
    with _opened(path) as file:
        what, where = _attributes(file, "what"), _attributes(file, "where")
        for dataset in _numbered(file, "dataset"):
            for data in _numbered(dataset, "data"):
                about = {**_attributes(dataset, "what"), **_attributes(data, "what")}
                numbers = [float(about.get(key, default)) for key, default in _NUMBERS.items()]
                quantity, shape = str(about.get("quantity", "unknown")), data["data"].shape
                end = _time(about, "enddate", "endtime")
                pictures.append(_Picture(data.name, quantity, end, tuple(shape), *numbers))
    kind = str(what.get("object", ""))
    if kind not in _IMAGES or not pictures:
        raise ValueError(
            f"{path.name} is HDF5, but no composite or image of ODIM (object {kind!r}); make a "
            "composite of a polar volume first, with wradlib or xradar, and convert other kinds"
        )
    return _time(what, "date", "time"), where, pictures


_NUMBERS = {"gain": 1.0, "offset": 0.0, "nodata": math.nan, "undetect": math.nan}


def _attributes(group: Any, name: str) -> dict[str, Any]:
    """Return the attributes of a group as plain numbers and texts; {} without the group."""
    return {key: _plain(value) for key, value in group[name].attrs.items()} if name in group else {}


def _plain(value: Any) -> Any:
    value = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else value


def _numbered(group: Any, word: str) -> list[Any]:
    """Return the members word1, word2, ... in order of their numbers."""
    numbers = [key.removeprefix(word) for key in group if key.startswith(word)]
    return [group[f"{word}{n}"] for n in sorted(int(n) for n in numbers if n.isdecimal())]


def _time(what: Mapping[str, Any], day: str, hour: str) -> datetime | None:
    """Return date and time together; None without them."""
    with suppress(ValueError):
        return datetime.strptime(f"{what.get(day)}{what.get(hour)}", "%Y%m%d%H%M%S")
    return None


def _chosen(
    pictures: list[_Picture], quantity: str, select: Mapping[str, Any], name: str
) -> _Picture:
    """Return the picture of a quantity (ValueError: no such dataset, or several)."""
    if others := sorted(select.keys() - {"dataset"}):
        raise ValueError(f"{name} has no dimension {others[0]} to select from; it has dataset")
    at = {
        picture.at.split("/")[1].removeprefix("dataset"): picture
        for picture in pictures
        if picture.quantity == quantity
    }
    wanted = str(select.get("dataset", next(iter(at)) if len(at) == 1 else ""))
    if wanted not in at:
        raise ValueError(
            f"{name}: {quantity} is in datasets {', '.join(at)}; select one of them, e.g. "
            f"dataset={next(iter(at))}"
        )
    return at[wanted]


# The position of its pixels


def _place(where: Mapping[str, Any], height: int, width: int, name: str) -> dict[str, Any]:
    """Return the place as `on_map` does, from the projection, the outer corner of the first pixel
    in degrees, and the sides of pixels.

    Raises:
        ValueError: an incomplete place, or a projection that PROJ does not support.
    """
    import pyproj

    try:
        crs = pyproj.CRS.from_proj4(str(where["projdef"]))
        to_map = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
        left, top = to_map.transform(where["UL_lon"], where["UL_lat"], errcheck=True)
        x_scale, y_scale = float(where["xscale"]), float(where["yscale"])
    except (KeyError, ValueError, TypeError, pyproj.exceptions.ProjError) as error:
        raise ValueError(f"{name} has no valid place ({error}); make it again") from None
    # Sides of pixels are in metres, whatever the unit of the map.
    unit = 1.0 if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    x = left + (np.arange(width) + 0.5) * x_scale / unit
    y = top - (np.arange(height) + 0.5) * y_scale / unit
    return on_map(crs, x, y)


READER = Reader((), lambda paths, o: [read_odim(paths[0], o.variable, o.select, o.budget)])
