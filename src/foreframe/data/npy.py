"""Arrays in .npy files, read in stretches."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foreframe.base.budget import check_budget, check_stretch
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET

# Bytes of a header: numpy would first read the stated number, up to 4 GiB.
_LONGEST = 2**16


class Header(NamedTuple):
    """Header of a .npy file.

    Args:
        shape: shape of the array.
        dtype: dtype of the stored values.
        fortran: whether the values are in Fortran order.
        offset: bytes before the first value.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Number of bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: Any) -> Header:
    """Read the header at the start of a .npy file, in an archive or a pipe too.

    Raises:
        ValueError: no valid header.
    """
    magic = file.read(8)
    width = 2 if magic[6:7] == b"\1" else 4
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    # Version 3 differs from 2 only in names of fields, which frames do not have.
    read = getattr(np.lib.format, f"read_array_header_{width // 2}_0")
    try:
        if magic[:6] != b"\x93NUMPY" or length > _LONGEST:
            raise ValueError
        shape, fortran, dtype = read(io.BytesIO(prefix + file.read(length)))
        if min(shape, default=0) < 0:
            raise ValueError
    except Exception:  # parsing raises many types
        raise ValueError("it has no header of a .npy file") from None
    return Header(shape, dtype, fortran, 8 + width + length)


def header_of(path: Path) -> Header:
    """Return the header of a complete .npy file.

    Raises:
        ValueError: no valid header, or a truncated file.
    """
    with path.open("rb") as file:
        header = read_header(file)
    if path.stat().st_size < header.offset + header.size and not header.dtype.hasobject:
        raise ValueError("it is truncated; make or download it again")
    return header


def check_numbers(dtype: np.dtype) -> None:
    """Raise a ValueError for values that are not numbers."""
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"it has {dtype}, not numbers; use float32")


def read_array(file: Any, budget: float = BUDGET) -> np.ndarray:
    """Read the next array of a file or a pipe, in native byte order.

    Raises:
        ValueError: no array of numbers, more than the budget.
        EOFError: a truncated array.
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


@dataclass(eq=False)
class NpyFrames(Frames):
    """Frames (T,C,H,W) in a .npy file, in native byte order. Indexing reads the selected values
    only.

    The file is mapped into memory only while a slice is copied, so threads and worker processes may
    read it, and no page stays in memory.

    Args:
        path: the file.
        shape: (T,C,H,W).
        stored: dtype in the file.
        offset: bytes before the first frame.
        budget: GiB for a slice.
        damaged: numbers of the frames that could not be decoded when the file was written.

    Raises:
        ValueError: on indexing, a file that is shorter now; more than the budget.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    budget: float = BUDGET
    damaged: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.dtype, self._broken = self.stored.newbyteorder("="), self.damaged

    def reshape(self, shape: tuple[int, ...]) -> "NpyFrames":
        return replace(self, shape=shape)

    def part(self, first: int, last: int) -> "NpyFrames":
        offset = self.offset + first * math.prod(self.shape[1:]) * self.stored.itemsize
        damaged = frozenset(k - first for k in self.damaged if first <= k < last)
        shape = (last - first, *self.shape[1:])
        return replace(self, shape=shape, offset=offset, damaged=damaged)

    def read(self, first: int, last: int) -> np.ndarray:
        return self[first:last]

    def __getitem__(self, key: Any, /) -> np.ndarray:
        try:
            frames = np.memmap(self.path, self.stored, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.path} is no longer readable ({error}); start again when it is complete"
            ) from None
        taken = frames[key]
        check_stretch(taken.shape, self.stored.itemsize, self.budget)
        return np.array(taken, self.dtype)


def frames_in(path: Path, header: Header, budget: float = BUDGET) -> NpyFrames:
    """Return the frames of a file with an array (T,C,H,W) in C order."""
    return NpyFrames(path.absolute(), header.shape, header.dtype, header.offset, budget=budget)
