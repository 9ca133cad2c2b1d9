"""Damaged files of kinds that tests/robustness does not damage: what can be read is read, and all
else is one line. Which damage is a matter of the seed.
"""

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from foreframe.clips.clip import Window
from foreframe.data import ReadOptions, SplitOptions
from foreframe.data.check import check_recordings, describe_splits, summarise
from foreframe.visuals import write_mp4

CASES = 10  # of each kind
FRAMES = np.random.default_rng(1).integers(0, 255, (12, 16, 24), dtype=np.uint8)
TIMES = np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(1, "h")


def write_zip(path: Path) -> None:
    folder = path.with_suffix(".zarr")
    grid = xr.Dataset({"v": (("time", "lat", "x"), FRAMES / 255.0)}, {"time": TIMES})
    grid.to_zarr(folder, consolidated=False)
    with zipfile.ZipFile(path, "w") as archive:
        for file in filter(Path.is_file, folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)


def write_classic(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as out:
        for name, size in (("time", None), ("y", 16), ("x", 24)):
            out.createDimension(name, size)
        out.createVariable("time", "f8", ("time",))[:] = np.arange(12)
        out.createVariable("v", "f4", ("time", "y", "x"))[:] = FRAMES


def write_pictures(path: Path) -> None:
    path.mkdir()
    for k, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(path / f"{k}.{path.name}")


def write_film(path: Path) -> None:
    write_mp4(path.with_suffix(".mp4"), FRAMES[..., None].repeat(3, axis=-1), fps=10)
    path.with_suffix(".mp4").rename(path)


KINDS: dict[str, Callable[[Path], None]] = {
    "film.mov": write_film,
    "classic.nc": write_classic,
    "store.zip": write_zip,
    "jpg": write_pictures,
    "bmp": write_pictures,
}


def damaged(content: bytes, draw: np.random.Generator) -> bytes:
    """A file's bytes, cut short, or with some of them written over, lost, or put in between."""
    at, many = int(draw.integers(len(content) + 1)), int(draw.integers(1, 9))
    at = at if draw.random() < 0.5 else at % 200  # headers come first
    before, after, some = content[:at], content[at:], draw.bytes(many)
    ways = before, before + some + after[many:], before + after[many:], before + some + after
    return ways[draw.integers(4)]


def outcome(path: Path) -> str:
    """What looking through a recording comes to, as the command line does it: what it says, where
    it says no.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = check_recordings(path, ReadOptions())
            summarise(found)
            describe_splits(found, SplitOptions(), Window(2, 1))
        except ValueError as error:
            return str(error)
    return "read"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_damage_is_read_or_told_in_one_line(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / kind
    KINDS[kind](whole)
    assert outcome(whole) == "read"
    files = sorted(whole.iterdir()) if whole.is_dir() else [whole]
    contents = [file.read_bytes() for file in files]
    for case in range(CASES):
        draw = np.random.default_rng([case, *kind.encode()])
        k = int(draw.integers(len(files)))
        files[k].write_bytes(damaged(contents[k], draw))
        try:
            said = outcome(whole)
        except Exception as error:
            raise AssertionError(f"{kind}, case {case}: {type(error).__name__}: {error}") from error
        assert "\n" not in said, f"{kind}, case {case}: {said}"
        assert len(said) < 600, f"{kind}, case {case}: {said}"
        files[k].write_bytes(contents[k])
