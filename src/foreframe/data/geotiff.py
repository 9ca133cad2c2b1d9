"""GeoTIFF: rasters that say where they lie; each file, or each band of a file, is a time."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
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
_WEIGHT = 24  # bytes a value that reading takes: as it is stored, its mask, and as float64
_BITS, _PHOTOMETRIC, _GEO_KEYS = 258, 262, 34735  # tags
_COLOURS = (2, 3, 6)  # RGB, palette, YCbCr
_BIG = (b"+\0", b"\0+")  # BigTIFF, whose header is longer
_DATE = re.compile(
    r"(?<!\d)((?:1[89]|2[01])\d\d)[-_.]?(\d\d)"  # 2020-11
    r"(?:[-_.]?(\d\d)(?:(?:[T_. :-]|-S)?(\d\d)(?:[:h_.-]?(\d\d)(?:[:m_.-]?(\d\d))?)?)?)?(?!\d)"
)


class _Header(NamedTuple):
    """What a file says of itself, in which the files of one recording are alike.

    Args:
        shape: bands, rows and columns.
        place: the numbers a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f.
        crs: the map, in WKT.
        units: of the file's first band.
        bands: names of those that are read; "" where these have times, or none has a name.
    """

    shape: tuple[int, int, int]
    place: tuple[float, ...]
    crs: str
    units: str
    bands: str


class _Layer(NamedTuple):
    """A frame: the bands of a file, counted from 1, that are its channels."""

    path: Path
    bands: tuple[int, ...]
    time: datetime | None


def is_geotiff(path: Path) -> bool:
    """Whether a TIFF says where it lies, and holds values: 8-bit colours are pictures."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(16)
            tags = ImageFileDirectory_v2(start if start[2:4] in _BIG else start[:8])
            file.seek(tags.next)
            tags.load(file)
    except Exception:  # no TIFF; whoever reads it says what is wrong
        return False
    colours = tags.get(_PHOTOMETRIC) in _COLOURS and set(tags.get(_BITS, (8,))) == {8}
    return _GEO_KEYS in tags and not colours


def read_geotiff(
    source: str | Path | Sequence[Path],
    variable: str | Sequence[str] | None = None,
    strict: bool = False,
    budget: float = BUDGET,
) -> Clip:
    """A raster for each time, read when its frames are asked for: float32 (T,C,H,W), north-up.

    Times come from the descriptions of the bands, where all of them have one, or else from the
    names of the files: 2020-11-16T12:00, 20201116_1200, 202011161200, 20201116, 2020-11. Where
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
            or bands; a map turned against the north; more than the budget.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else list(source)
    for package in ("rasterio", "pyproj"):
        needed(package, "geotiff", f"{paths[0].name}: reading GeoTIFF")
    headers, layers, notes = _headers(paths, variable, strict)
    first, header = next(iter(headers.items()))
    for path, other in headers.items():
        if other != header:
            raise ValueError(
                f"{first} and {path.name} have other sizes, maps, bands or units; keep the files "
                "of a recording in a folder of their own"
            )
    times = [layer.time for layer in layers]
    height, width = header.shape[1:]
    shape = (len(layers), len(layers[0].bands), height, width)
    what = f"a frame of {first} of {'x'.join(map(str, shape[1:]))}"
    check_budget(_WEIGHT * math.prod(shape[1:]), budget, what)
    check_frames_fit(shape, 4, sum(path.stat().st_size for path in headers), budget, str(first))

    place = _place(header)
    upside_down = header.place[4] > 0
    return Clip(
        _RasterFrames(layers, shape, upside_down),
        None if None in times else np.array(times, "datetime64[ns]"),
        header.units,
        place["coordinates"],
        first.name if len(headers) == 1 else first.parent.name,
        header.bands,
        (*notes, *(["rows ran south to north: turned north-up"] if upside_down else [])),
        place["attributes"],
        place["dims"],
        turned=upside_down,
    )


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


def _headers(
    paths: Sequence[Path], variable: str | Sequence[str] | None, strict: bool
) -> tuple[dict[Path, _Header], list[_Layer], list[str]]:
    """What the files say, their frames in order, and a note where files were left out.

    Raises:
        ValueError: a file that cannot be read, where none can or `strict` is set.
    """
    headers, layers, refused = dict[Path, _Header](), list[_Layer](), []
    for path in sorted(paths, key=natural):
        try:
            with _opened(path) as file:
                own = _layers(path, file, variable)
                headers[path] = _header(path, file, own)
                layers += own
        except ValueError as error:
            refused.append(error)
    if refused and (strict or not headers):
        raise refused[0]
    if all(layer.time for layer in layers):
        layers.sort(key=lambda layer: layer.time or datetime.min)
    left_out = [f"{plural(len(refused), 'file')} left out: {refused[0]}"] if refused else []
    return headers, layers, left_out


def _header(path: Path, file: Any, layers: list[_Layer]) -> _Header:
    if file.subdatasets:
        raise ValueError(
            f"{path}: several pages of a TIFF are no recording; store each in a file of its own"
        )
    if file.crs is None or file.transform.b or file.transform.d:
        raise ValueError(f"{path} has no map, or is turned against north; gdalwarp mends that")
    names = [file.descriptions[band - 1] for band in layers[0].bands]
    return _Header(
        (file.count, *file.shape),
        tuple(file.transform)[:6],
        file.crs.to_wkt(version="WKT2_2019"),
        file.units[0] or "",
        ", ".join(filter(None, names)) if len(layers) == 1 else "",
    )


def _layers(path: Path, file: Any, variable: str | Sequence[str] | None) -> list[_Layer]:
    """A frame of all bands, or of those named; a frame a band where these have times.

    Raises:
        ValueError: no such band.
    """
    times = [time_in(text or "") for text in file.descriptions]
    if None not in times:
        return [_Layer(path, (band,), time) for band, time in enumerate(times, 1)]
    bands = {text: band for band, text in enumerate(file.descriptions, 1) if text}
    bands |= {str(band): band for band in file.indexes}
    wanted = [variable] if isinstance(variable, str) else list(variable or map(str, file.indexes))
    for name in wanted:
        if name not in bands:
            raise ValueError(f"{path} has no band {name}; it has {', '.join(bands)}")
    return [_Layer(path, tuple(bands[name] for name in wanted), time_in(path.stem))]


def time_in(text: str) -> datetime | None:
    """The first date and time in a text such as the name of a file, or the first date or month."""
    found = ["".join(filter(None, match.groups())) for match in _DATE.finditer(text)]
    for digits in sorted(found, key=len, reverse=True):
        with suppress(ValueError):  # digits that are no date
            return datetime.strptime(digits, "%Y%m%d%H%M%S"[: len(digits) - 2])
    return None


def _place(header: _Header) -> dict[str, Any]:
    """As `on_map` gives it, north-up."""
    import pyproj

    a, _, c, _, e, f = header.place
    height, width = header.shape[1:]
    x, y = c + (np.arange(width) + 0.5) * a, f + (np.arange(height) + 0.5) * e
    return on_map(pyproj.CRS.from_wkt(header.crs), x, y[::-1] if e > 0 else y)
