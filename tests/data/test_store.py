"""Grids that claim more than they hold, or would have to be unpickled: refused by their metadata,
before anything is read.
"""

import json
import os
import pickle
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import pytest
import zarr

from foreframe.data import clips_from
from refusals import one_line


def layout(
    chunks: dict[str, tuple[int, ...]] | None, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, tuple[int, ...], list[str], tuple[int, ...]]]:
    """The name, shape, dimensions and chunk of each array; their axes are t, y, x in order."""
    for name, shape in shapes.items():
        dims = [name] if len(shape) == 1 else ["time", "y", "x"][-len(shape) :]
        yield name, shape, dims, (chunks or {}).get(name, tuple(min(side, 100) for side in shape))


def make_zarr(
    path: Path,
    form: int = 3,
    chunks: dict[str, tuple[int, ...]] | None = None,
    **shapes: tuple[int, ...],
) -> None:
    """A store of arrays of such shapes, of which nothing is written."""
    group = zarr.open_group(path, mode="w", zarr_format=form)
    for name, shape, dims, size in layout(chunks, shapes):
        kind: dict[str, Any] = {"dimension_names": dims}
        kind = kind if form == 3 else {"attributes": {"_ARRAY_DIMENSIONS": dims}}
        group.create_array(name, shape=shape, chunks=size, dtype="f4", fill_value=0.0, **kind)


def make_netcdf(path: Path, **shapes: tuple[int, ...]) -> None:
    """The same as NetCDF-4."""
    with netCDF4.Dataset(path, "w") as out:
        for name, shape, dims, size in layout(None, shapes):
            for dim, side in zip(dims, shape, strict=True):
                if dim not in out.dimensions:
                    out.createDimension(dim, side)
            out.createVariable(name, "f4", dims, chunksizes=size, zlib=True)


def refused(source: Path, message: str, **options: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with one_line(message):
            [clip[:10] for clip in clips_from(source, **options)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


MAKERS = [
    pytest.param(make_zarr, ".zarr", id="zarr"),
    pytest.param(make_netcdf, ".nc", id="netcdf"),
]


@pytest.mark.parametrize(("make", "suffix"), MAKERS)
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"v": (10**9, 4, 4), "time": (10**9,)},
            r"time of shape \(1000000000,\) would take 11\.2 GiB .* raise budget to 12",
        ),
        ({"v": (10, 4, 10**9), "x": (10**9,)}, r"[xv] of shape .*1000000000,?\) would take"),
        ({"v": (10, 20_000, 20_000)}, r"v of shape .*20000, 20000\) would take"),
        (
            {"v": (10**6, 1000, 1000)},
            r"has 1000000 frames of 1x1000x1000, 3\.73e\+03 GiB, in \d+ bytes",
        ),
        ({"v": (10**9, 1, 1)}, r"has 1000000000 frames"),
    ],
)
def test_a_file_that_says_it_holds_more_than_it_can(
    tmp_path: Path, make: Any, suffix: str, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    make(tmp_path / f"a{suffix}", **shapes)
    refused(tmp_path / f"a{suffix}", message)


@pytest.mark.parametrize("form", [2, 3])
def test_a_chunk_that_no_memory_holds(tmp_path: Path, form: int) -> None:
    make_zarr(tmp_path / "a.zarr", form, {"v": (10**6, 1000, 1000)}, v=(10, 4, 4))
    refused(tmp_path / "a.zarr", r"v of shape \(10, 4, 4\) would take .* GiB")
    make_zarr(tmp_path / "b.zarr", form, {"time": (10**12,)}, v=(10, 4, 4), time=(10,))
    refused(tmp_path / "b.zarr", r"time of shape \(10,\) would take")


@pytest.mark.parametrize(("make", "suffix"), MAKERS)
def test_a_large_recording_is_read_by_the_slice(tmp_path: Path, make: Any, suffix: str) -> None:
    """Ten GiB, as sparse as a dry year."""
    make(tmp_path / f"a{suffix}", v=(10_000, 512, 512))
    (clip,) = clips_from(tmp_path / f"a{suffix}")
    assert clip.frames.shape == (10_000, 1, 512, 512)
    assert clip[5_000:5_020].frames.shape == (20, 1, 512, 512)
    with one_line(r"a stretch of 10000 frames .* read fewer, or raise budget to"):
        clip[:]
    (clip,) = clips_from(tmp_path / f"a{suffix}", coarsen=8, every=100)
    assert clip[:].frames.shape == (100, 1, 64, 64)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


TEXT, PICKLE = {"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}
CODECS: dict[str, dict[str, Any]] = {
    "alone": {"compressor": None, "filters": [PICKLE]},
    "after another": {"dtype": "|O", "fill_value": "", "filters": [TEXT, PICKLE]},
    "compressor": {"dtype": "|O", "fill_value": "", "filters": [TEXT], "compressor": PICKLE},
    "of Zarr 3": {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]},
}


@pytest.mark.parametrize("kind", CODECS)
def test_a_store_that_would_be_unpickled_is_refused(tmp_path: Path, kind: str) -> None:
    form, name, chunk = (3, "zarr.json", "c/0") if kind == "of Zarr 3" else (2, ".zarray", "0")
    make_zarr(tmp_path / "a.zarr", form, v=(5, 4, 4), time=(5,))
    file = tmp_path / "a.zarr" / "time" / name
    file.write_text(json.dumps(json.loads(file.read_text()) | CODECS[kind]))
    (file.parent / chunk).parent.mkdir(exist_ok=True)
    (file.parent / chunk).write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    by_us = kind in ("after another", "compressor")
    refused(tmp_path / "a.zarr", "unpickling may run any code" if by_us else "(?i)pickle")
    assert not (tmp_path / "ran").exists()
