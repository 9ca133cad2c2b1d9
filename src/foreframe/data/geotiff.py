"""GeoTIFF: rasters that say where they lie; each file, or each band of a file, is a time."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import FLOAT32, Frames
from foreframe.data.header_limits import check_frames_fit
from foreframe.data.maps import on_map
from foreframe.data.pictures import natural

SUFFIXES = (".tif", ".tiff")
_WEIGHT = 24  # bytes a pixel that reading a band takes: as it is stored, its mask, and as float64
_SCALE, _TRANSFORM, _GEO_KEYS = 33550, 34264, 34735  # tags of where a raster lies
_SUBFILE, _BITS, _PHOTOMETRIC = 254, 258, 262
_COLOURS = (2, 3, 6)  # RGB, palette, YCbCr
_BIG = (b"+\0", b"\0+")  # BigTIFF, whose header is longer
_DATE = re.compile(
    r"(?<!\d)((?:1[89]|2[01])\d\d)[-_.]?(\d\d)"  # 2020-11
    r"(?:[-_.]?(\d\d)(?:(?:[T_. :-]|-S)?(\d\d)(?:[:h_.-]?(\d\d)(?:[:m_.-]?(\d\d))?)?)?)?(?!\d)"
)


class _Raster(NamedTuple):
    """What the header of a file says; the files of one recording are alike in all but the first
    two.

    Args:
        path: of the file.
        times: of its bands, where all have a time.
        shape: bands, rows and columns.
        place: the numbers a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f.
        crs: the map, in WKT.
        names: of the bands; their numbers where they have none.
        units: of the first band.
    """

    path: Path
    times: list[datetime | None]
    shape: tuple[int, int, int]
    place: tuple[float, ...]
    crs: str
    names: tuple[str, ...]
    units: str


_ALIKE = ("bands, rows and columns", "places", "maps", "names of bands", "units")


def is_geotiff(path: Path) -> bool:
    """Whether a TIFF says where it lies, and holds values: 8-bit colours are pictures, and several
    pages no recording.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        tags, *others = islice(_pages(path), 2)
    except Exception:  # no TIFF; whoever reads it says what is wrong
        return False
    one = all(other.get(_SUBFILE, 0) for other in others)  # besides overviews and masks
    colours = tags.get(_PHOTOMETRIC) in _COLOURS and set(tags.get(_BITS, (8,))) == {8}
    return one and _GEO_KEYS in tags and (_SCALE in tags or _TRANSFORM in tags) and not colours


def _pages(path: Path) -> Iterator[dict[int, Any]]:
    """The tags of each picture in a file, overviews and masks among them."""
    with path.open("rb") as file:
        start = file.read(16)
        tags = ImageFileDirectory_v2(start if start[2:4] in _BIG else start[:8])
        while tags.next:
            file.seek(tags.next)
            tags.load(file)
            yield dict(tags)


def read_geotiff(
    source: str | Path | Sequence[Path],
    variable: str | Sequence[str] | None = None,
    strict: bool = False,
    budget: float = BUDGET,
) -> Clip:
    """A raster for each time, read when its frames are asked for: float32 (T,C,H,W), north-up.

    Times come from the descriptions or tags of the bands, where all of them have one, or else from
    the names of the files: 2020-11-16T12:00, 20201116_1200, 202011161200, 20201116, 2020-11. Where
    names have none, files are in the order of the numbers in them, and there are no times. Bands
    without times are channels. No data is NaN; scale and offset are applied; coordinates are those
    of pixel centres, with the map as grid mapping.

    Args:
        source: a file, or the files of one recording.
        variable: bands by their descriptions or numbers ("1" is the first); all without it.
        strict: refuse a file that cannot be read, which is else left out.
        budget: GiB that reading a frame may take.

    Raises:
        ValueError: rasterio is not installed; no file that can be read; files of unlike sizes, maps
            or bands; two of one time; a map turned against the north; more than the budget.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else list(source)
    needed("rasterio", "geotiff", f"{paths[0].name}: reading GeoTIFF")
    needed("pyproj", "geotiff", f"{paths[0].name}: reading GeoTIFF")
    rasters, notes = _rasters(paths, strict)
    first = rasters[0]
    for raster in rasters:
        for what, expected, other in zip(_ALIKE, first[2:], raster[2:], strict=True):
            if other != expected:
                raise ValueError(
                    f"{first.path} and {raster.path.name} have other {what}; keep the files of a "
                    "recording in a folder of their own"
                )
    layers, bands = _layers(rasters, variable)
    times = [layer.time for layer in layers]
    for layer, after in pairwise(layers):
        if layer.time is not None and layer.time == after.time:
            raise ValueError(
                f"{layer.path} and {after.path.name} are both of {layer.time}; keep the files of a "
                "recording in a folder of their own"
            )
    height, width = first.shape[1:]
    check_budget(_WEIGHT * height * width, budget, f"{first.path} of {height}x{width} pixels")
    shape = (len(layers), len(layers[0].bands), height, width)
    check_frames_fit(shape, 4, sum(r.path.stat().st_size for r in rasters), budget, str(first.path))

    place = _place(first)
    upside_down = first.place[4] > 0
    return Clip(
        _RasterFrames(layers, shape, upside_down),
        None if None in times else np.array(times, "datetime64[ns]"),
        first.units,
        place["coordinates"],
        first.path.name if len(rasters) == 1 else first.path.parent.name,
        ", ".join(bands),
        (*notes, *(["rows ran south to north: turned north-up"] if upside_down else [])),
        place["attributes"],
        place["dims"],
        turned=upside_down,
    )


class _Layer(NamedTuple):
    """A frame: the bands of a file, counted from 1, that are its channels."""

    path: Path
    bands: tuple[int, ...]
    time: datetime | None


@dataclass(frozen=True, eq=False)
class _RasterFrames(Frames):
    """Frames (T,C,H,W), float32; a file is opened for each frame.

    Args:
        layers: the frames, in order.
        shape: (T,C,H,W).
        upside_down: the files' rows run from south to north.
    """

    layers: list[_Layer]
    shape: tuple[int, ...]
    upside_down: bool
    dtype: np.dtype = FLOAT32

    def read(self, first: int, last: int) -> Float32[np.ndarray, "t c h w"]:
        frames = np.empty((last - first, *self.shape[1:]), np.float32)
        for k, layer in enumerate(self.layers[first:last]):
            with _opened(layer.path) as file:
                frames[k] = _values(file, layer.bands)
        return np.ascontiguousarray(frames[:, :, ::-1]) if self.upside_down else frames


def _values(file: Any, bands: tuple[int, ...]) -> np.ndarray:
    """Bands (C,H,W) in their own units, NaN where the file says that there is no data."""
    values = file.read(bands, masked=True)
    for channel, band in enumerate(bands):
        scale, offset = file.scales[band - 1], file.offsets[band - 1]
        if (scale, offset) != (1.0, 0.0):
            values = values.astype(np.float64)
            values[channel] = values[channel] * scale + offset
    return values.astype(np.float32).filled(np.nan)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, open; GDAL does not list the folder that it lies in.

    Raises:
        ValueError: it cannot be read.
    """
    import rasterio

    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"), rasterio.open(path) as file:
            yield file
    except (OSError, rasterio.errors.RasterioError) as error:
        why = str(error).replace(f"{path}: ", "") or "damaged"
        raise ValueError(f"{path} cannot be read ({why}); make or fetch it again") from None


# What files say of themselves


def _rasters(paths: Sequence[Path], strict: bool) -> tuple[list[_Raster], list[str]]:
    """The headers, and a note where files were left out.

    Raises:
        ValueError: a file that cannot be read, where none can or `strict` is set.
    """
    rasters, refused = [], []
    for path in paths:
        try:
            with _opened(path) as file:
                rasters.append(_header(path, file))
        except ValueError as error:
            if strict:
                raise
            refused.append(error)
    if not rasters:
        raise refused[0]
    left_out = f"{plural(len(refused), 'file')} left out: {refused[0]}" if refused else ""
    return rasters, [left_out] if left_out else []


def _header(path: Path, file: Any) -> _Raster:
    if file.crs is None or file.transform.b or file.transform.d:
        why = "has no map that is understood" if file.crs is None else "is turned against north"
        raise ValueError(f"{path} {why}; gdalwarp mends that")
    numbers = tuple(str(band) for band in file.indexes)
    names = tuple(name or n for name, n in zip(file.descriptions, numbers, strict=True))
    stamps = [_time_of_band(file, band) for band in file.indexes]
    times = [] if None in stamps else stamps
    return _Raster(
        path,
        times,
        (file.count, *file.shape),
        tuple(file.transform)[:6],
        file.crs.to_wkt(version="WKT2_2019"),
        names if not times else numbers,
        file.units[0] or "",
    )


def _time_of_band(file: Any, band: int) -> datetime | None:
    """What the description or the tags of a band say of its time."""
    tags = {key.lower(): value for key, value in file.tags(band).items()}
    if match := re.match(r" *(\d+) sec UTC", tags.get("grib_valid_time", "")):
        return datetime.fromtimestamp(int(match[1]), UTC).replace(tzinfo=None)
    texts = (file.descriptions[band - 1] or "", tags.get("time", ""), tags.get("valid_time", ""))
    return next((time for time in map(time_in, texts) if time is not None), None)


def time_in(text: str) -> datetime | None:
    """The first date and time in a text such as the name of a file, or the first date or month."""
    found = ["".join(filter(None, match.groups())) for match in _DATE.finditer(text)]
    for digits in sorted(found, key=len, reverse=True):
        with suppress(ValueError):  # digits that are no date
            return datetime.strptime(digits, "%Y%m%d%H%M%S"[: len(digits) - 2])
    return None


def _layers(
    rasters: list[_Raster], variable: str | Sequence[str] | None
) -> tuple[list[_Layer], list[str]]:
    """The frames in order, and the names of their channels.

    Raises:
        ValueError: no such band.
    """
    first = rasters[0]
    if first.times:
        layers = [
            _Layer(raster.path, (band,), time)
            for raster in rasters
            for band, time in enumerate(raster.times, 1)
        ]
        return sorted(layers, key=lambda layer: layer.time or datetime.min), []
    names = list(first.names)
    wanted = [variable] if isinstance(variable, str) else list(variable or names)
    numbers = {str(band): band for band in range(1, len(names) + 1)}
    bands = {**numbers, **{name: band for band, name in enumerate(names, 1)}}
    for name in wanted:
        if name not in bands:
            raise ValueError(f"{first.path} has no band {name}; it has {', '.join(names)}")
    channels = tuple(bands[name] for name in wanted)
    times = [time_in(raster.path.stem) for raster in rasters]
    layers = [
        _Layer(raster.path, channels, None if None in times else time)
        for raster, time in zip(rasters, times, strict=True)
    ]
    plain = names == list(numbers)
    layers.sort(key=lambda layer: (layer.time or datetime.min, natural(layer.path)))
    return layers, [] if plain else [names[band - 1] for band in channels]


def _place(raster: _Raster) -> dict[str, Any]:
    """As `on_map` gives it, north-up."""
    import pyproj

    a, _, c, _, e, f = raster.place
    height, width = raster.shape[1:]
    x, y = c + (np.arange(width) + 0.5) * a, f + (np.arange(height) + 0.5) * e
    return on_map(pyproj.CRS.from_wkt(raster.crs), x, y[::-1] if e > 0 else y)
