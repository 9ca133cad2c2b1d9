"""GeoTIFF: a raster that says where it lies; the file, or each of its bands, is a time."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import FLOAT32, Frames
from foreframe.data.grids import select_variables
from foreframe.data.header_limits import check_frames_fit
from foreframe.data.maps import on_map

SUFFIXES = (".tif", ".tiff")
_WEIGHT = 24  # bytes a value that reading takes: as it is stored, its mask, and as float64
_BITS, _PHOTOMETRIC, _GEO_KEYS = 258, 262, 34735  # tags
_COLOURS = (2, 3, 6)  # RGB, palette, YCbCr
_BIG = (b"+\0", b"\0+")  # BigTIFF, whose header is longer
_DATE = re.compile(
    r"(?<!\d)((?:1[89]|2[01])\d\d)[-_.]?(\d\d)"  # 2020-11
    r"(?:[-_.]?(\d\d)(?:(?:[T_. :-]|-S)?(\d\d)(?:[:h_.-]?(\d\d)(?:[:m_.-]?(\d\d))?)?)?)?(?!\d)"
)


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
    path: str | Path, variable: str | Sequence[str] | None = None, budget: float = BUDGET
) -> Clip:
    """A raster, or one for each band, read when its frames are needed: float32 (T,C,H,W), north-up.

    Times come from the descriptions of the bands, where all of them have one, or else from the
    name of the file: 2020-11-16T12:00, 20201116_1200, 202011161200, 20201116, 2020-11. Where the
    name has none, there are no times. Bands without times are channels. No data is NaN; scale and
    offset are applied; coordinates are those of pixel centres, with the map as grid mapping.

    Args:
        path: of the file.
        variable: bands by their descriptions, or numbers ("1" is the first) where they have none;
            all without it.
        budget: GiB that reading a frame may take.

    Raises:
        ValueError: rasterio is not installed; a file that cannot be read, has pages, no such band
            or no map; a map turned against the north; more than the budget.
    """
    path = Path(path)
    for package in ("rasterio", "pyproj"):
        needed(package, "geotiff", f"{path.name}: reading GeoTIFF")
    with _opened(path) as file:
        if file.subdatasets or file.crs is None or file.transform.b or file.transform.d:
            raise ValueError(
                f"{path} has several pages, no map, or is turned against north; store pages in "
                "files of their own, or mend it with gdalwarp"
            )
        titles, units = [text or "" for text in file.descriptions], file.units
        crs, transform = file.crs.to_wkt(version="WKT2_2019"), file.transform
        height, width = file.shape
    times = [time_in(title) for title in titles]
    bands: list[tuple[int, ...]] = [(band,) for band in range(1, len(titles) + 1)]
    if None in times:
        times, bands = [time_in(path.stem)], [_chosen(titles, variable, path.name)]
    own = [band for frame in bands for band in frame]
    shape = (len(times), len(bands[0]), height, width)
    what = f"a frame of {path} of {'x'.join(map(str, shape[1:]))}"
    check_budget(_WEIGHT * math.prod(shape[1:]), budget, what)
    check_frames_fit(shape, 4, path.stat().st_size, budget, str(path))
    upside_down = transform.e > 0
    return Clip(
        _RasterFrames(path, bands, shape, upside_down),
        None if None in times else np.array(times, "datetime64[ns]"),
        ", ".join(dict.fromkeys(units[band - 1] or "" for band in own)),
        name=path.name,
        variable=", ".join(filter(None, (titles[b - 1] for b in own))) if len(bands) == 1 else "",
        notes=("rows ran south to north: turned north-up",) if upside_down else (),
        turned=upside_down,
        **_place(crs, transform, height, width),
    )


@dataclass(frozen=True, eq=False)
class _RasterFrames(Frames):
    """Frames (T,C,H,W), float32; the file is opened for each slice.

    Args:
        path: of the file.
        bands: for each frame those that are its channels, counted from 1.
        shape: (T,C,H,W).
        upside_down: the file's rows run from south to north.
    """

    path: Path
    bands: list[tuple[int, ...]]
    shape: tuple[int, ...]
    upside_down: bool
    dtype: np.dtype = FLOAT32

    def read(self, first: int, last: int) -> Float32[np.ndarray, "t c h w"]:
        frames = np.empty((last - first, *self.shape[1:]), np.float32)
        with _opened(self.path) as file:
            for k, bands in enumerate(self.bands[first:last]):
                values = file.read(bands, masked=True)
                scale, offset = (
                    np.array([numbers[band - 1] for band in bands])[:, None, None]
                    for numbers in (file.scales, file.offsets)
                )
                frames[k] = (values * scale + offset).astype(np.float32).filled(np.nan)
        return np.ascontiguousarray(frames[:, :, ::-1]) if self.upside_down else frames


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


def _chosen(titles: list[str], variable: str | Sequence[str] | None, where: str) -> tuple[int, ...]:
    """The numbers of bands that are channels: all, or those that are named."""
    names = [title or str(band) for band, title in enumerate(titles, 1)]
    if variable is None:
        return tuple(range(1, len(names) + 1))
    return tuple(names.index(name) + 1 for name in select_variables(variable, names, where))


def time_in(text: str) -> datetime | None:
    """The first date and time in a text such as the name of a file, or the first date or month."""
    found = ["".join(filter(None, match.groups())) for match in _DATE.finditer(text)]
    for digits in sorted(found, key=len, reverse=True):
        with suppress(ValueError):  # digits that are no date
            return datetime.strptime(digits, "%Y%m%d%H%M%S"[: len(digits) - 2])
    return None


def _place(crs: str, transform: Any, height: int, width: int) -> dict[str, Any]:
    """As `on_map` gives it, north-up."""
    import pyproj

    x = transform.c + (np.arange(width) + 0.5) * transform.a
    y = transform.f + (np.arange(height) + 0.5) * transform.e
    return on_map(pyproj.CRS.from_wkt(crs), x, y[::-1] if transform.e > 0 else y)
