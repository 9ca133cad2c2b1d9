"""Decoding of recordings for fast access to windows: in memory, in chunks of a store, or in a file
that later runs reuse.
"""

import hashlib
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from foreframe.base.budget import GIB, frames_at_once, in_gib
from foreframe.base.files import atomic_write, cache
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.frames import ArrayFrames, Frames
from foreframe.data.data_options import ReadOptions
from foreframe.data.inputs import with_clocks
from foreframe.data.npy import NpyFrames, frames_in, header_of
from foreframe.data.readers import in_parts, moving_parts
from foreframe.data.splits import Published, raw_by_folder

IN_MEMORY = 2**30  # most bytes of decoded frames in memory
ON_DISK = 10 * 2**30  # most bytes of decoded frames in files
DECODED = "[0-9a-f]" * 24 + ".npy"  # names of these files
DAY = 86_400  # seconds: a file used within a day may still be in use
STRETCH = 32  # frames read at a time


def decode(source: Any, options: ReadOptions, tile: int = 0) -> dict[str, list[list[Clip]]]:
    """Return the recordings in `source`, each in its parts, by the folder that decides their split
    (see `split_clips`). Any stretch of their frames is read fast: from memory, from a .npy file, or
    from the chunks of a Zarr store.

    Args:
        source: source of `Recordings`.
        options: how the recordings are read.
        tile: side of the tiles of windows, required for recordings of several sizes.

    Raises:
        ValueError: errors of reading; recordings of different sizes; a full disk.
    """
    recordings = {
        folder: [in_parts(clip, options) for clip in clips]
        for folder, clips in raw_by_folder(source, options).items()
    }
    clips = [part for inside in recordings.values() for parts in inside for part in parts]
    _check_sizes(clips, tile)
    slow = sum(clip.frames.nbytes for clip in clips if not isinstance(clip.frames, ArrayFrames))
    fits = slow <= min(IN_MEMORY, options.budget * GIB)
    chunks, stamp_of = ChunkCache(IN_MEMORY), lru_cache(_stamp)

    def fast(clip: Clip) -> Frames:
        if isinstance(clip.frames, ArrayFrames):
            return clip.frames
        if fits:  # also a .npy: a copy is faster than a call for each window
            return _in_memory(clip, options.budget)
        chunk, shape = clip.frames.chunk, clip.frames.shape
        few = frames_at_once(shape, max(STRETCH, chunk), options.budget)
        if 0 < chunk <= few:
            return ChunkedFrames(clip.frames, few // chunk, chunks)
        if isinstance(clip.frames, NpyFrames):
            return clip.frames
        return _in_file(clip, slow, options, _identity(clip, source, options, stamp_of))

    def ready(part: Clip) -> list[Clip]:
        clip = with_clocks(replace(part, frames=fast(part)), options.inputs)
        return [clip] if isinstance(source, Published) else moving_parts([clip])

    decoded = {
        folder: [[clip for part in parts for clip in ready(part)] for parts in inside]
        for folder, inside in recordings.items()
    }
    if not fits:
        _remove_old(cache())
    return decoded


def _check_sizes(clips: Sequence[Clip], tile: int) -> None:
    """Check that all windows fit into one batch."""
    sizes = {clip.frames.shape[1:] for clip in clips}
    channels = {size[0] for size in sizes}
    tiles_fit = 0 < tile <= min((min(size[1:]) for size in sizes), default=0)
    if len(channels) > 1 or (len(sizes) > 1 and not tiles_fit):
        two = " and ".join("x".join(map(str, size)) for size in sorted(sizes)[:2])
        grey = "colour grey makes their channels one"
        sized = "give --reading.size [H,W], or a --splits.tile that fits into each"
        cure = grey if len(channels) > 1 else sized
        raise ValueError(f"recordings of different sizes, {two}; {cure}")


def stretches_of(clip: Clip, budget: float) -> Iterator[np.ndarray]:
    """Yield all frames of a clip, as many at a time as the budget (GiB) allows."""
    few = frames_at_once(clip.frames.shape, STRETCH, budget)
    for start in range(0, len(clip), few):
        yield clip.frames.read(start, min(start + few, len(clip)))


def _in_memory(clip: Clip, budget: float) -> ArrayFrames:
    frames, start = np.empty(clip.frames.shape, clip.frames.dtype), 0
    for some in stretches_of(clip, budget):
        frames[start : start + len(some)] = some
        start += len(some)
    return ArrayFrames(frames, clip.frames.broken)


def _stamp(path: Path) -> str:
    """Return a digest of the names, sizes and dates of a file, or of the files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(file, file.stat()) for file in files]
    found = [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _identity(
    clip: Clip, source: Any, options: ReadOptions, stamp_of: Callable[[Path], str]
) -> str:
    """Return all that decoded frames depend on: how they are read, and names, sizes and dates of
    local files; for other sources, their times and some frames.
    """
    if isinstance(source, Published):
        source = source.source_of(clip)
    if isinstance(source, str | Path) and "://" not in str(source):
        stamps: Any = stamp_of(Path(source))
    else:
        some = np.linspace(0, len(clip) - 1, 16).astype(int).tolist()
        stamps = [crc32(np.ascontiguousarray(clip.frames.read(k, k + 1)).data) for k in some]
        stamps.append(None if clip.times is None else clip.times.tolist())
    how = asdict(options) | {"budget": None}  # the budget changes no frame
    return repr((stamps, clip.name, clip.frames.shape, how))


def _in_file(clip: Clip, total: int, options: ReadOptions, identity: str) -> NpyFrames:
    """Decode frames into a .npy file that later runs reuse, and the numbers of damaged frames into
    another one. A warning states the bytes of all recordings (`total`).

    Raises:
        ValueError: too little space on the disk, or a truncated file.
    """
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = cache()
    file, damaged = folder / f"{key}.npy", folder / f"{key}.broken"
    if not (file.exists() and damaged.exists()):
        need, cure = clip.frames.nbytes, "size, coarsen or every make them fewer"
        free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
        if need > free:
            raise ValueError(
                f"{clip.name}: {in_gib(need)} of frames would be decoded into {folder}, where "
                f"{in_gib(free)} are free; {cure}, and FOREFRAME_CACHE names another folder"
            )
        warn(f"{in_gib(total)} of frames are decoded into {folder}; {cure}")
        with atomic_write(file) as rough, rough.open("wb") as out:
            kind = np.lib.format.dtype_to_descr(clip.frames.dtype)
            header = {"descr": kind, "fortran_order": False, "shape": clip.frames.shape}
            np.lib.format.write_array_header_2_0(out, header)
            for chunk in stretches_of(clip, options.budget):
                out.write(np.ascontiguousarray(chunk).data)
        with atomic_write(damaged) as rough:
            rough.write_text(" ".join(map(str, sorted(clip.frames.broken))), encoding="utf-8")
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))  # the time of its last use
    broken = frozenset(map(int, damaged.read_text(encoding="utf-8").split()))
    return replace(frames_in(file, header_of(file), options.budget), damaged=broken)


def _remove_old(folder: Path) -> None:
    """Remove the least recently used files of decoded frames until at most `ON_DISK` bytes remain.
    Files used within a day stay.
    """
    with suppress(OSError):  # another process may remove them, too
        stats = sorted((file.stat().st_atime, file) for file in folder.glob(DECODED))
        total = sum(file.stat().st_size for _, file in stats)
        for used, file in stats:
            if total > ON_DISK and used < time.time() - DAY:
                total -= file.stat().st_size
                file.unlink()
                file.with_suffix(".broken").unlink(missing_ok=True)


class ChunkCache:
    """The chunks read last from one or several recordings.

    Args:
        memory: most bytes of chunks. A copy in another process is empty at first.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.bytes = memory, 0
        self.chunks: OrderedDict[Any, np.ndarray] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return ChunkCache, (self.memory,)

    def get(self, key: Any) -> np.ndarray | None:
        if key in self.chunks:
            self.chunks.move_to_end(key)
        return self.chunks.get(key)

    def put(self, key: Any, chunk: np.ndarray) -> None:
        self.chunks[key] = chunk
        self.bytes += chunk.nbytes
        while self.bytes > self.memory:
            self.bytes -= self.chunks.popitem(last=False)[1].nbytes


class ChunkedFrames(Frames):
    """Frames (T,C,H,W) that are read in whole chunks. Indexing copies the selected values only.

    Args:
        stored: all frames, none of them damaged, with a `chunk`.
        together: most chunks of a read.
        cache: cache for the chunks.
    """

    def __init__(self, stored: Frames, together: int, cache: ChunkCache) -> None:
        self.stored, self.together, self.cache, self.first = stored, together, cache, 0
        self.chunk, self.shape, self.dtype = stored.chunk, stored.shape, stored.dtype

    def part(self, first: int, last: int) -> "ChunkedFrames":
        part = copy(self)
        part.first, part.shape = self.first + first, (last - first, *self.shape[1:])
        return part

    def read(self, first: int, last: int) -> np.ndarray:
        return self[first:last]

    def __getitem__(self, key: Any, /) -> np.ndarray:
        when, *inside = key if isinstance(key, tuple) else (key,)
        if not isinstance(when, slice) or when.step not in (None, 1):
            return super().__getitem__(key)
        first, last, _ = when.indices(len(self))
        first, last = self.first + first, self.first + max(first, last)
        found = [np.empty((0, *self.shape[1:]), self.dtype)[:, *inside]]
        for begin, chunk in self._chunks(first, last).items():
            found.append(chunk[max(0, first - begin) : last - begin, *inside])
        return np.concatenate(found)

    def _chunks(self, first: int, last: int) -> dict[int, np.ndarray]:
        """Return the chunks with these frames, by their first frame."""
        begins = range(first // self.chunk * self.chunk, last, self.chunk)
        cached = {begin: self.cache.get((id(self.stored), begin)) for begin in begins}
        found = {begin: chunk for begin, chunk in cached.items() if chunk is not None}
        lacking = enumerate(begin for begin in begins if begin not in found)

        def run(item: tuple[int, int]) -> tuple[int, int]:
            return item[1] - item[0] * self.chunk, item[0] // self.together

        for _, items in groupby(lacking, run):
            each = [begin for _, begin in items]
            frames = self.stored.read(each[0], min(each[-1] + self.chunk, len(self.stored)))
            for begin in each:
                found[begin] = frames[begin - each[0] :][: self.chunk].copy()
                self.cache.put((id(self.stored), begin), found[begin])
        return dict(sorted(found.items()))
