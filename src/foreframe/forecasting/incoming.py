"""Frames as they come: from files, from a folder that grows, from standard input."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.units import check_units
from foreframe.data.data_options import ReadOptions
from foreframe.data.films import CAMERAS, film_stream
from foreframe.data.npy import read_array
from foreframe.data.readers import PICTURES, in_parts, read_clips, reader_of
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.growing import arrivals, may_grow
from foreframe.forecasting.recordings import check_channels, doubts, reading_as_trained
from foreframe.forecasting.streaming import Stream

Frame = Num[np.ndarray, "c h w"]


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
        source: a film or any other file of recordings; the URL of a camera; a folder, or a URL
            that lists files, of pictures, .npy frames or files of grids, which may grow; "-" for
            standard input, a film or .npy frames one after the other.
        place: the position to continue from, kept up to date: the number of `frames` read from a
            file, or the name of the `last` file of a folder; of frames with dates, what the next
            one is compared with: see `Source`.
        wait: seconds without a new file after which a growing folder counts as finished; None
            takes `patience`.
        reading: fields of `foreframe.data.ReadOptions`, in place of those of training.

    Raises:
        ValueError: errors of reading; other channels or units than the model's; another grid than
            that of the frames before.
    """
    place = {} if place is None else place
    how = reading_as_trained(forecaster, source, reading, whole=True)
    each = replace(how, every=1, cuts=False, strict=True)
    if source == "-":
        pipe = _from_pipe(sys.stdin.buffer, how.budget)
        singles = (_read(frame, each, "standard input", at) for frame, at in pipe)
        clips: Iterator[Clip] = islice(singles, 0, None, how.every)
    elif source.startswith(CAMERAS):
        frames = film_stream(source, how.budget)
        singles = (_read(frame, each, source, at) for frame, at in frames)
        clips = islice(singles, 0, None, how.every)
    elif may_grow(source):
        most = forecaster.window.past
        clips = islice(_from_files(source, wait, place, each, most), 0, None, how.every)
    else:
        found = read_clips(source, how)
        if len(found) > 1:
            warn(f"{source} holds {len(found)} recordings, which are taken as if they were one")
        clips = _from_clips(found, place)
    recent: deque[Clip] = deque(maxlen=3)
    for number, clip in enumerate(clips):
        check_channels(forecaster, clip.frames.shape[1], source, clip.frames.dtype)
        check_units(clip.units, forecaster.scaling.units, clip.name)
        _note_time_and_grid(clip, place)
        recent.append(clip)
        past = _together(recent)
        if number == 1:  # the first tells no pace
            for note in (*past.notes, *doubts(forecaster, past)):
                warn(f"{source}: {note}")
        yield past


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
        now = clip.times[-1].astype("datetime64[us]")
        if "time" in place:
            step = float((now - np.datetime64(place["time"])) / np.timedelta64(1, "s"))
            place["steps"] = [*place.get("steps", ()), step][-5:]
        place["time"] = str(now)


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
    taken, start = place.get("frames", 0), 0
    for clip in clips:
        for k in range(max(0, taken - start), len(clip)):
            place["frames"] = start + k + 1
            yield clip[k : k + 1]
        start += len(clip)


def _from_files(
    source: str, wait: float | None, place: dict[str, Any], how: ReadOptions, most: int
) -> Iterator[Clip]:
    """The frames in the files of a source that grows, as they arrive.

    A file that cannot be read may still be in writing: while it is the newest, it is tried again
    for `wait` seconds; then, or if others follow, it is skipped with a note. Frames that are not
    later than the last one taken are left out.
    """
    times = deque([np.datetime64(place["time"])] if "time" in place else [], maxlen=3)
    for name, path, newest in arrivals(source, wait, place, times, most):
        try:
            found = _whole(path, how)
        except (OSError, EOFError, ValueError) as error:
            if not newest:
                words = str(error).replace(f"{path.parent}", source.rstrip("/"))
                warn(f"{name} is left out: {words}")
                place |= {"last": name, "frames": 0}
            continue
        clips = [_read(one, how, name) for one in found]
        for clip in _from_clips(clips, place):
            if place["frames"] == sum(map(len, clips)):
                place |= {"last": name, "frames": 0}
            if clip.times is not None and times and not clip.times[0] > times[-1]:
                warn(f"{name}: what is not later than {times[-1]} is left out")
                continue
            times.extend(() if clip.times is None else clip.times)
            yield clip


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


def _from_pipe(pipe: Any, budget: float) -> Iterator[tuple[Frame, float | None]]:
    """A film, or .npy frames one after the other; none may take more than `budget` GiB."""
    if not pipe.peek(6)[:6].startswith(b"\x93NUMPY"):
        yield from film_stream(pipe, budget)
        return
    # Of a real file, numpy reads the position, which a pipe lacks.
    plain: Any = SimpleNamespace(read=pipe.read)
    while pipe.peek(1):
        try:
            frame = read_array(plain, budget)
        except (ValueError, EOFError) as error:
            raise ValueError(f"standard input: a .npy frame cannot be read: {error}") from error
        yield _single(frame, "standard input"), None


def _single(frame: np.ndarray, where: str) -> Frame:
    if frame.ndim not in (2, 3):
        raise ValueError(
            f"{where}: an array of shape {frame.shape} is no frame; send (H,W) or (C,H,W) one at a "
            "time"
        )
    return frame[None] if frame.ndim == 2 else frame
