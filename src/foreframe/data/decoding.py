"""Recordings as windows need them: every stretch of their frames quick to get at, in memory, in the
chunks of a store, or decoded once into a file that later runs find again.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from foreframe.base.budget import GIB, frames_at_once, in_gib
from foreframe.base.files import atomic_write, cache
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.frames import ArrayFrames, Frames
from foreframe.data.chunks import ChunkCache, ChunkedFrames
from foreframe.data.data_options import ReadOptions
from foreframe.data.inputs import with_clocks
from foreframe.data.npy import NpyFrames, frames_in, header_of
from foreframe.data.readers import in_parts, moving_parts
from foreframe.data.splits import Published, raw_by_folder

IN_MEMORY = 2**30  # bytes of decoded frames that are kept in memory
ON_DISK = 10 * 2**30  # bytes of decoded frames that are kept in files
DECODED = "[0-9a-f]" * 24 + ".npy"  # their names
DAY = 86_400  # seconds: a file that was used within a day may be in use
CHUNK = 32  # frames read at once


def decode(source: Any, options: ReadOptions, tile: int = 0) -> dict[str, list[list[Clip]]]:
    """The recordings in `source`, each in its parts, by the folder that decides their split (see
    `split_clips`), with frames any stretch of which is quick to get at: in memory, in a .npy
    file, or in the chunks of a Zarr store.

    Args:
        source: as of `Recordings`.
        options: how it is read.
        tile: side of the tiles that windows are of, which recordings of several sizes need.

    Raises:
        ValueError: what reading raises; recordings of different sizes; no room on the disk.
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

    def quick(clip: Clip) -> Frames:
        if isinstance(clip.frames, ArrayFrames):
            return clip.frames
        if fits:  # of a .npy too: a copy is quicker than a call for each window
            return _in_memory(clip, options.budget)
        chunk, shape = clip.frames.chunk, clip.frames.shape
        few = frames_at_once(shape, max(CHUNK, chunk), options.budget)
        if 0 < chunk <= few:
            return ChunkedFrames(clip.frames, few // chunk, chunks)
        if isinstance(clip.frames, NpyFrames):
            return clip.frames
        return _in_file(clip, slow, options, _identity(clip, source, options, stamp_of))

    def ready(part: Clip) -> list[Clip]:
        clip = with_clocks(replace(part, frames=quick(part)), options.inputs)
        return [clip] if isinstance(source, Published) else moving_parts([clip])

    decoded = {
        folder: [[clip for part in parts for clip in ready(part)] for parts in inside]
        for folder, inside in recordings.items()
    }
    if not fits:
        _remove_old(cache())
    return decoded


def _check_sizes(clips: Sequence[Clip], tile: int) -> None:
    """Refuse recordings whose windows do not fit into one batch."""
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
    """All frames of a clip, as many at a time as the budget allows (GiB)."""
    few = frames_at_once(clip.frames.shape, CHUNK, budget)
    for start in range(0, len(clip), few):
        yield clip.frames.read(start, min(start + few, len(clip)))


def _in_memory(clip: Clip, budget: float) -> ArrayFrames:
    frames, start = np.empty(clip.frames.shape, clip.frames.dtype), 0
    for some in stretches_of(clip, budget):
        frames[start : start + len(some)] = some
        start += len(some)
    return ArrayFrames(frames, clip.frames.broken)


def _stamp(path: Path) -> str:
    """A digest of names, sizes and dates of a file, or of the files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(file, file.stat()) for file in files]
    found = [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _identity(
    clip: Clip, source: Any, options: ReadOptions, stamp_of: Callable[[Path], str]
) -> str:
    """What decoded frames depend on: how they are read, and names, sizes and dates of the files in
    `source`; of what is no file here, times and some of the frames.
    """
    if isinstance(source, Published):
        source = source.source_of(clip)
    if isinstance(source, str | Path) and "://" not in str(source):
        stamps: Any = stamp_of(Path(source))
    else:
        some = np.linspace(0, len(clip) - 1, 16).astype(int).tolist()
        stamps = [crc32(np.ascontiguousarray(clip.frames.read(k, k + 1)).data) for k in some]
        stamps.append(None if clip.times is None else clip.times.tolist())
    how = asdict(options) | {"budget": None}  # which changes no frame
    return repr((stamps, clip.name, clip.frames.shape, how))


def _in_file(clip: Clip, total: int, options: ReadOptions, identity: str) -> NpyFrames:
    """The same in a .npy file that later runs use again, with the numbers of damaged frames beside
    it. One note says how many bytes all recordings take (`total`).

    Raises:
        ValueError: the disk has no room for it, or what was written is whole no more.
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
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))  # it is used now
    broken = frozenset(map(int, damaged.read_text(encoding="utf-8").split()))
    return replace(frames_in(file, header_of(file), options.budget), damaged=broken)


def _remove_old(folder: Path) -> None:
    """Remove decoded frames, the least recently used first, until the others take at most
    `ON_DISK` bytes; what was used within a day stays.
    """
    with suppress(OSError):  # another process removes them, too
        stats = sorted((file.stat().st_atime, file) for file in folder.glob(DECODED))
        total = sum(file.stat().st_size for _, file in stats)
        for used, file in stats:
            if total > ON_DISK and used < time.time() - DAY:
                total -= file.stat().st_size
                file.unlink()
                file.with_suffix(".broken").unlink(missing_ok=True)
