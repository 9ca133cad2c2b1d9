"""Sources that grow: a local folder, a prefix of an object store, a listing on the web. Which files
have come, and each of them as a local one.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from foreframe.base.files import temporary_folder
from foreframe.base.notes import warn
from foreframe.base.wording import described, in_one_line
from foreframe.clips.clip import format_step
from foreframe.data.grib import SUFFIXES as GRIBS
from foreframe.data.odim import SUFFIXES as RADAR
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.pictures import natural
from foreframe.data.readers import GRIDS

PAUSE = 0.05  # seconds between two looks into a local folder
REMOTE = 5.0  # and at a server's listing
LONGEST = 12  # times that, where looking fails again and again
TRIES = 5  # of a single file that a server does not give, while it gives others

Files = Mapping[str, str]  # where files are, by name


def may_grow(source: str) -> bool:
    """Whether a source is one that is followed: a folder that is empty or holds frames, a URL that
    is no grid by itself, or such a folder with a pattern of names, as `rain/*.h5`.
    """
    if "://" in source:
        return has_magic(source) or not source.rstrip("/").lower().endswith(GRIDS)
    folder, pattern = _folder_of(source)
    path = Path(folder)
    if not path.is_dir():
        return False
    names = [entry.name for entry in path.iterdir() if entry.name[0] != "."]
    return pattern != "*" or not names or any(map(_is_frame, names))


def _is_frame(name: str) -> bool:
    """Whether a file is a frame by its name. One called latest is the newest a second time."""
    kinds = (*IMAGES, ".npy", *GRIDS, *RADAR, *GRIBS)
    return Path(name).suffix.lower() in kinds and name[0] != "." and "latest" not in name.lower()


def _local_name(path: str) -> str:
    """The name of a server's file here, by which a reader takes it: DWD's ODIM ends in -hd5."""
    name = path.rpartition("/")[2]
    return f"{name}.h5" if name.endswith("-hd5") else name


def _folder_of(source: str) -> tuple[str, str]:
    """A source's folder, and the pattern of the names in it that are meant."""
    folder, _, name = source.rpartition("/")
    return (folder or ".", name) if has_magic(name) else (source, "*")


@contextmanager
def _opened(source: str) -> Iterator[tuple[Callable[[], Files], Callable[[str], Path]]]:
    """How to list a source's files, and how to get one of them. Those of a server go to a temporary
    folder, which holds one at a time.

    Raises:
        ValueError: no such kind of URL, or its package is missing.
    """
    folder, pattern = _folder_of(source)

    def chosen(paths: Sequence[str]) -> Files:
        plain = unquote if source.startswith("http") else str  # links on the web are quoted
        named = {plain(path.rpartition("/")[2]): path for path in paths}
        frames = [name for name in named if name and fnmatchcase(name, pattern)]
        return {name: named[name] for name in frames if _is_frame(_local_name(name))}

    if "://" not in source:
        yield lambda: chosen([path.as_posix() for path in Path(folder).iterdir()]), Path
        return
    import fsspec

    cure = "check the address; https and s3 need pip install 'foreframe[remote]'"
    with in_one_line(f"cannot open {source}; {cure}"):
        server, place = fsspec.url_to_fs(folder, use_listings_cache=False, skip_instance_cache=True)

    def listed() -> Files:
        found, missing = list[Any](), None
        for one in _folders(place):
            try:
                found += server.ls(one, detail=True)
            except FileNotFoundError as error:
                missing = error
        if missing is not None and not found:
            raise missing
        return chosen([entry["name"] for entry in found if entry["type"] == "file"])

    with temporary_folder() as here:

        def fetched(path: str) -> Path:
            for before in here.iterdir():
                before.unlink()
            local = here / _local_name(path)
            server.get_file(path, str(local))
            return local

        yield listed, fetched


def _folders(folder: str) -> list[str]:
    """What a folder with %Y, %m and %d stands for: those of yesterday and today, UTC."""
    if "%Y" not in folder:
        return [folder]
    now = datetime.now(UTC)
    return [
        folder.replace("%Y", f"{day:%Y}").replace("%m", f"{day:%m}").replace("%d", f"{day:%d}")
        for day in (now - timedelta(days=1), now)
    ]


def _refuses(error: Exception) -> bool:
    """Whether a server's answer is that there is nothing, or nothing for us: not that it is ill."""
    status = getattr(error, "status", None)  # of aiohttp
    return isinstance(error, FileNotFoundError | PermissionError) or status in (401, 403, 404, 410)


def is_live(times: Sequence[Any], steps: int) -> bool:
    """Whether the last of some dates is at most so many steps old. A step is an hour at most, and
    of a single date, which does not tell it, taken as 20 minutes.
    """
    if not times or not isinstance(times[-1], np.datetime64):
        return False
    step = _step(times)
    return bool(step <= np.timedelta64(1, "h") and _now() - times[-1] < steps * step)


def _now() -> np.datetime64:
    return np.datetime64("now")


def _step(times: Sequence[Any]) -> Any:
    return min(np.diff(times), default=np.timedelta64(20, "m"))


def patience(times: Sequence[Any], live: bool = False) -> float:
    """Seconds to wait for the next file: 5, and three steps of a live series, of at most an hour
    from frame to frame, whose last frame is not older than twelve steps.

    Args:
        times: of the last frames.
        live: whether the series was live before: it stays so, whatever the clock says now.
    """
    if live or is_live(times, 12):
        return float(3 * _step(times) / np.timedelta64(1, "s"))
    return 5.0


def arrivals(
    source: str, wait: float | None, place: dict[str, Any], times: Sequence[Any], most: int
) -> Iterator[tuple[str, Path, bool]]:
    """The files of a source as they come, in the order of their names: the name, a local path that
    holds until the next, and whether it is the newest, which may still be in writing. One that is
    not the `last` of `place` afterwards comes again, after a pause.

    Files with names before the last one taken are left out. What a server fails to give is asked
    for again, in pauses that double.

    Args:
        wait: seconds without a new file after which the source counts as finished; None takes
            `patience`.
        times: of the last frames taken, kept up to date by the caller.
        most: how many files are taken, at the most, of a server that is met for the first time.

    Raises:
        ValueError: at the beginning, a source that is missing or forbidden, or that does not answer
            for `wait` seconds.
    """
    remote = "://" in source
    pause = REMOTE if remote else PAUSE
    known: set[str] | None = None
    live = fresh = told = False
    failing, failed, took = "", 0, 0.0  # what fails, how many times it has; seconds of a listing
    quiet, limit = time.monotonic(), patience(times) if wait is None else wait
    with _opened(source) as (listed, fetched):
        while True:
            began, name, new = time.monotonic(), "", list[str]()
            over = began - quiet >= limit
            try:
                files = listed()
                new = _new(source, files, known, place, most)
                known, took = set(files), time.monotonic() - began
                for name in new:
                    path = fetched(files[name])
                    newest = name == new[-1]
                    yield name, path, newest and not over
                    if place.get("last") != name:
                        failing, failed = name, min(failed + 1, 2)  # whole within seconds
                        break
                    live, fresh = (
                        live or is_live(times, 12),
                        _still_fresh(name, times, fresh, newest),
                    )
                    if newest and live:
                        gc.collect()  # what libraries keep open of files, while there is time
                    quiet = time.monotonic()
                    limit = patience(times, live) if wait is None else wait
                    failed, told = 0, False
                else:
                    failed, told = 0, False
            except Exception as error:  # each library has its own
                if known is None and (over or _refuses(error)):
                    raise ValueError(f"{source} cannot be read: {described(error)}") from error
                failing, failed = name, failed + 1 if failing == name else 1
                if name and (name != new[-1] or over) and (failed >= TRIES or _refuses(error)):
                    warn(f"{name} is left out: {described(error)}")
                    place |= {"last": name, "frames": 0}
                elif not told:
                    warn(f"{source} fails at {_now()}, and is asked again: {described(error)}")
                    told = True
            waited = time.monotonic() - quiet
            if over and waited >= limit:
                return
            # A local folder with a month of files takes a while to list.
            slow = 0.0 if remote else min(1.0, 20 * took)
            still = max(pause * min(2**failed, LONGEST), slow)
            time.sleep(max(PAUSE, min(still, limit - waited)))


def _new(
    source: str, files: Files, known: set[str] | None, place: Mapping[str, Any], most: int
) -> list[str]:
    """The names after the last one taken, in their order. Notes say what came too late, and what of
    a server's past is left out.
    """
    names = sorted(files, key=_order)
    last = place.get("last")
    new = [name for name in names if not last or _order(name) > _order(last)]
    if known is not None:
        late = sorted(set(names) - known - set(new))
        if late:
            more = f" and {len(late) - 3} more" if len(late) > 3 else ""
            warn(f"{', '.join(late[:3])}{more} came after {last}: left out")
    elif "://" in source and not last and len(new) > most:
        warn(f"{source}: the last {most} of {len(new)} files are taken")
        new = new[-most:]
    return new


def _order(name: str) -> Any:
    return natural(Path(name))


def _still_fresh(name: str, times: Sequence[Any], fresh: bool, newest: bool) -> bool:
    """Whether a series is up to date: its last frame at most three steps old. A note says when the
    newest frame of one that was is no longer.
    """
    if is_live(times, 3):
        return True
    if fresh and newest:
        age = _now() - times[-1].astype("datetime64[s]")
        warn(f"{name}: the newest frame, of {times[-1]}, is {format_step(age)} old")
        return False
    return fresh
