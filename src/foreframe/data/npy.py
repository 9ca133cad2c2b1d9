"""Arrays in .npy files, read a stretch at a time."""

import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from foreframe.base.budget import check_budget, check_stretch
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import Frames

# Bytes of a header: numpy would read as many as it says, 4 GiB at most, and then look at them.
_LONGEST = 2**16


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


def header_of(path: Path) -> Header:
    """The header of a .npy file that is as long as it says.

    Raises:
        ValueError: no such header, or a file that was cut short.
    """
    with path.open("rb") as file:
        header = read_header(file)
    size, least = path.stat().st_size, header.offset + header.size
    if size < least and not header.dtype.hasobject:
        raise ValueError(
            f"{path} is cut short: {size} bytes where {least} belong; make or fetch it again"
        )
    return header


def check_numbers(dtype: np.dtype) -> None:
    """Refuse what no frames are made of (ValueError)."""
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"it holds {dtype}, not numbers that frames are made of; give float32")


def read_array(file: BinaryIO | Any, budget: float = BUDGET) -> np.ndarray:
    """The whole array that follows in a file or a pipe, which needs no more than `read`, in this
    machine's byte order.

    Raises:
        ValueError: no array of numbers, more than the budget.
        EOFError: the array ends in the middle.
    """
    header = read_header(file)
    check_numbers(header.dtype)
    what = f"an array of shape {header.shape}"
    check_budget(header.size, budget, what, "send one frame at a time")
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

    The file is mapped into memory for each slice, for as long as it takes to copy it: threads,
    forked and spawned workers may read at once, and no page that was looked at stays.

    Args:
        path: of the file.
        shape: (T,C,H,W).
        stored: dtype in the file.
        offset: where the first frame begins, in bytes.
        step: of the frames from there on, the first of each `step` is one of these.
        budget: GiB that a slice may take.
        damaged: numbers of the frames that could not be decoded when they were stored.

    Raises:
        ValueError: on slicing, a step; a file that is shorter now; more than the budget.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    step: int = 1
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
        return replace(self, offset=self._begin(first), shape=shape, damaged=damaged)

    def read(self, first: int, last: int) -> np.ndarray:
        return self._copied(first, last)

    def __getitem__(self, key: Any, /) -> np.ndarray:
        """As any frames, but that frames[3:7, :, 10:20, 30:40] reads few rows of big frames."""
        when, *inside = key if isinstance(key, tuple) else (key,)
        if not inside or not isinstance(when, slice) or when.step not in (None, 1):
            return super().__getitem__(key)
        first, last, _ = when.indices(len(self))
        return self._copied(first, last, *inside)

    def _begin(self, frame: int) -> int:
        """Where a frame begins in the file, in bytes."""
        size = math.prod(self.shape[1:]) * self.stored.itemsize
        return self.offset + frame * self.step * size

    def _copied(self, first: int, last: int, *inside: Any) -> np.ndarray:
        if last <= first:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *inside)]
        shape = ((last - first - 1) * self.step + 1, *self.shape[1:])
        try:
            frames = np.memmap(self.path, self.stored, "r", self._begin(first), shape)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{self.path} cannot be read any more ({reason}); start again when it is whole"
            ) from None
        taken = frames[(slice(None, None, self.step), *inside)]
        check_stretch(taken.shape, self.stored.itemsize, self.budget)
        return np.array(taken, self.dtype)


def frames_in(path: Path, header: Header, budget: float = BUDGET) -> NpyFrames:
    """The frames of a file whose array is (T,C,H,W) in C order."""
    return NpyFrames(path.absolute(), header.shape, header.dtype, header.offset, budget=budget)
