"""Recordings larger than memory that are stored in chunks: whole chunks are read, and the last
ones cached.
"""

from collections import OrderedDict
from copy import copy
from itertools import groupby
from typing import Any

import numpy as np

from foreframe.clips.frames import Frames


class ChunkCache:
    """The chunks that were read last, of one recording or several.

    Args:
        memory: bytes that they may take. Another process, to which this is sent, begins with none.
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
    """Frames (T,C,H,W) of which whole chunks are read; indexing, as numpy's, copies what it names
    and nothing else.

    Args:
        stored: all frames, none of them damaged, with a `chunk`.
        at_once: how many chunks are read at once.
        cache: where those that were read stay.
    """

    def __init__(self, stored: Frames, at_once: int, cache: ChunkCache) -> None:
        self.stored, self.at_once, self.cache, self.first = stored, at_once, cache, 0
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
        """The chunks that hold some frames, by their first frame."""
        begins = range(first // self.chunk * self.chunk, last, self.chunk)
        cached = {begin: self.cache.get((id(self.stored), begin)) for begin in begins}
        found = {begin: chunk for begin, chunk in cached.items() if chunk is not None}
        lacking = enumerate(begin for begin in begins if begin not in found)

        def run(item: tuple[int, int]) -> tuple[int, int]:
            return item[1] - item[0] * self.chunk, item[0] // self.at_once

        for _, items in groupby(lacking, run):
            each = [begin for _, begin in items]
            frames = self.stored.read(each[0], min(each[-1] + self.chunk, len(self.stored)))
            for begin in each:
                found[begin] = frames[begin - each[0] :][: self.chunk].copy()
                self.cache.put((id(self.stored), begin), found[begin])
        return dict(sorted(found.items()))
