"""Radar archives -> rain in mm/h, one NetCDF file an event.

    python examples/radar/prepare.py ARCHIVES OUTPUT

ARCHIVES is a folder with mch_rain_20150515.npz, knmi_acc_20100826.npz, mch_rain_20160711.npz and
fmi_dbz_20170509.npz: frames (T,H,W) of whole numbers every 5 minutes on a 1 km grid, with `times`
beside them, made from the composites that the pysteps project collects
(https://github.com/pySTEPS/pysteps-data),
on the map projections of its importers. OUTPUT gets `train` (two events of 2010 and 2015) and
`test` (two others).
"""

import sys
from pathlib import Path

import numpy as np
import pyproj

from foreframe import Clip, clips_from
from foreframe.data.cf import write_grid
from foreframe.data.maps import on_map

EVENTS = {
    "train": ("mch_rain_20150515", "knmi_acc_20100826"),
    "test": ("mch_rain_20160711", "fmi_dbz_20170509"),
}
STEREOGRAPHIC = "+proj=stere +lat_0=90 +lat_ts=60 "
# By service: the projection, the left and upper edge of the grid and the side of a pixel in metres.
GRIDS = {
    "mch": (
        "+proj=somerc +lon_0=7.43958333333333 +lat_0=46.9524055555556 +x_0=600000 +y_0=200000 "
        "+ellps=bessel +towgs84=674.374,15.056,405.346,0,0,0,0",
        (255e3, 480e3, 1e3),
    ),
    "knmi": (STEREOGRAPHIC + "+lon_0=0 +a=6378137 +b=6356752", (0.0, -3650e3, 1e3)),
    "fmi": (
        STEREOGRAPHIC + "+lon_0=25 +a=6371288 +x_0=380886.31 +y_0=3395677.92",
        (0.0, 1226 * 999.67, 999.67),
    ),
}


def rain(name: str, codes: np.ndarray) -> np.ndarray:
    """Whole numbers as archived, NaN where nothing was measured -> mm/h."""
    codes = codes.astype(np.float32)  # bytes, where no pixel is missing: 60 - 64 would be 252
    if name.startswith("mch"):
        # MeteoSwiss: accumulation in 5 minutes, by a Z-R relation with 316 and 1.5.
        five_minutes = (10 ** ((codes - 71.5) / 20) / 316) ** (1 / 1.5)
        return np.where(
            np.isnan(codes), np.nan, np.where((codes < 2) | (codes > 250), 0, 12 * five_minutes)
        )
    if name.startswith("knmi"):  # KNMI: hundredths of a millimetre in 5 minutes
        return 12 * 0.01 * codes
    dbz = (codes - 64) / 2  # FMI: half decibels; Marshall and Palmer (1948): Z = 200 R^1.6
    return np.where(
        np.isnan(codes), np.nan, np.where(codes == 0, 0, (10 ** (dbz / 10) / 200) ** (1 / 1.6))
    )


def main(archives: Path, output: Path) -> None:
    for split, names in EVENTS.items():
        for name in names:
            (clip,) = clips_from(archives / f"{name}.npz")  # 255 or 65535, no data, has become NaN
            frames = rain(name, np.asarray(clip.frames[0 : len(clip)])).astype(np.float32)
            frames[frames < 0.1] = 0  # less is drizzle at best, and clutter more often
            projection, (left, top, side) = GRIDS[name.split("_")[0]]
            y, x = (side * (np.arange(n) + 0.5) for n in frames.shape[2:])
            place = on_map(pyproj.CRS.from_proj4(projection), left + x, top - y)
            path = output / split / f"{name.replace('_dbz', '_rain').replace('_acc', '_rain')}.nc"
            made = Clip(frames, clip.times, "mm/h", name=name, variable="rain", **place)
            write_grid(path, made)
            print(
                f"{path}: {len(clip)} frames, {np.isnan(frames).mean():.0%} missing, up to "
                f"{np.nanmax(frames):.0f} mm/h"
            )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/radar/prepare.py ARCHIVES OUTPUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
