"""Frames as they come: from files, from a folder that grows, from standard input."""

import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from glob import has_magic
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.units import check_units
from foreframe.data.data_options import ReadOptions
from foreframe.data.films import CAMERAS, film_stream
from foreframe.data.npy import read_array
from foreframe.data.pictures import natural
from foreframe.data.readers import PICTURES, holds_frame, in_parts, read_clips, reader_of
from foreframe.data.store import written
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import (
    check_channels,
    doubts,
    on_known_grid,
    reading_as_trained,
    without_fills,
)
from foreframe.forecasting.streaming import Stream, note_time

PAUSE = 0.05  # seconds between two looks into a folder
METADATA = ("zarr.json", ".zmetadata", "*/zarr.json", "*/.zarray")


def place_of(live: Stream, source: str) -> dict[str, Any]:
    """The position in a source from which `live_frames` continues: its beginning, unless the stream
    was saved while it read the same file or folder. The grid of its frames is that of all sources.
    """
    path = source if source == "-" or "://" in source else str(Path(source).resolve())
    if live.source.get("path") == path != "-":
        return live.source.copy()
    return {"path": path} | {k: v for k, v in live.source.items() if k == "grid"}


def is_live(source: str) -> bool:
    """Whether frames of a source may still come: standard input, a camera, or what grows."""
    return source == "-" or source.startswith(CAMERAS) or may_grow(source)


def live_frames(
    forecaster: Forecaster,
    source: str,
    place: dict[str, Any] | None = None,
    wait: float | None = None,
    **reading: Any,
) -> Iterator[Clip]:
    """Frames in the data's own units, read as in training, one at a time, each at the end of a
    `Clip` with the two before it, which tell the pace.

    Args:
        source: a film or any other file of recordings; the URL of a camera; a folder of pictures,
            .npy frames or files of grids, which may grow, or a pattern of its files; "-" for
            standard input, a film or .npy frames one after the other.
        place: the position to continue from, kept up to date: see `Source`.
        wait: seconds without a new file after which a growing folder counts as finished; None
            takes `patience`.
        reading: fields of `foreframe.data.ReadOptions`, in place of those of training.

    Raises:
        ValueError: errors of reading; other channels or units than the model's; another grid than
            that of the frames before. In a folder that has given a frame, a file with such an
            error is left out, with a note.
    """
    place = {} if place is None else place
    how = reading_as_trained(forecaster, source, reading, whole=True)
    each = replace(how, every=1, cuts=False, strict=True)
    followed, begun, every = may_grow(source), "last" in place, how.every
    clips: Iterator[Clip]
    if source == "-":
        pipe = _from_pipe(sys.stdin.buffer, how.budget)
        clips = (_read(frame, each, "standard input", at) for frame, at in pipe)
    elif source.startswith(CAMERAS):
        clips = (_read(frame, each, source, at) for frame, at in film_stream(source, how.budget))
    elif followed:
        clips = _from_folder(source, wait, place, each)
    else:
        found = read_clips(source, how)
        if len(found) > 1:
            warn(f"{source} holds {len(found)} recordings, which are taken as if they were one")
        clips, every = _from_clips(found, place), 1  # thinned by its reader
    recent: deque[Clip] = deque(maxlen=3)
    for raw in _thinned(clips, every, place):
        try:
            clip = without_fills(forecaster, on_known_grid(forecaster, raw, reading))
            check_channels(forecaster, clip.frames.shape[1], clip.name, clip.frames.dtype)
            check_units(clip.units, forecaster.scaling.units, clip.name)
            _note_time_and_grid(clip, place)
        except ValueError as error:
            if not (followed and begun):
                raise
            note_left_out(raw.name, error)
            continue
        begun = True
        recent.append(clip)
        past = _together(recent)
        if len(recent) == 2:  # once: the first frame has no step
            for note in (*past.notes, *doubts(forecaster, past)):
                warn(f"{source}: {note}")
        yield past


def note_left_out(name: str, error: Exception) -> None:
    """Say that a file of a folder that is followed is left out, and why."""
    warn(f"{name} is left out: {str(error).removeprefix(f'{name}: ')}")


def _thinned(clips: Iterable[Clip], every: int, place: dict[str, Any]) -> Iterator[Clip]:
    """Every so many frames; `number` in `place` counts them, so that a restart keeps the pace."""
    for clip in clips:
        number = place.get("number", 0)
        place["number"] = number + 1
        if number % every == 0:
            yield clip


def _note_time_and_grid(clip: Clip, place: dict[str, Any]) -> None:
    """Keep in `place` the date of a frame, the last steps to one, and a digest of the grid.

    Raises:
        ValueError: another grid than that of the frames before.
    """
    places = [
        (name, at.dims, _digits(at.values) if at.dims else sorted(at.attributes.items()))
        for name, at in sorted(clip.coordinates.items())
        if at.dims or "grid_mapping_name" in at.attributes
    ]
    if places:
        size = clip.frames.shape[-2:]
        grid = sha256(repr((size, places)).encode()).hexdigest()[:16]
        if place.setdefault("grid", grid) != grid:
            raise ValueError(
                f"{clip.name}: {size[0]}x{size[1]} values on another grid than the frames before "
                "it; a stream is of one grid: give it another folder, and another state"
            )
    if clip.times is not None and clip.times.dtype.kind == "M":
        note_time(place, clip.times[-1].astype("datetime64[us]"))


def _digits(values: np.ndarray) -> bytes:
    """Coordinates as far as they count: seven digits."""
    return (
        values.astype(np.float32).tobytes() if values.dtype.kind in "fiu" else repr(values).encode()
    )


def _together(clips: Sequence[Clip]) -> Clip:
    """Clips of a frame each as one; those that are unlike the last are left out."""
    kinds = [(clip.frames.shape, clip.frames.dtype, clip.times is None) for clip in clips]
    alike = [clip for clip, kind in zip(clips, kinds, strict=True) if kind == kinds[-1]]
    times = None if clips[-1].times is None else np.concatenate([clip.times for clip in alike])
    frames = np.concatenate([clip.frames[:] for clip in alike])
    return replace(clips[-1], frames=frames, times=times)


def _from_clips(clips: Sequence[Clip], place: dict[str, Any]) -> Iterator[Clip]:
    """The frames of recordings after the first `frames` of `place`, which are counted on there."""
    frames = [(clip, k) for clip in clips for k in range(len(clip))]
    for number, (clip, k) in enumerate(frames):
        if number >= place.get("frames", 0):
            place["frames"] = number + 1
            yield clip[k : k + 1]


def _from_folder(
    source: str, wait: float | None, place: dict[str, Any], how: ReadOptions
) -> Iterator[Clip]:
    """The frames in the files of a folder that grows, as they arrive; of a file that was written
    again, those later than the last one taken.

    A file that cannot be read may still be in writing: while it is the newest, it is tried again
    for `wait` seconds; then, or if others follow, it is left out, with a note. Frames without
    values in a Zarr store are treated alike.
    """
    times = deque([np.datetime64(place["time"])] if "time" in place else [], maxlen=3)
    chunks = 0  # of a frame in a Zarr store

    def read(path: Path, again: bool, growing: bool) -> Generator[Clip, None, bool]:
        nonlocal chunks
        name, last, frames = path.name, place.get("last"), list[tuple[Clip, int]]()
        first, ready, early = place.get("frames", 0) if name == last else 0, 0, False
        try:
            clips = [_read(one, how, name) for one in _whole(path, how)]
            frames = [(clip, k) for clip in clips for k in range(len(clip))]
            ready = len(frames)
            if path.suffix == ".zarr":
                names, least = how.variable or clips[0].variable, chunks if growing else 1
                names = [names] if isinstance(names, str) else names
                ready, chunks = written(path, names, clips[0].time_dim, first, ready, least)
            for number, (clip, k) in enumerate(frames[:ready]):
                time = None if clip.times is None else clip.times[k]
                if times and type(time) is type(times[-1]):
                    taken = not time > times[-1]
                else:
                    taken = number < first or (last is not None and order(name) < order(last))
                early = early or taken
                if not taken:
                    frame = clip[k : k + 1]
                    if last is None or order(name) >= order(last):
                        place.update(last=name, frames=number + 1)
                    times.extend(() if time is None else (time,))
                    yield frame
        except (OSError, EOFError, ValueError) as error:
            if growing:
                return False
            note_left_out(name, error)
        if early and not again and name != last:
            warn(f"{name}: frames not later than {times[-1] if times else last} are left out")
        if not growing and ready < len(frames):
            warn(f"{name}: {plural(len(frames) - ready, 'frame')} without values: left out")
        return not growing or ready == len(frames)

    yield from follow(source, wait, place.get("last"), times, read)


def _whole(path: Path, how: ReadOptions) -> Sequence[np.ndarray | Clip]:
    """What a file holds: the frame of a .npy or a picture, or recordings.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return [read_array(file, how.budget)]
    if reader_of(path) == PICTURES:
        return [PICTURES.read([path], replace(how, size=None))[0].frames[0]]
    clips = read_clips(path, how)
    for clip in clips:
        clip.frames[len(clip) - 1 : len(clip)]  # of a file in writing they are not there yet
    return clips


def _read(frame: np.ndarray | Clip, how: ReadOptions, where: str, seconds: Any = None) -> Clip:
    """A frame as a clip, read as the options say."""
    if isinstance(frame, Clip):
        return replace(frame, name=where)
    times = None if seconds is None else np.array([seconds])
    return in_parts(Clip(_single(frame, where)[None], times, name=where), how)[0]


def _from_pipe(pipe: Any, budget: float) -> Iterator[tuple[np.ndarray, float | None]]:
    """A film, or .npy frames one after the other; none may take more than `budget` GiB."""
    if not pipe.peek(6)[:6].startswith(b"\x93NUMPY"):
        yield from film_stream(pipe, budget)
        return
    while pipe.peek(1):
        try:
            frame = read_array(pipe, budget)
        except (ValueError, EOFError) as error:
            raise ValueError(f"standard input: a .npy frame cannot be read: {error}") from error
        yield frame, None


def _single(frame: np.ndarray, where: str) -> Num[np.ndarray, "c h w"]:
    if frame.ndim not in (2, 3):
        raise ValueError(
            f"{where}: an array of shape {frame.shape} is no frame; send (H,W) or (C,H,W) one at a "
            "time"
        )
    return frame[None] if frame.ndim == 2 else frame


# Folders that grow


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
    return holds_frame(name) and name[0] != "." and "latest" not in name.lower()


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
    source: str,
    wait: float | None,
    last: str | None,
    times: Sequence[Any],
    read: Callable[[Path, bool, bool], Generator[Clip, None, bool]],
) -> Iterator[Clip]:
    """The frames in the files of a folder, as the files come or are written again; several in the
    order of their names.

    Args:
        wait: seconds without a new file after which the folder counts as finished; None takes
            `patience`.
        last: the file at which reading stopped before; those before it are left out.
        times: of the last frames, kept up to date by `read`.
        read: the new frames of a file, given its path, whether it was read before, and whether it
            may still be in writing; returns False if the file has to be read again.
    """
    folder, pattern = folder_of(source)
    files = _listed(folder, pattern)
    known = {name: files[name] for name in files if last and order(name) < order(last)}
    quiet, live = time.monotonic(), False
    while True:
        live = live or _is_live(times)
        limit = patience(times, live) if wait is None else wait
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
            if newest and times:
                gc.collect()  # HDF5 would show a file that is still open as it was
            quiet = time.monotonic()
        waited = time.monotonic() - quiet
        if over and waited >= limit:
            return
        # A folder with a month of files takes a while to list.
        still = max(PAUSE if whole else 4 * PAUSE, min(1.0, 20 * took))
        time.sleep(max(PAUSE, min(still, limit - waited)))


def order(name: str) -> Any:
    """A key that sorts names: numbers count as numbers."""
    return natural(Path(name))
