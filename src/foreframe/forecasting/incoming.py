"""Frames as they come: from files, from a folder that grows, from standard input."""

import gc
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from glob import has_magic
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

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


def live_frames(
    forecaster: Forecaster,
    source: str,
    place: dict[str, Any] | None = None,
    wait: float | None = None,
    **reading: Any,
) -> Iterator[Clip]:
    """Yield the frames in the data's units, read as in training. Each comes at the end of a `Clip`
    with the two frames before it, which show the time step.

    Args:
        source: a film or any other file of recordings; the URL of a camera; a folder of pictures,
            .npy frames or files of grids, which may grow, or a pattern of its files; "-" for
            standard input, a film or .npy frames one after the other.
        place: the position to continue from, kept up to date: see `Source`.
        wait: seconds without a new file after which a growing folder counts as finished; None
            takes `patience`.
        reading: fields of `foreframe.data.ReadOptions` that replace the options of training.

    Raises:
        ValueError: errors of reading; other channels or units than the model's; another grid than
            the frames before. In a folder that has given a frame, a file with such an
            error is left out, with a note.
    """
    place = {} if place is None else place
    how = reading_as_trained(forecaster, source, reading, whole=True)
    followed, begun = may_grow(source), "last" in place
    recent: deque[Clip] = deque(maxlen=3)
    for raw in _raw_frames(source, wait, place, how):
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


def _raw_frames(
    source: str, wait: float | None, place: dict[str, Any], how: ReadOptions
) -> Iterator[Clip]:
    """Yield the frames that follow `place`, or every N-th of them, one at a time."""
    each = replace(how, every=1, cuts=False, strict=True)
    clips: Iterator[Clip]
    if source == "-":
        pipe = _from_pipe(sys.stdin.buffer, how.budget)
        clips = (_read(frame, each, "standard input", at) for frame, at in pipe)
    elif source.startswith(CAMERAS):
        clips = (_read(frame, each, source, at) for frame, at in film_stream(source, how.budget))
    elif may_grow(source):
        clips = _from_folder(source, wait, place, each)
    else:
        yield from _from_file(source, place, how)
        return
    for number, clip in enumerate(clips, place.get("number", 0)):
        place["number"] = number + 1
        if number % how.every == 0:
            yield clip


def note_left_out(name: str, error: Exception) -> None:
    """Say that a file of a folder that is followed is left out, and why."""
    warn(f"{name} is left out: {str(error).removeprefix(f'{name}: ')}")


def _note_time_and_grid(clip: Clip, place: dict[str, Any]) -> None:
    """Store the date of a frame, the last time steps, and a digest of the grid in `place`.

    Raises:
        ValueError: another grid than the frames before.
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


def _from_file(source: str, place: dict[str, Any], how: ReadOptions) -> Iterator[Clip]:
    """Yield the frames of recordings after the first `frames` of `place`."""
    clips = read_clips(source, how)
    if len(clips) > 1:
        warn(f"{source} has {len(clips)} recordings, read as one")
    frames = [(clip, k) for clip in clips for k in range(len(clip))]
    for number, (clip, k) in enumerate(frames):
        if number >= place.get("frames", 0):
            place["frames"] = number + 1
            yield clip[k : k + 1]


def _from_folder(
    source: str, wait: float | None, place: dict[str, Any], how: ReadOptions
) -> Iterator[Clip]:
    """Frames in the files of a folder that grows, as the files arrive or are written again; several
    files in the order of their names.

    A file that cannot be read may still be in writing: while it is the newest, it is tried again
    for `wait` seconds; then, or if others follow, it is left out, with a note. Frames without
    values in a Zarr store are treated alike.
    """
    folder, pattern = folder_of(source)
    times = deque([np.datetime64(place["time"])] if "time" in place else [], maxlen=3)
    files, begun = _listed(folder, pattern), place.get("last")
    known = {name: files[name] for name in files if begun and order(name) < order(begun)}
    quiet, chunks = time.monotonic(), 0
    while True:
        began = time.monotonic()
        limit = patience(times) if wait is None else wait
        over = began - quiet >= limit
        files = _listed(folder, pattern)
        took = time.monotonic() - began
        new = sorted((name for name in files if known.get(name) != files[name]), key=order)
        for name in new:
            last, growing = place.get("last"), name == new[-1] and not over
            first = place.get("frames", 0) if name == last else 0
            try:
                frames, ready, chunks = _frames_in(
                    folder / name, how, first, chunks if growing else 1
                )
            except (OSError, EOFError, ValueError) as error:
                if growing:
                    break
                note_left_out(name, error)
                frames, ready = [], 0
            taken = yield from _later(frames[:ready], name, place, times)
            if taken < ready and name not in known and name != last:
                warn(f"{name}: frames not later than {times[-1] if times else last} are left out")
            if growing and ready < len(frames):
                break
            if ready < len(frames):
                missing = plural(len(frames) - ready, "frame")
                warn(f"{name}: {missing} without values: left out")
            known[name], quiet = files[name], time.monotonic()
            if name == new[-1] and times:
                gc.collect()  # HDF5 would show old values of a file that is still open
        if over and time.monotonic() - quiet >= limit:
            return
        time.sleep(max(PAUSE, min(1.0, 20 * took)))  # a month of files takes a while to list


def _frames_in(
    path: Path, how: ReadOptions, first: int, chunks: int
) -> tuple[list[Clip], int, int]:
    """Return the frames in a file, the number of them that are written, and the chunks of the last
    written frame of a Zarr store.

    Args:
        first: number of frames known to be written.
        chunks: number of chunks of a written frame; 0 for all.
    """
    clips = [_read(one, how, path.name) for one in _whole(path, how)]
    frames = [clip[k : k + 1] for clip in clips for k in range(len(clip))]
    if path.suffix != ".zarr":
        return frames, len(frames), chunks
    names = how.variable or clips[0].variable
    names = [names] if isinstance(names, str) else names
    return frames, *written(path, names, clips[0].time_dim, first, len(frames), chunks)


def _later(
    frames: Sequence[Clip], name: str, place: dict[str, Any], times: deque[Any]
) -> Generator[Clip, None, int]:
    """Yield the frames of a file that follow the last one taken, by their times, or without times
    by the names of files; return their number.
    """
    taken, last = 0, place.get("last")
    first = place.get("frames", 0) if name == last else 0
    ahead = last is None or order(name) >= order(last)
    for number, frame in enumerate(frames):
        time: Any = None if frame.times is None else frame.times[0]
        if times and type(time) is type(times[-1]):
            new = time > times[-1]
        else:
            new = ahead and number >= first
        if new:
            taken += 1
            if ahead:
                place.update(last=name, frames=number + 1)
            times.extend(() if time is None else (time,))
            yield frame
    return taken


def _whole(path: Path, how: ReadOptions) -> Sequence[np.ndarray | Clip]:
    """Return the content of a file: the frame of a .npy or a picture, or recordings.

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
    if frame.ndim not in (2, 3):
        raise ValueError(
            f"{where}: an array of shape {frame.shape} is no frame; send (H,W) or (C,H,W) one at a "
            "time"
        )
    times = None if seconds is None else np.array([seconds])
    frames = frame.reshape(1, -1, *frame.shape[-2:])
    return in_parts(Clip(frames, times, name=where), how)[0]


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


def patience(times: Sequence[Any]) -> float:
    """Return the seconds to wait for the next file: 5, or three steps of a live series, whose last
    frame is at most twelve steps old. A step is an hour at most, and 20 minutes for a single date.

    Args:
        times: of the last frames.
    """
    if times and isinstance(times[-1], np.datetime64):
        step = min(np.diff(times), default=np.timedelta64(20, "m"))
        age = np.datetime64("now") - times[-1]
        if step <= np.timedelta64(1, "h") and age < 12 * step:
            return float(3 * step / np.timedelta64(1, "s"))
    return 5.0


def order(name: str) -> Any:
    """A key that sorts names: numbers count as numbers."""
    return natural(Path(name))
