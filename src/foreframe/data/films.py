"""Films, decoded on the way: a `Film` holds a window of pictures, never the whole recording."""

import bisect
import io
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
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
from foreframe.clips.frames import Frames
from foreframe.data.mp4 import check_mp4

# bytes a pixel that decoding a picture takes: planes and references, RGB, and the first picture
_WEIGHT = 16
_KEPT_BYTES = 128 * 2**20  # of decoded pictures a film keeps at most, for windows that overlap


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
        budget: GiB that decoding a picture, or reading a slice, may take.

    Raises:
        ValueError: no such file, no film, no pictures in it, no picture that can be decoded, what
            `strict` refuses, or pictures larger than the budget.
    """
    path = Path(path)
    _check_file(path)
    check_mp4(path, budget)
    with _container(path, path.name, budget) as container:
        stream, notes = _picture_stream(container, path.name)
        height, width = stream.codec_context.height, stream.codec_context.width
        what = f"a picture of {path.name}, of {height}x{width} pixels,"
        check_budget(_WEIGHT * height * width, budget, what)
        index, times, short = _survey(container, stream, path.name)
    if short and strict:
        raise ValueError(
            f"{path.name} was {short}; fetch it again, or leave strict out to read what is there"
        )
    with _container(path, path.name, budget) as container:
        frames = _frames(container, container.streams[index.stream])
        first = next((frame for frame in frames if not frame.is_corrupt), None)
        if first is None:
            raise ValueError(
                f"{path.name}: none of its {len(index)} frames can be decoded; make or fetch the "
                "film again"
            )
        film = Film(path, index, first, strict, budget)
    notes = (*notes, f"the film was {short}") if short else notes
    return Clip(film, times=times, name=path.name, notes=notes)


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
    path = Path(source) if isinstance(source, str | Path) else None
    name = path.name if path else "the stream"
    if path:
        _check_file(path)
        check_mp4(path, budget)
    with _container(source, name, budget) as container:
        stream, _ = _picture_stream(container, name)
        look, reformatter, warned = None, VideoReformatter(), False
        for frame in _frames(container, stream, errors=True):
            if frame is None or frame.is_corrupt:
                if not warned:
                    warn(f"{name}: frames that cannot be decoded are left out")
                warned = True
                continue
            look = look or _look(frame)
            yield _paint(frame, look, reformatter)
        if look is None:
            again = "make or fetch the film again"
            cure = again if path else "send mkv, or mp4 with its index in front"
            raise ValueError(f"{name}: none of its frames can be decoded; {cure}")


class Film(Frames):
    """Frames (T,C,H,W) uint8 of one video stream, decoded when a slice asks for them.

    Slices that follow each other go on decoding; a jump goes to the key frame before. Either way a
    frame is what a decoding of the whole film from its start gives, as long as the film is
    undamaged. The frames of the last slice are kept, up to 128 MiB, so that windows may overlap.

    `broken` are the indices, so far, of frames that could not be decoded: the frame before stands
    in their place (the next good frame at the film's start), and the first of them warns. Frames
    after them, up to the next key frame, may carry the damage on.

    Raises:
        ValueError: with `strict`, a frame asked for that cannot be decoded.
    """

    def __init__(
        self, path: Path, index: "_Index", first: Any, strict: bool, budget: float = BUDGET
    ) -> None:
        self._budget = budget
        self._broken: set[int] = set()
        self.dtype = np.dtype(np.uint8)
        self._path, self._index, self._strict = path.absolute(), index, strict
        self._look = _look(first)
        self._first = _paint(first, self._look, VideoReformatter())
        self.shape = (len(index), *self._first.shape)
        self._kept: dict[int, np.ndarray] = {}
        self._number = next(_numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def read(self, first: int, last: int) -> UInt8[np.ndarray, "t c h w"]:
        what = f"a stretch of {last - first} frames of {self._path}"
        check_budget((last - first) * self._first.nbytes, self._budget, what, "read fewer")
        pictures = np.empty((last - first, *self.shape[1:]), np.uint8)
        room = max(1, min(last - first, _KEPT_BYTES // max(1, self._first.nbytes)))
        run = _run(self._number, os.getpid())
        for k in range(first, last):
            if k not in self._kept:
                self._kept[k] = self._picture(run, k)
            pictures[k - first] = self._kept[k]
            while len(self._kept) > room:
                del self._kept[next(iter(self._kept))]
        return pictures

    def _picture(self, run: "_Run", k: int) -> np.ndarray:
        if k < run.next or self._index.key_before(k) > run.next:
            self._start(run, k)
        while run.next <= k:
            index, frame = next(run.frames, (None, None))
            if index is None:  # the run broke off at an error
                raise ValueError(f"{self._path} can no longer be read; is it still the same file?")
            run.next = index + 1
            if frame is None:
                self._break(index)
            else:
                run.last = frame
        if run.next == len(self):
            run.frames = iter(())  # closes the file
        if k in self._broken and self._strict:
            raise ValueError(
                f"{self._path.name}: frame {k} cannot be decoded; without strict the frame before "
                "stands in its place"
            )
        return self._first if run.last is None else _paint(run.last, self._look, run.reformatter)

    def _break(self, index: int) -> None:
        if not self._broken and not self._strict:
            what = f"{self._path.name}: frame {index} cannot be decoded"
            warn(f"{what}; the frame before stands in its place; strict refuses it")
        self._broken.add(index)

    def _start(self, run: "_Run", k: int) -> None:
        """Let the run begin at the last key frame up to frame k, if that comes out whole after a
        seek to it, or to the key frame before where the container's seeks go too far; else at the
        start of the film. So decoding gives what it gives from the start.
        """
        run.last = None
        key = self._index.key_before(k)
        for seek_to in (key, self._index.key_before(key - 1)) if key else ():
            frames = self._decoded(seek_to, key)
            index, frame = next(frames)
            if frame is not None and frame.key_frame:
                run.frames, run.next, run.last = frames, index + 1, frame
                return
        run.frames, run.next = self._decoded(0, 0), 0

    def _decoded(self, seek_to: int, start: int) -> Iterator[tuple[int, Any]]:
        """Frames from `start` on, as `_numbered` gives them, decoded from another one on."""
        _check_file(self._path)
        with _container(self._path, self._path.name, self._budget) as container:
            stream = container.streams[self._index.stream]
            if seek_to:
                with suppress(av.error.FFmpegError):  # then from the start of the file
                    container.seek(int(self._index.stamps[seek_to]), stream=stream)
            yield from _numbered(_frames(container, stream), self._index, start)


class _Run:
    """A decoder on its way through a film: what it gives next, and the last good frame so far."""

    def __init__(self) -> None:
        self.frames: Iterator[tuple[int, Any]] = iter(())
        self.next = math.inf
        self.last: Any = None
        self.reformatter = VideoReformatter()


_numbers = itertools.count()


@lru_cache(maxsize=16)  # runs that have not come to the end keep their file open
def _run(film: int, process: int) -> _Run:
    """The run of a film in this process: with a forked one it would share the file's position."""
    return _Run()


@dataclass(frozen=True)
class _Index:
    """What one pass over a film's packets says.

    Args:
        stream: number of the video stream in its container.
        stamps: (T,) presentation times in order, in the stream's own ticks.
        keys: indices of key frames, in order; the first is 0, the start of the file.
        counted: frames are told apart by counting from the start, since their own times say nothing
            (raw streams, H.264 in AVI).
    """

    stream: int
    stamps: np.ndarray
    keys: list[int]
    counted: bool

    def __len__(self) -> int:
        return len(self.stamps)

    def key_before(self, k: int) -> int:
        """The last key frame up to frame k."""
        return self.keys[max(0, bisect.bisect_right(self.keys, k) - 1)]

    def find(self, stamp: int | None) -> int | None:
        """The number of the frame that has this time; None where no frame has."""
        if stamp is None:
            return None
        k = int(np.searchsorted(self.stamps, stamp))
        return k if k < len(self.stamps) and self.stamps[k] == stamp else None


class _Look(NamedTuple):
    """How decoded frames become pictures: grey or RGB, stored rows and columns, and the turn that
    sets them upright.
    """

    grey: bool
    height: int
    width: int
    swap: bool  # rows and columns
    mirror: bool  # left and right, after that
    upend: bool  # top and bottom, after that


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a film")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; make or fetch the film again")


def _container(source: Any, name: str, budget: float = BUDGET) -> Any:
    """Open for reading, by mode "r" since a file object that is given may be open for writing too.
    Pictures that would take more than `budget` GiB to decode are refused by the decoder,
    whatever the header says of their size.

    One thread decodes: more gain little on most films, blur which frame an error belongs to, and do
    not survive a fork.
    """
    is_path = isinstance(source, str | Path)
    try:
        # Words that are no UTF-8: PyAV 19 has no say in them.
        old = int(av.__version__.split(".")[0]) < 19
        how = {"metadata_errors": "replace"} if old else {}
        container = av.open(str(source) if is_path else source, mode="r", **how)
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {"max_pixels": str(int(budget * GIB / _WEIGHT))}
        return container
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if is_path:
        with Path(source).open("rb") as file:
            mp4 = file.read(12)[4:8] in (b"ftyp", b"mdat", b"wide", b"free")
        if mp4:
            raise ValueError(
                f"{name} has no readable index (moov atom), so it was cut short or is not done; "
                "fetch the film again"
            )
        raise ValueError(
            f"{name} is no film that FFmpeg can read ({reason}); give mp4, mkv, webm, mov or avi"
        )
    raise ValueError(
        f"{name} is no film that can be read as a stream ({reason}); send mkv, or mp4 with its "
        "index in front"
    )


def _picture_stream(container: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    """The first real video stream, and a note where there are several."""
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    films = [s for s in container.streams.video if s.codec_context is not None]
    streams = [s for s in films if not s.disposition & covers]
    if not streams:
        others = {s.type for s in container.streams if s not in container.streams.video}
        kinds = ", ".join(sorted(others)) or "nothing"
        raise ValueError(
            f"{name} has no moving pictures that can be decoded (it holds {kinds}); give a film "
            "with a video stream"
        )
    notes = (f"{len(streams)} video streams: the first is read",) if len(streams) > 1 else ()
    return streams[0], notes


def _survey(container: Any, stream: Any, name: str) -> tuple[_Index, np.ndarray, str]:
    """One pass over the packets, without decoding: the index, times (T,) in seconds, and how the
    film was cut short or "".
    """
    kind = container.format.name
    # Only a Matroska header leaves open which of its streams lasts as long as it says.
    every = "matroska" in kind and len(container.streams) > 1
    stamps: list[tuple[int | None, int | None, bool, bool]] = []  # pts, dts, key, cut
    seen, end, size = 0, 0.0, container.size
    try:
        for packet in container.demux(*(() if every else (stream,))):
            if packet.size == 0:  # the mark of the end, or a picture left out
                continue
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None and packet.time_base:
                end = max(end, float((at + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index:
                continue
            seen += 1
            hidden = stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
            if packet.is_discard or hidden:
                continue
            beyond = packet.pos is not None and 0 < size < packet.pos + packet.size
            cut = packet.is_corrupt or beyond
            stamps.append((packet.pts, packet.dts, packet.is_keyframe, cut))
    except (av.error.FFmpegError, OSError):
        pass  # what was read until here stands
    torn = bool(stamps) and stamps[-1][3]
    if torn and len(stamps) > 1:
        del stamps[-1]  # half a packet at the end of the file
    if not stamps:
        raise ValueError(f"{name} holds no frames; make or fetch the film again")

    pts = [p for p, _, _, _ in stamps]
    known = [p for p in pts if p is not None]
    stored_in_order = all(a < b for a, b in itertools.pairwise(known))
    # AVI has no presentation times: FFmpeg makes some up in storage order, which is wrong where
    # frames are reordered.
    made_up = kind == "avi" and stored_in_order and bool(stream.codec_context.has_b_frames)
    counted = made_up or len(set(known)) < len(stamps)
    times = known if len(known) == len(stamps) else [d for _, d, _, _ in stamps if d is not None]
    if len(times) == len(stamps):
        ticks = np.sort(np.asarray(times, np.int64))
        seconds = (ticks - ticks[0]).astype(np.float64) * float(stream.time_base)
    else:
        ticks = np.arange(len(stamps))
        seconds = ticks / float(stream.guessed_rate or stream.average_rate or 25)
    index = _Index(stream.index, ticks, [0], counted)
    if not counted:
        index.keys.extend(sorted({index.find(p) or 0 for p, _, key, _ in stamps if key} - {0}))
    return index, seconds, _cut_short(container, stream, seen - torn, end, torn)


def _cut_short(container: Any, stream: Any, seen: int, end: float, torn: bool) -> str:
    """How many frames, or seconds up to `end`, an mp4, mkv or avi holds of those that its header
    promises; "" where it holds all.
    """
    kind = container.format.name
    promised = stream.frames or 0
    if "mp4" in kind and promised > seen:
        return f"cut short: {seen} of {promised} frames are there"
    length = None
    # A count of ticks, pictures left out included; FFmpeg makes the duration fit what is there.
    if kind == "avi" and promised:
        length = float(promised * stream.time_base)
    elif "matroska" in kind and container.duration:
        length = container.duration / 1e6
    start = max(0.0, float((stream.start_time or 0) * stream.time_base)) if kind == "avi" else 0.0
    lasts = end - start
    if length is not None and lasts < min(0.99 * length, length - 2 * end / max(seen, 1)):
        return f"cut short: {lasts:.1f} of {length:.1f} s are there"
    return "cut short: its last frame is torn" if torn else ""


def _frames(container: Any, stream: Any, errors: bool = False) -> Iterator[Any]:
    """Frames in order of display from where the container stands; packets that the decoder refuses
    are passed over.

    With `errors`, None stands where a packet was refused.
    """
    decoder = stream.codec_context

    def fed(packet: Any) -> list[Any]:
        try:
            return list(decoder.decode(packet))
        except av.error.FFmpegError:
            return [None] if errors else []

    try:
        for packet in container.demux(stream):
            if packet.size:  # an empty one would end the decoding
                yield from fed(packet)
    except (av.error.FFmpegError, OSError):
        pass  # the file ends in the middle
    yield from fed(None)


def _numbered(frames: Iterator[Any], index: _Index, start: int) -> Iterator[tuple[int, Any]]:
    """Every index from `start` to the film's end with its frame, or None where it came out
    damaged or not at all.
    """
    due = start
    for frame in frames:
        k = due if index.counted else index.find(frame.pts)
        if k is None or k < due:  # before the start, or of no packet that counts
            continue
        if k >= len(index):
            break
        for missing in range(due, k):
            yield missing, None
        yield k, None if frame.is_corrupt else frame
        due = k + 1
    for missing in range(due, len(index)):
        yield missing, None


def _look(frame: Any) -> _Look:
    """What the first good frame says of all frames; its display matrix maps columns x to
    a x + c y and rows y to b x + d y.
    """
    a, b, c, d = 1, 0, 0, 1
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        turn = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3)[:2, :2] / 2**16
        # Other matrices are no quarter turns.
        if np.array_equal(np.abs(turn), np.eye(2)) or np.array_equal(np.abs(turn), np.eye(2)[::-1]):
            (a, b), (c, d) = turn
    swap = a == 0
    grey = frame.format.name.startswith(("gray", "mono", "ya8", "ya16"))
    mirror, upend = (c if swap else a) < 0, (b if swap else d) < 0
    return _Look(grey, frame.height, frame.width, swap, mirror, upend)


def _paint(frame: Any, look: _Look, reformatter: Any) -> UInt8[np.ndarray, "c h w"]:
    """A decoded frame as an upright picture, shrunk or grown to the film's size where the stream
    changes it midway.
    """
    shape = {"width": look.width, "height": look.height, "format": "gray" if look.grey else "rgb24"}
    picture = reformatter.reformat(frame, **shape, threads=1).to_ndarray()
    picture = picture[None] if look.grey else picture.transpose(2, 0, 1)
    if look.swap:
        picture = picture.swapaxes(1, 2)
    return np.ascontiguousarray(picture[:, :: -1 if look.upend else 1, :: -1 if look.mirror else 1])
