"""Films, decoded on demand: a `Film` has few pictures in memory, never the whole recording."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from foreframe.base.budget import GIB, check_budget
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET

# bytes of memory for each pixel: planes and references, RGB, and the first picture
_WEIGHT = 16
_CURE = "give a whole mp4, mkv, webm, mov or avi; as a stream mkv, or mp4 with its index in front"
_NEAR = 64  # frames: shorter jumps forwards decode the frames between instead of a seek
CACHED_BYTES = 128 * 2**20  # of decoded pictures of a film, for windows that overlap
OPEN = 2  # films in a process


def read_film(path: str | Path, strict: bool = False, budget: float = BUDGET) -> Clip:
    """Read the first video stream of any film that FFmpeg supports; frames (T,C,H,W) uint8 are
    decoded on demand.

    C is 1 for a grey stream, otherwise 3 (RGB); pictures are rotated upright. Times are seconds
    from the first frame. `Clip.notes` mentions a truncated film. Opening reads the times of the
    packets and one picture.

    Args:
        path: the film.
        strict: raise an error for a truncated film and undecodable frames, instead of a note and a
            replacement.
        budget: GiB for decoding a picture.

    Raises:
        ValueError: no such file, no film, no decodable picture, errors of `strict`, or pictures
            larger than the budget.
    """
    film = Film(Path(path), strict, budget)
    notes = (f"the film was {film.short}",) if film.short else ()
    return Clip(film, film.times, name=film.path.name, notes=notes)


CAMERAS = ("rtsp://", "rtsps://", "rtmp://", "srt://", "tcp://", "udp://")


def film_stream(
    source: Any, budget: float = BUDGET
) -> Iterator[tuple[UInt8[np.ndarray, "c h w"], float]]:
    """Yield frames (C,H,W) uint8 with their seconds since the first one, in constant memory.

    Frames that cannot be decoded, or need more than `budget` GiB, are skipped with one warning.

    Args:
        source: a binary file such as `sys.stdin.buffer`, without seeks, or the URL of a camera.
        budget: GiB for decoding a picture.

    Raises:
        ValueError: no film, or no pictures.
    """
    container, stream = _opened(source, "the stream", budget)
    paint, warned, began = None, False, 0.0
    rate = float(stream.guessed_rate or stream.average_rate or 25)
    with container:
        for number, frame in enumerate(_frames(container, stream)):
            if frame is not None:
                time = number / rate if frame.time is None else frame.time
                began = began if paint else time
                paint = paint or _Painter(frame)
                yield paint(frame), time - began
            elif not warned:
                warned = True
                warn("the stream: frames that cannot be decoded are skipped")
    if paint is None:
        raise ValueError(f"the stream: none of its frames can be decoded; {_CURE}")


class Film(Frames):
    """Frames (T,C,H,W) uint8 of one video stream, decoded on demand.

    The decoders of the two films read last stay open, each with up to 128 MiB of the pictures of
    its last slice. Consecutive slices continue decoding, and a jump seeks. A slice at the end of
    the film closes it. For an undamaged film, frames equal a decoding from the start.

    `broken` has the indices of undecodable frames found so far. The frame before replaces each (at
    the start, the next good one), with one warning. Later frames, until the next key frame, may be
    damaged too.

    Attributes:
        path: the film.
        times: (T,) seconds from the first frame.
        short: a description of a truncated film, or "".

    Raises:
        ValueError: errors of `read_film`; on reading, errors of `strict`.
    """

    def __init__(self, path: Path, strict: bool, budget: float = BUDGET) -> None:
        self.path, self._strict, self._budget = path.absolute(), strict, budget
        self._broken: set[int] = set()
        container, stream = _opened(path, path.name, budget)
        with container:
            height, width = stream.codec_context.height, stream.codec_context.width
            what = f"a picture of {path.name}, of {height}x{width} pixels,"
            check_budget(_WEIGHT * height * width, budget, what)
            self._numbers, self.times, self.short = _survey(container, stream, path.name)
        if self.short and strict:
            cure = "download it again, or read the rest without strict"
            raise ValueError(f"{path.name} was {self.short}; {cure}")
        first = next((frame for _, frame in self._numbered(0)), None)
        if first is None:
            raise ValueError(f"{path.name}: none of its frames can be decoded; {_CURE}")
        self._paint = _Painter(first)
        self._first = self._paint(first)
        self.shape, self.dtype = (len(self.times), *self._first.shape), self._first.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        # A decoder in use is not in `_open`, so other threads start another one, as does the next
        # slice after an error. A decoder has a position in its file, so each process has its own.
        owner = self, os.getpid()
        run = _open.pop(owner, None) or _Run(self, len(self), iter(()), {})
        frames = np.empty((last - first, *self.shape[1:]), self.dtype)
        room = max(1, min(last - first, CACHED_BYTES // self._first.nbytes))
        for k in range(first, last):
            if k not in run.latest:
                run.latest[k] = run.picture(k)
            frames[k - first] = run.latest[k]
            while len(run.latest) > room:
                del run.latest[next(iter(run.latest))]
        if last < len(self):
            _open[owner] = run
            for oldest in list(_open)[:-OPEN]:
                _open.pop(oldest, None)
        return frames

    def pictures(self, begin: int) -> Iterator[UInt8[np.ndarray, "c h w"]]:
        """Yield the pictures from one frame on."""
        due, last = begin, None
        for k, frame in chain(self._numbered(begin), [(len(self.times), None)]):
            for missing in range(due, k):
                self._break(missing)
                yield self._first if last is None else self._paint(last)
            last = frame
            if due <= k < len(self.times):
                yield self._paint(frame)
            due = max(due, k + 1)

    def _break(self, k: int) -> None:
        what = f"{self.path.name}: frame {k} cannot be decoded"
        if self._strict:
            raise ValueError(f"{what}; without strict, the frame before replaces it")
        if not self._broken:
            warn(f"{what}; the frame before replaces it; use strict to stop instead")
        self._broken.add(k)

    def _numbered(self, begin: int) -> Iterator[tuple[int, Any]]:
        """Yield the good frames with their numbers, from a key frame at or before `begin` if a seek
        finds one, otherwise from the start.
        """
        numbers = self._numbers
        container, stream = _opened(self.path, self.path.name, self._budget)
        with container:
            frames = _frames(container, stream)
            if begin and numbers:
                with suppress(av.error.FFmpegError):
                    container.seek(list(numbers)[begin], stream=stream)
                key = next(frames, None)
                if not (key and key.key_frame and numbers.get(key.pts, begin + 1) <= begin):
                    yield from self._numbered(0)
                    return
                frames = chain([key], frames)
            for n, frame in enumerate(frames):
                k = numbers.get(frame.pts, -1) if numbers and frame else n
                if frame and 0 <= k < len(self.times):  # others are from skipped packets
                    yield k, frame


@dataclass
class _Run:
    """A position in a film.

    Args:
        film: the film.
        next: number of the next picture.
        pictures: the next pictures.
        latest: pictures of the last slice by their numbers.
    """

    film: Film
    next: int
    pictures: Iterator[np.ndarray]
    latest: dict[int, np.ndarray]

    def picture(self, k: int) -> np.ndarray:
        if not self.next <= k <= self.next + _NEAR:
            self.pictures, self.next = self.film.pictures(k), k
        while self.next < k:
            next(self.pictures)
            self.next += 1
        self.next += 1
        return next(self.pictures)


_open: dict[tuple[Film, int], _Run] = {}  # by film and process, in order of use


def _opened(source: Any, name: str, budget: float) -> tuple[Any, Any]:
    """Return the container of a film, and its first real video stream. The decoder raises an error
    for pictures that need more than `budget` GiB, even if the header states a smaller size.

    Decoding uses one thread: more are hardly faster, blur the frame of an error, and do not survive
    a fork.
    """
    url = f"file:{source}" if isinstance(source, Path) else source  # never downloaded
    try:
        # Mode "r": a file object may be open for writing too.
        container = av.open(url, mode="r", metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{name} is not a readable film ({reason}); {_CURE}") from None
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & covers:
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(int(budget * GIB / _WEIGHT))}
            return container, stream
    raise ValueError(f"{name} has no decodable video stream; use a film")


def _survey(container: Any, stream: Any, name: str) -> tuple[dict[int, int], np.ndarray, str]:
    """Read the packets without decoding. Return the numbers of frames by their time stamps, times
    (T,) in seconds, and a description of a truncated film or "".
    """
    stamps: list[int | None] = []
    end, torn = 0.0, False
    with suppress(av.error.FFmpegError, OSError):  # the packets read so far are used
        for packet in filter(lambda packet: packet.size, container.demux()):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            # VP8 has hidden packets that only later ones use.
            hidden = stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
            if packet.stream_index == stream.index and not (packet.is_discard or hidden):
                stamps.append(packet.pts)
                torn = packet.is_corrupt
    if torn:
        del stamps[-1]  # half a packet at the end of the file
    if not stamps:
        raise ValueError(f"{name} has no frames; make or download the film again")
    known = sorted({stamp for stamp in stamps if stamp is not None})
    if len(known) < len(stamps) or (stream.codec_context.has_b_frames and stamps == known):
        # No times, or times in the order of storage instead of display.
        rate = stream.guessed_rate or stream.average_rate or 25
        numbers, times = {}, np.arange(len(stamps)) / float(rate)
    else:
        numbers = {stamp: k for k, stamp in enumerate(known)}
        times = (np.array(known) - known[0]) * float(stream.time_base)
    short = torn or end + 2 * end / len(stamps) < 0.99 * (container.duration or 0) / 1e6
    return numbers, times, f"cut short: its first {end:.1f} s are there" if short else ""


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the next frames of a container in order of display, None for damaged ones."""
    packets = (packet for packet in container.demux(stream) if packet.size)
    with suppress(av.error.FFmpegError, OSError):  # the file ends in the middle
        for packet in chain(packets, [None]):  # None ends the decoding, like an empty packet
            try:
                frames = stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                frames = [None]
            for frame in frames:
                yield frame if frame and not frame.is_corrupt else None


class _Painter:
    """Conversion of decoded frames to upright pictures (C,H,W) like the first good frame: its
    channels, size and rotation.
    """

    def __init__(self, first: Any) -> None:
        grey = first.format.name.startswith(("gray", "mono", "ya8", "ya16"))
        kind = "gray" if grey else "rgb24"
        self._how = {"format": kind, "height": first.height, "width": first.width}
        self._turns = first.rotation // 90 if first.rotation % 90 == 0 else 0

    def __call__(self, frame: Any) -> UInt8[np.ndarray, "c h w"]:
        picture = frame.reformat(**self._how, threads=1).to_ndarray()
        picture = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
        return np.ascontiguousarray(np.rot90(picture, self._turns, (1, 2)))
