"""Arrays in .npy files, read a stretch at a time.

They are not mapped into memory: when a mapped file shrinks, the process that looks at it is killed,
without a word.
"""

import io
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from foreframe.base.budget import check_budget
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import Frames

# Bytes of a header: numpy would read as many as it claims, 4 GiB at most, and then look at them.
_LONGEST = 2**16
_JUMP = 2**16  # bytes that are read in the time that a jump to another place in the file takes


@dataclass(frozen=True)
class Header:
    """What the first bytes of a .npy file say of it.

    Args:
        shape: of the array.
        dtype: of its values, as they are stored.
        fortran: whether the first axis runs fastest.
        offset: bytes before the first value.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: BinaryIO | Any) -> Header:
    """The header at the start of a .npy file, of one inside an archive, or of one that comes out of
    a pipe.

    Raises:
        ValueError: no such header, or one that no array can have.
    """
    magic = file.read(8)
    width = 2 if magic[6:7] == b"\1" else 4
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    if magic[:6] != b"\x93NUMPY" or length > _LONGEST:
        raise ValueError("it does not begin as a .npy file does")
    # Version 3 differs from 2 in the names of fields alone, and arrays with fields are no frames.
    formats = np.lib.format
    read = formats.read_array_header_1_0 if width == 2 else formats.read_array_header_2_0
    try:
        shape, fortran, dtype = read(io.BytesIO(prefix + file.read(length)))
    except Exception:  # of the half dozen kinds that parsing raises
        raise ValueError("it does not begin as a .npy file does") from None
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"its header says shape {shape}")
    return Header(tuple(shape), dtype, bool(fortran), 8 + width + length)


def read_array(file: BinaryIO | Any, budget: float = BUDGET) -> np.ndarray:
    """The whole array that follows in a file or a pipe, which needs no more than `read`, in this
    machine's byte order.

    Raises:
        ValueError: no array of numbers, more than the budget.
        EOFError: the array ends in the middle.
    """
    header = read_header(file)
    if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8:
        raise ValueError(
            f"it holds {header.dtype}, not numbers that frames are made of; send float32"
        )
    check_budget(
        header.size, budget, f"an array of shape {header.shape}", "send one frame at a time"
    )
    content = file.read(header.size)
    if len(content) < header.size:
        raise EOFError(f"{len(content)} of {header.size} bytes came")
    values = np.frombuffer(content, header.dtype)
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    return values.astype(header.dtype.newbyteorder("="))


@dataclass(frozen=True)
class NpyFrames(Frames):
    """Frames (T,C,H,W) in a .npy file, in this machine's byte order; a slice reads what it names
    and nothing else.

    Threads, forked and spawned workers may read at once.

    Args:
        path: of the file.
        shape: (T,C,H,W).
        stored: dtype in the file.
        offset: where the first frame begins, in bytes.
        step: bytes from the start of a frame to the start of the next.
        stamp: size of the file in bytes, its number and its date, when it was opened.
        budget: GiB that a slice may take.
        damaged: numbers of the frames that could not be decoded when they were stored.

    Raises:
        ValueError: on slicing, a step; a file that has another size now; more than the budget.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    step: int
    stamp: tuple[int, int, int]
    budget: float = BUDGET
    damaged: frozenset[int] = frozenset()
    dtype: np.dtype = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.stored.newbyteorder("="))

    @property
    def broken(self) -> set[int]:
        return set(self.damaged)

    def part(self, first: int, last: int) -> "NpyFrames":
        shape = (last - first, *self.shape[1:])
        damaged = frozenset(k - first for k in self.damaged if first <= k < last)
        return replace(self, offset=self.offset + first * self.step, shape=shape, damaged=damaged)

    def read(self, first: int, last: int) -> np.ndarray:
        return self._rows(first, last, 0, self.shape[2])

    def __getitem__(self, key: Any, /) -> np.ndarray:
        """As any frames, but that frames[3:7, :, 10:20, 30:40] reads few rows of big frames."""
        if not (isinstance(key, tuple) and len(key) == 4 and all(map(_is_stretch, key))):
            return super().__getitem__(key)
        when, channels, rows, columns = key
        first, last, _ = when.indices(len(self))
        top, bottom, _ = rows.indices(self.shape[2])
        return self._rows(first, max(first, last), top, max(top, bottom))[:, channels, :, columns]

    def _rows(self, first: int, last: int, top: int, bottom: int) -> np.ndarray:
        """Rows `top` to `bottom` of frames `first` to `last`."""
        _, c, h, w = self.shape
        count, height = last - first, bottom - top
        row = w * self.stored.itemsize
        by_rows = (h - height) * row > _JUMP
        if not by_rows:
            height = h
        what = f"a stretch of {count} frames of {self.path}"
        check_budget(count * c * height * row, self.budget, what, "read fewer")
        frames = np.empty((count, c, height, w), self.stored)
        begin, frame = self.offset + first * self.step, h * c * row
        try:
            file = _opened(self.path, self.stamp, os.getpid())
            if os.fstat(file.number).st_size != self.stamp[0]:
                raise ValueError(
                    f"{self.path} has changed since it was opened; start again when it is whole"
                )
            if by_rows:
                for k, channel in np.ndindex(count, c):
                    file.fill(begin + k * self.step + (channel * h + top) * row, frames[k, channel])
            elif self.step == frame:
                file.fill(begin, frames)
            else:
                for k in range(count):
                    file.fill(begin + k * self.step, frames[k])
        except EOFError:
            raise ValueError(
                f"{self.path} ends in the middle of a frame; make or fetch it again"
            ) from None
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be read any more: {error.strerror or error}"
            ) from None
        return (frames if by_rows else frames[:, :, top:bottom]).astype(self.dtype, copy=False)


def _is_stretch(key: Any) -> bool:
    return isinstance(key, slice) and key.step in (None, 1)


class _File:
    """A file that is closed when nobody reads it any more."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.number >= 0:
            close(self.number)

    def fill(self, offset: int, values: np.ndarray) -> None:
        """Values from the bytes from `offset` on; threads may do so at once.

        Raises:
            EOFError: the file ends before.
        """
        if not values.size:
            return
        left = values.reshape(-1).view(np.uint8).data
        while left.nbytes:
            if hasattr(os, "preadv"):  # which moves no position
                got = os.preadv(self.number, [left], offset)
            else:
                with _turn:
                    os.lseek(self.number, offset, os.SEEK_SET)
                    content = os.read(self.number, left.nbytes)
                got = len(content)
                left[:got] = content
            if not got:
                raise EOFError
            left, offset = left[got:], offset + got


_turn = threading.Lock()


@lru_cache(maxsize=64)
def _opened(path: Path, stamp: tuple[int, ...], process: int) -> _File:
    """A file that stays open for the next stretch. Files of one path that were stored at different
    times are different.
    """
    return _File(path)


def frames_in(path: Path, header: Header, budget: float = BUDGET) -> NpyFrames:
    """The frames of a file whose array is (T,C,H,W) in C order.

    Raises:
        ValueError: a file that is shorter than its header says.
    """
    step = math.prod(header.shape[1:]) * header.dtype.itemsize
    check_whole(path, header)
    path, shape = path.absolute(), header.shape
    return NpyFrames(path, shape, header.dtype, header.offset, step, stamp_of(path), budget)


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Size in bytes, number and date of a file: another one where its content has changed."""
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns


def check_whole(path: Path, header: Header) -> None:
    """Refuse a file that is shorter than its header says (ValueError)."""
    size = path.stat().st_size
    if size < header.offset + header.size:
        raise ValueError(
            f"{path} is cut short: {size} bytes where {header.offset + header.size} belong; make "
            "or fetch it again"
        )
