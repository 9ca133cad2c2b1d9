"""Damaged files of every kind: what can be read is read, and all else is one line. Which damage is
a matter of the seed.
"""

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import netCDF4
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from foreframe.clips.clip import Window
from foreframe.data import ReadOptions, SplitOptions
from foreframe.data.check import check_recordings, describe_splits, summarise

CASES = 10  # of each kind
FRAMES = np.random.default_rng(1).integers(0, 255, (12, 16, 24), dtype=np.uint8)
PICTURES = [Image.fromarray(frame) for frame in FRAMES]
COORDINATES = {
    "time": np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(1, "h"),
    "lat": np.arange(16.0),
}
GRID = xr.Dataset(
    {"v": (("time", "lat", "x"), FRAMES.astype(np.float32), {"units": "mm/h"})}, COORDINATES
)


def write_film(path: Path, codec: str, kind: str) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, kind
        for frame in FRAMES:
            picture = av.VideoFrame.from_ndarray(np.stack([frame] * 3, axis=-1), "rgb24")
            out.mux(stream.encode(picture.reformat(format=kind)))
        out.mux(stream.encode(None))


def write_zip(path: Path) -> None:
    GRID.to_zarr(path.with_suffix(".zarr"), consolidated=False)
    with zipfile.ZipFile(path, "w") as archive:
        for file in path.with_suffix(".zarr").rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(path.with_suffix(".zarr")))
    shutil.rmtree(path.with_suffix(".zarr"))


def write_all(path: Path) -> None:
    PICTURES[0].save(path, save_all=True, append_images=PICTURES[1:])


def write_classic(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as out:
        for name, size in (("time", None), ("y", 16), ("x", 24)):
            out.createDimension(name, size)
        out.createVariable("time", "f8", ("time",))[:] = np.arange(12)
        out.createVariable("v", "f4", ("time", "y", "x"))[:] = FRAMES


def write_pictures(path: Path, suffix: str) -> None:
    path.mkdir()
    for k, picture in enumerate(PICTURES):
        picture.save(path / f"{k}.{suffix}")


def folder_of(suffix: str) -> Callable[[Path], None]:
    return lambda path: write_pictures(path, suffix)


# Other kinds are damaged in tests/robustness.
KINDS: dict[str, Callable[[Path], object]] = {
    "b.npz": lambda path: np.savez(
        path, frames=FRAMES, times=COORDINATES["time"], latitude=np.arange(16.0), units="K"
    ),
    "e.gif": write_all,
    "i.mp4": lambda path: write_film(path, "libx264", "yuv420p"),
    "j.avi": lambda path: write_film(path, "mpeg4", "yuv420p"),
    "k.mkv": lambda path: write_film(path, "ffv1", "gray"),
    "l.nc": write_classic,
    "p.zip": write_zip,
    "r": folder_of("tif"),
    "s": folder_of("jpg"),
    "t": folder_of("bmp"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write in KINDS.items():
            write(folder / name)
    return folder


def damaged(content: bytes, draw: np.random.Generator) -> bytes:
    """A file's bytes, cut short, or with some of them turned, lost, or written over."""
    whole = bytearray(content)
    if not whole:
        return content
    # Headers come first.
    at = int(
        draw.integers(len(whole)) if draw.random() < 0.5 else draw.integers(min(len(whole), 200))
    )
    how, many = draw.integers(5), int(draw.integers(1, 9))
    if how == 0:
        return bytes(whole[:at])
    if how == 1:
        for k in draw.integers(len(whole), size=many):
            whole[k] ^= 1 << int(draw.integers(8))
    elif how == 2:
        whole[at : at + many] = draw.choice([b"\xff", b"\x00", b"\x7f"]) * many
    elif how == 3:
        del whole[at : at + many]
    else:
        whole[at:at] = draw.bytes(many)
    return bytes(whole)


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
def test_damage_is_read_or_told_in_one_line(whole: Path, tmp_path: Path, kind: str) -> None:
    assert outcome(whole / kind) == "read"
    for case in range(CASES):
        draw = np.random.default_rng([case, *kind.encode()])
        path = tmp_path / str(case) / kind
        path.parent.mkdir()
        if (whole / kind).is_dir():
            shutil.copytree(whole / kind, path)
            files = sorted(file for file in path.rglob("*") if file.is_file())
            for file in draw.choice(np.array(files, dtype=object), size=int(draw.integers(1, 3))):
                file.write_bytes(damaged(file.read_bytes(), draw))
        else:
            path.write_bytes(damaged((whole / kind).read_bytes(), draw))
        try:
            said = outcome(path)
        except Exception as error:
            raise AssertionError(f"{kind}, case {case}: {type(error).__name__}: {error}") from error
        assert "\n" not in said, f"{kind}, case {case}: {said}"
        assert len(said) < 600, f"{kind}, case {case}: {said}"
