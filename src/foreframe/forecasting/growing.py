"""A folder that grows: which of its files are new, and which were written again."""

import gc
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.clips.clip import Clip
from foreframe.data.grib import SUFFIXES as GRIBS
from foreframe.data.odim import SUFFIXES as RADAR
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.pictures import natural
from foreframe.data.readers import GRIDS

PAUSE = 0.05  # seconds between two looks into a folder
METADATA = ("zarr.json", ".zmetadata", "*/zarr.json", "*/.zarray")

# The new frames of a file, given its path, whether it was read before, and whether it may still be
# in writing; returns False if the file has to be read again.
Read = Callable[[Path, bool, bool], Generator[Clip, None, bool]]


def may_grow(source: str) -> bool:
    """Whether a source is followed: a folder that is empty or holds frames, or such a folder with a
    pattern of names, as `rain/*.h5`.
    """
    folder, pattern = folder_of(source)
    if not folder.is_dir():
        return False
    names = [entry.name for entry in folder.iterdir() if entry.name[0] != "."]
    return pattern != "*" or not names or any(map(_is_frame, names))


def _is_frame(name: str) -> bool:
    """Whether a file is a frame by its name. One called latest is the newest a second time."""
    kinds = (*IMAGES, ".npy", *GRIDS, *RADAR, *GRIBS)
    return Path(name).suffix.lower() in kinds and name[0] != "." and "latest" not in name.lower()


def folder_of(source: str) -> tuple[Path, str]:
    """A source's folder, and the pattern of names that it is limited to."""
    path = Path(source)
    return (path.parent, path.name) if has_magic(path.name) else (path, "*")


def _listed(folder: Path, pattern: str) -> dict[str, Any]:
    """The files of a folder by name, with what changes when a file is written again."""
    found = {}
    for path in folder.iterdir():
        if _is_frame(path.name) and fnmatchcase(path.name, pattern):
            with suppress(FileNotFoundError):
                found[path.name] = _version(path)
    return found


def _version(path: Path) -> list[tuple[int, int, int]]:
    files = [path]
    if path.is_dir():  # of a Zarr store, whose chunks may be many, the metadata
        files += (file for pattern in METADATA for file in path.glob(pattern))
    return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in map(Path.stat, files)]


def _step(times: Sequence[Any]) -> Any:
    return min(np.diff(times), default=np.timedelta64(20, "m"))


def _is_live(times: Sequence[Any]) -> bool:
    """Whether the last of some dates is at most twelve steps old. A step is an hour at most, and of
    a single date, which does not tell it, taken as 20 minutes.
    """
    if not times or not isinstance(times[-1], np.datetime64):
        return False
    step, age = _step(times), np.datetime64("now") - times[-1]
    return bool(step <= np.timedelta64(1, "h") and age < 12 * step)


def patience(times: Sequence[Any], live: bool = False) -> float:
    """Seconds to wait for the next file: 5, and three steps of a live series.

    Args:
        times: of the last frames.
        live: whether the series was live before: it stays so, whatever the clock says now.
    """
    if live or _is_live(times):
        return float(3 * _step(times) / np.timedelta64(1, "s"))
    return 5.0


def follow(
    source: str, wait: float | None, last: str | None, times: Sequence[Any], read: Read
) -> Iterator[Clip]:
    """The frames in the files of a folder, as the files come or are written again; several in the
    order of their names.

    Args:
        wait: seconds without a new file after which the folder counts as finished; None takes
            `patience`.
        last: the file at which reading stopped before; those before it are left out.
        times: of the last frames, kept up to date by `read`.
    """
    folder, pattern = folder_of(source)
    files = _listed(folder, pattern)
    known = {name: files[name] for name in files if last and order(name) < order(last)}
    quiet, limit, live = time.monotonic(), patience(times) if wait is None else wait, False
    while True:
        began, whole = time.monotonic(), True
        over = began - quiet >= limit
        files = _listed(folder, pattern)
        took = time.monotonic() - began
        known = {name: version for name, version in known.items() if name in files}
        new = sorted((name for name in files if known.get(name) != files[name]), key=order)
        for name in new:
            newest = name == new[-1]
            whole = yield from read(folder / name, name in known, newest and not over)
            if not whole:
                break
            known[name] = files[name]
            live = live or _is_live(times)
            if newest and times:
                gc.collect()  # HDF5 would show a file that is still open as it was
            quiet = time.monotonic()
            limit = patience(times, live) if wait is None else wait
        waited = time.monotonic() - quiet
        if over and waited >= limit:
            return
        # A folder with a month of files takes a while to list.
        still = max(PAUSE if whole else 4 * PAUSE, min(1.0, 20 * took))
        time.sleep(max(PAUSE, min(still, limit - waited)))


def order(name: str) -> Any:
    """A key that sorts names: numbers count as numbers."""
    return natural(Path(name))
