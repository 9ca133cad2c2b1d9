"""Films, decoded on the way: a `Film` holds a window of pictures, never the whole recording."""

import bisect
import io
import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from foreframe.base.budget import GIB, check_budget
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.data.decoders import DecodedFrames

# bytes a pixel that decoding a picture takes: planes and references, RGB, and the first picture
_WEIGHT = 16
_CURE = "give a whole mp4, mkv, webm, mov or avi; as a stream mkv, or mp4 with its index in front"


def read_film(path: str | Path, strict: bool = False, budget: float = BUDGET) -> Clip:
    """The first video stream of any film that FFmpeg reads; frames (T,C,H,W) uint8 are decoded when
    asked for.

    C is 1 where the stream is grey and 3 (RGB) otherwise; pictures are turned upright. Times are
    seconds from the first frame. `Clip.notes` says what was left out, and whether the film was cut
    short. Opening reads the packets' times and one picture.

    Args:
        path: of the film.
        strict: refuse a film that was cut short and frames that cannot be decoded, instead of a
            note or a stand-in.
        budget: GiB that decoding a picture may take.

    Raises:
        ValueError: no such file, no film, no pictures in it, no picture that can be decoded, what
            `strict` refuses, or pictures larger than the budget.
    """
    path = Path(path)
    with _container(path, path.name, budget) as container:
        stream = _picture_stream(container, path.name)
        height, width = stream.codec_context.height, stream.codec_context.width
        what = f"a picture of {path.name}, of {height}x{width} pixels,"
        check_budget(_WEIGHT * height * width, budget, what)
        several = len(container.streams.video)
        index, times, short = _survey(container, stream, path.name)
    if short and strict:
        raise ValueError(
            f"{path.name} was {short}; fetch it again, or leave strict out to read what is there"
        )
    notes = [f"{several} video streams: the first is read"] if several > 1 else []
    notes += [f"the film was {short}"] if short else []
    film = Film(path, index, strict, budget)
    return Clip(film, times=times, name=path.name, notes=tuple(notes))


def film_stream(
    source: str | Path | BinaryIO | io.IOBase, budget: float = BUDGET
) -> Iterator[UInt8[np.ndarray, "c h w"]]:
    """Frames (C,H,W) uint8 one by one, in constant memory, from a path or a binary file that need
    not be seekable.

    Frames that cannot be decoded, or would take more than `budget` GiB, are left out, with one
    warning. `sys.stdin.buffer` is such a file.

    Raises:
        ValueError: what cannot be opened as a film, or has no pictures.
    """
    name = Path(source).name if isinstance(source, str | Path) else "the stream"
    with _container(source, name, budget) as container:
        painter, reformatter, warned = None, VideoReformatter(), False
        for frame in _frames(container, _picture_stream(container, name)):
            if frame is not None and not frame.is_corrupt:
                painter = painter or _Painter(frame)
                yield painter(frame, reformatter)
            elif not warned:
                warned = True
                warn(f"{name}: frames that cannot be decoded are left out")
        if painter is None:
            raise ValueError(f"{name}: none of its frames can be decoded; {_CURE}")


class Film(DecodedFrames):
    """Frames (T,C,H,W) uint8 of one video stream, decoded when a slice asks for them.

    Slices that follow each other go on decoding; a jump goes to the key frame before. Either way a
    frame is what a decoding of the whole film from its start gives, as long as the film is
    undamaged.

    `broken` are the indices, so far, of frames that could not be decoded: the frame before stands
    in their place (the next good frame at the film's start), and the first of them warns. Frames
    after them, up to the next key frame, may carry the damage on.

    Raises:
        ValueError: with `strict`, a frame asked for that cannot be decoded.
    """

    def __init__(self, path: Path, index: "_Index", strict: bool, budget: float = BUDGET) -> None:
        self._path, self._index, self._strict = path.absolute(), index, strict
        self._budget = budget
        self._broken: set[int] = set()
        first = next((frame for _, frame in self._numbered(0) if frame is not None), None)
        if first is None:
            raise ValueError(f"{path.name}: none of its frames can be decoded; {_CURE}")
        self._paint = _Painter(first)
        self._first = self._paint(first, VideoReformatter())
        super().__init__((len(index.stamps), *self._first.shape), np.dtype(np.uint8))

    def _open(self) -> "_Run":
        return _Run()

    def _picture(self, run: "_Run", k: int) -> np.ndarray:
        if k < run.next or self._index.key_before(k) > run.next:
            self._start(run, k)
        while run.next <= k:
            number, frame = next(run.frames, (None, None))
            if number is None:  # not begun, or broken off by an interrupt
                self._start(run, k)
                continue
            run.next = number + 1
            if frame is None:
                self._break(number)
            else:
                run.last = frame
        if run.next == len(self):
            run.frames = iter(())  # closes the file
        if k in self._broken and self._strict:
            raise ValueError(
                f"{self._path.name}: frame {k} cannot be decoded; without strict the frame before "
                "stands in its place"
            )
        return self._first if run.last is None else self._paint(run.last, run.reformatter)

    def _break(self, k: int) -> None:
        if not self._broken and not self._strict:
            what = f"{self._path.name}: frame {k} cannot be decoded"
            warn(f"{what}; the frame before stands in its place; strict refuses it")
        self._broken.add(k)

    def _start(self, run: "_Run", k: int) -> None:
        """Let a run begin at the last key frame up to frame k, if a seek gets to it, or else at the
        start of the film.
        """
        run.next, run.last, run.frames = 0, None, self._numbered(0)
        if key := self._index.key_before(k):
            frames = self._numbered(key)
            number, frame = next(frames)
            if frame is not None and frame.key_frame:
                run.frames = itertools.chain([(number, frame)], frames)

    def _numbered(self, start: int) -> Iterator[tuple[int, Any]]:
        """Every number from `start` to the film's end with its frame, or None where it came out
        damaged or not at all.
        """
        index, due = self._index, start
        total = len(index.stamps)
        with _container(self._path, self._path.name, self._budget) as container:
            stream = container.streams[index.stream]
            if start:
                with suppress(av.error.FFmpegError):  # then from the start of the file
                    container.seek(index.stamps[start], stream=stream)
            for frame in _frames(container, stream):
                if frame is None:
                    continue
                k = index.numbers.get(frame.pts, -1) if index.numbers else due
                if due <= k < total:  # or it is before the start, or of no packet that counts
                    yield from ((missing, None) for missing in range(due, k))
                    yield k, None if frame.is_corrupt else frame
                    due = k + 1
        yield from ((missing, None) for missing in range(due, total))


class _Run:
    """A decoder on its way through a film.

    Attributes:
        frames: what is still to come, with its numbers.
        next: the number of the frame that comes next, or 0.
        last: the last good frame.
    """

    def __init__(self) -> None:
        self.frames: Iterator[tuple[int, Any]] = iter(())
        self.next, self.last = 0, None
        self.reformatter = VideoReformatter()


class _Index(NamedTuple):
    """What one pass over a film's packets says.

    Args:
        stream: number of the video stream in its container.
        stamps: (T,) presentation times in order, in the stream's own ticks.
        numbers: of the frames, by their stamps; empty where frames are counted from the start,
            since their own times say nothing (raw streams, H.264 in AVI).
        keys: numbers of key frames, in order; the first is 0, the start of the file.
    """

    stream: int
    stamps: list[int]
    numbers: dict[int, int]
    keys: list[int]

    def key_before(self, k: int) -> int:
        """The last key frame up to frame k."""
        return self.keys[bisect.bisect_right(self.keys, k) - 1]


def _container(source: Any, name: str, budget: float) -> Any:
    """Open for reading, by mode "r" since a file object that is given may be open for writing too.
    Pictures that would take more than `budget` GiB to decode are refused by the decoder,
    whatever the header says of their size.

    One thread decodes: more gain little on most films, blur which frame an error belongs to, and do
    not survive a fork.
    """
    # Words that are no UTF-8: PyAV 19 has no say in them.
    old = int(av.__version__.split(".")[0]) < 19
    how = {"metadata_errors": "replace"} if old else {}
    url = f"file:{source}" if isinstance(source, str | Path) else source  # never one of the net
    try:
        container = av.open(url, mode="r", **how)
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {"max_pixels": str(int(budget * GIB / _WEIGHT))}
        return container
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{name} is no film that can be read ({reason}); {_CURE}") from None


def _picture_stream(container: Any, name: str) -> Any:
    """The first real video stream."""
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & covers:
            return stream
    raise ValueError(f"{name} has no moving pictures that can be decoded; give a film")


def _survey(container: Any, stream: Any, name: str) -> tuple[_Index, np.ndarray, str]:
    """One pass over the packets, without decoding: the index, times (T,) in seconds, and how the
    film was cut short or "".
    """
    found: list[Any] = []  # (presentation time, decoding time, key frame) of each packet
    end, torn = 0.0, False
    with suppress(av.error.FFmpegError, OSError):  # then what was read until there stands
        for packet in container.demux():
            if packet.size == 0:  # the mark of the end, or a picture left out
                continue
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None and packet.time_base:
                end = max(end, float((at + (packet.duration or 0)) * packet.time_base))
            # VP8 has packets that only later ones look at.
            hidden = stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
            if packet.stream_index == stream.index and not (packet.is_discard or hidden):
                found.append((packet.pts, packet.dts, packet.is_keyframe))
                beyond = packet.pos is not None and 0 < container.size < packet.pos + packet.size
                torn = packet.is_corrupt or beyond
    if torn and len(found) > 1:
        del found[-1]  # half a packet at the end of the file
    if not found:
        raise ValueError(f"{name} holds no frames; make or fetch the film again")
    shown = [pts for pts, _, _ in found]
    stamps = shown if None not in shown else [dts for _, dts, _ in found]
    # AVI has no presentation times: FFmpeg makes them up in storage order, which is wrong where
    # frames are reordered.
    counted = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
    counted = counted or None in shown or len(set(shown)) < len(shown)
    if None in stamps:
        stamps = list(range(len(found)))
        seconds = np.array(stamps) / float(stream.guessed_rate or stream.average_rate or 25)
    else:
        stamps = sorted(stamps)
        seconds = (np.array(stamps) - stamps[0]) * float(stream.time_base)
    numbers = {} if counted else {stamp: k for k, stamp in enumerate(stamps)}
    keys = {0} if counted else {0, *(numbers[pts] for pts, _, is_key in found if is_key)}
    index = _Index(stream.index, stamps, numbers, sorted(keys))
    # Of an mp4 or avi FFmpeg makes the duration fit what is there.
    whole = (container.duration or 0) / 1e6 if "matroska" in container.format.name else 0.0
    is_short = torn or end < min(0.99 * whole, whole - 2 * end / len(found))
    return index, seconds, f"cut short: its first {end:.1f} s are there" if is_short else ""


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in order of display from where the container stands; None where the decoder refused a
    packet.
    """

    def fed(packet: Any) -> list[Any]:
        try:
            return list(stream.codec_context.decode(packet))
        except av.error.FFmpegError:
            return [None]

    with suppress(av.error.FFmpegError, OSError):  # the file ends in the middle
        for packet in container.demux(stream):
            if packet.size:  # an empty one would end the decoding
                yield from fed(packet)
    yield from fed(None)


class _Painter:
    """From decoded frames to upright pictures (C,H,W), as the first good frame says: grey or RGB,
    its size, to which others are brought where the stream changes it midway, and its turn.
    """

    def __init__(self, first: Any) -> None:
        grey = first.format.name.startswith(("gray", "mono", "ya8", "ya16"))
        kind = "gray" if grey else "rgb24"
        self._how = {"format": kind, "height": first.height, "width": first.width}
        self._turns = first.rotation // 90 if first.rotation % 90 == 0 else 0

    def __call__(self, frame: Any, reformatter: Any) -> UInt8[np.ndarray, "c h w"]:
        picture = reformatter.reformat(frame, **self._how, threads=1).to_ndarray()
        picture = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
        return np.ascontiguousarray(np.rot90(picture, self._turns, (1, 2)))
