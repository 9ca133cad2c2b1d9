"""Radar archives -> rain in mm/h, one NetCDF file an event.

    python examples/radar/prepare.py ARCHIVES OUTPUT

ARCHIVES is a folder with mch_rain_20150515.npz, knmi_acc_20100826.npz, mch_rain_20160711.npz and
fmi_dbz_20170509.npz: frames (T,H,W) of whole numbers every 5 minutes on a 1 km grid, with `times`
beside them, made from the composites that the pysteps project collects
(https://github.com/pySTEPS/pysteps-data). OUTPUT gets `train` (two events of 2010 and 2015) and
`test` (two others).
"""

import sys
from pathlib import Path

import numpy as np

from foreframe import Clip, clips_from
from foreframe.data.cf import write_grid

EVENTS = {
    "train": ("mch_rain_20150515", "knmi_acc_20100826"),
    "test": ("mch_rain_20160711", "fmi_dbz_20170509"),
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
            path = output / split / f"{name.replace('_dbz', '_rain').replace('_acc', '_rain')}.nc"
            write_grid(path, Clip(frames, clip.times, "mm/h", {}, name, "rain"))
            print(
                f"{path}: {len(clip)} frames, {np.isnan(frames).mean():.0%} missing, up to "
                f"{np.nanmax(frames):.0f} mm/h"
            )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/radar/prepare.py ARCHIVES OUTPUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
