"""Recordings that have to be decoded: each thread keeps a few decoders open."""

import atexit
import os
import threading
from abc import abstractmethod
from collections import OrderedDict
from itertools import count
from typing import Any

import numpy as np

from foreframe.clips.frames import Frames

MOST_OPEN = 16  # decoders of a thread: each may hold an open file
KEPT_BYTES = 128 * 2**20  # of decoded pictures that a decoder keeps, for windows that overlap


class _Opened(threading.local):
    """The decoders of this thread, the latest last."""

    def __init__(self) -> None:
        self.decoders = OrderedDict[tuple[int, int], tuple[Any, dict[int, np.ndarray]]]()


_opened = _Opened()
atexit.register(lambda: _opened.decoders.clear())  # later libraries cannot close files any more
_numbers = count()


class DecodedFrames(Frames):
    """Frames (T,C,H,W) that are decoded when a slice asks for them.

    A decoder is open in one place of its file, so each thread has its own, and so has a process
    after a fork. The pictures of the last slice are kept, up to 128 MiB.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._number = next(_numbers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _number=next(_numbers))  # another process counts from 0, too

    @abstractmethod
    def _open(self) -> Any:
        """A decoder, which has not begun."""

    @abstractmethod
    def _picture(self, decoder: Any, k: int) -> np.ndarray:
        """Frame k, (C,H,W)."""

    def read(self, first: int, last: int) -> np.ndarray:
        frames = np.empty((last - first, *self.shape[1:]), self.dtype)
        decoder, kept = self._decoder()
        room = max(1, min(last - first, KEPT_BYTES // max(1, frames[:1].nbytes)))
        for k in range(first, last):
            if k not in kept:
                kept[k] = self._picture(decoder, k)
            frames[k - first] = kept[k]
            while len(kept) > room:
                del kept[next(iter(kept))]
        return frames

    def _decoder(self) -> tuple[Any, dict[int, np.ndarray]]:
        decoders, key = _opened.decoders, (self._number, os.getpid())
        if key not in decoders:
            decoders[key] = (self._open(), {})
        decoders.move_to_end(key)
        while len(decoders) > MOST_OPEN:
            decoders.popitem(last=False)
        return decoders[key]
