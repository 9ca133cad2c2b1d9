"""Frames as they come: from files, from a folder that grows, from standard input."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import ReadOptions
from foreframe.clips.units import check_units
from foreframe.data.films import film_stream
from foreframe.data.npy import read_array
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.pictures import natural
from foreframe.data.readers import read_clips, reader_of
from foreframe.data.reading import one_by_one
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import check_channels, doubts, reading_as_trained
from foreframe.forecasting.streaming import Stream

Frame = Num[np.ndarray, "c h w"]

PAUSE = 0.05  # seconds between two looks into a folder


def place_of(live: Stream, source: str) -> dict[str, Any]:
    """The position in a source from which `live_frames` continues: its beginning, unless the stream
    was saved while it read the same file or folder.
    """
    path = source if source == "-" or "://" in source else str(Path(source).resolve())
    return live.source.copy() if live.source.get("path") == path != "-" else {"path": path}


def live_frames(
    forecaster: Forecaster,
    source: str,
    place: dict[str, Any] | None = None,
    wait: float = 5.0,
    **reading: Any,
) -> Iterator[Frame]:
    """Frames (C,H,W) in the data's own units, read as in training, one at a time.

    Args:
        source: a film or any other file of recordings; a folder of pictures or .npy frames, which
            may grow; "-" for standard input, a film or .npy frames one after the other.
        place: the position to continue from, kept up to date: the number of `frames` read from a
            file, or the name of the `last` file of a folder.
        wait: seconds without a new file after which a growing folder counts as finished.
        reading: fields of `foreframe.data.ReadOptions`, in place of those of training.

    Raises:
        ValueError: errors of reading; other channels than the model's.
    """
    place = {} if place is None else place
    how = reading_as_trained(forecaster, source, reading, whole=True)
    path = Path(source)
    if source == "-":
        frames = one_by_one(_from_pipe(sys.stdin.buffer, how.budget), how)
    elif path.is_dir() and _may_grow(path):
        frames = one_by_one(_from_folder(path, wait, place, how), how)
    else:
        clips = read_clips(source, how)
        for clip in clips:
            check_units(clip.units, forecaster.scaling.units, clip.name)
            for note in (*clip.notes, *doubts(forecaster, clip)):
                warn(f"{source}: {note}")
        if len(clips) > 1:
            warn(f"{source} holds {len(clips)} recordings, which are taken as if they were one")
        frames = _from_clips(clips, place)
    for frame in frames:
        check_channels(forecaster, frame.shape[0], source, frame.dtype)
        yield frame


def _from_clips(clips: Sequence[Clip], place: dict[str, Any]) -> Iterator[Frame]:
    """The frames of recordings after the first `frames` of `place`, which are counted on there."""
    taken, start = place.get("frames", 0), 0
    for clip in clips:
        for k in range(max(0, taken - start), len(clip)):
            place["frames"] = start + k + 1
            yield clip.frames[k : k + 1][0]
        start += len(clip)


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGES, ".npy") and path.name[0] != "."


def _may_grow(folder: Path) -> bool:
    names = [path for path in folder.iterdir() if path.name[0] != "."]
    return not names or any(map(_is_frame, names))


def _from_folder(
    folder: Path, wait: float, place: dict[str, Any], how: ReadOptions
) -> Iterator[Frame]:
    """Pictures and .npy frames in a folder, in the order of their names, as they arrive.

    A file that cannot be read may still be in writing: while it is the last one, it is tried again
    for `wait` seconds; then, or if others follow, it is skipped with a note. Files with names
    before the last one taken are ignored.
    """
    last = natural(Path(place["last"])) if place.get("last") else None
    quiet = time.monotonic()  # since when nothing has come
    while True:
        over = time.monotonic() - quiet >= wait
        names = sorted(filter(_is_frame, folder.iterdir()), key=natural)
        new = [path for path in names if last is None or natural(path) > last]
        for path in new:
            frame = None
            try:
                frame = _whole_frame(path, how)
            except (OSError, EOFError, ValueError) as error:
                if path == new[-1] and not over:
                    break
                warn(f"{path.name} is left out: {error}")
            last, place["last"] = natural(path), path.name
            if frame is not None:
                yield _single(frame, path.name)
                quiet = time.monotonic()  # the time of the forecast does not count
        if over and time.monotonic() - quiet >= wait:
            return
        time.sleep(PAUSE)


def _whole_frame(path: Path, how: ReadOptions) -> np.ndarray:
    """The frame in a file, as the file has it.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return read_array(file, how.budget)
    reader = reader_of(path)
    assert reader is not None  # by its ending
    return reader.read([path], replace(how, strict=True, size=None))[0].frames[0]


def _from_pipe(pipe: Any, budget: float) -> Iterator[Frame]:
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
        yield _single(frame, "standard input")


def _single(frame: np.ndarray, where: str) -> Frame:
    if frame.ndim not in (2, 3):
        raise ValueError(
            f"{where}: an array of shape {frame.shape} is no frame; send (H,W) or (C,H,W) one at a "
            "time"
        )
    return frame[None] if frame.ndim == 2 else frame
