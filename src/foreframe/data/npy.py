"""Arrays in .npy files, read a stretch at a time."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foreframe.base.budget import check_budget, check_stretch
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET

# Bytes of a header: numpy would read as many as it says, 4 GiB at most, and then look at them.
_LONGEST = 2**16


class Header(NamedTuple):
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


def read_header(file: Any) -> Header:
    """The header at the start of a .npy file, of one inside an archive, or of one that comes out of
    a pipe.

    Raises:
        ValueError: no such header, or one that no array can have.
    """
    magic = file.read(8)
    width = 2 if magic[6:7] == b"\1" else 4
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    # Version 3 differs from 2 in the names of fields alone, and arrays with fields are no frames.
    read = getattr(np.lib.format, f"read_array_header_{width // 2}_0")
    try:
        if magic[:6] != b"\x93NUMPY" or length > _LONGEST:
            raise ValueError
        shape, fortran, dtype = read(io.BytesIO(prefix + file.read(length)))
        if min(shape, default=0) < 0:
            raise ValueError
    except Exception:  # of the half dozen kinds that parsing raises
        raise ValueError("it does not begin as a .npy file does") from None
    return Header(shape, dtype, fortran, 8 + width + length)


def header_of(path: Path) -> Header:
    """The header of a .npy file that is as long as it says.

    Raises:
        ValueError: no such header, or a file that was cut short.
    """
    with path.open("rb") as file:
        header = read_header(file)
    if path.stat().st_size < header.offset + header.size and not header.dtype.hasobject:
        raise ValueError("it is cut short; make or fetch it again")
    return header


def check_numbers(dtype: np.dtype) -> None:
    """Refuse what no frames are made of (ValueError)."""
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"it holds {dtype}, not numbers that frames are made of; give float32")


def read_array(file: Any, budget: float = BUDGET) -> np.ndarray:
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


@dataclass(eq=False)
class NpyFrames(Frames):
    """Frames (T,C,H,W) in a .npy file, in this machine's byte order; indexing, as numpy's, reads
    what it names and nothing else.

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
        ValueError: on indexing, a file that is shorter now; more than the budget.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    step: int = 1
    budget: float = BUDGET
    damaged: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.dtype, self._broken = self.stored.newbyteorder("="), self.damaged

    def part(self, first: int, last: int) -> "NpyFrames":
        offset = self.offset + first * self.step * math.prod(self.shape[1:]) * self.stored.itemsize
        damaged = frozenset(k - first for k in self.damaged if first <= k < last)
        shape = (last - first, *self.shape[1:])
        return replace(self, shape=shape, offset=offset, damaged=damaged)

    def read(self, first: int, last: int) -> np.ndarray:
        return self[first:last]

    def __getitem__(self, key: Any, /) -> np.ndarray:
        shape = ((len(self) - 1) * self.step + 1, *self.shape[1:])
        try:
            frames = np.memmap(self.path, self.stored, "r", self.offset, shape)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.path} cannot be read any more ({error}); start again when it is whole"
            ) from None
        taken = frames[:: self.step][key]
        check_stretch(taken.shape, self.stored.itemsize, self.budget)
        return np.array(taken, self.dtype)


def frames_in(path: Path, header: Header, budget: float = BUDGET) -> NpyFrames:
    """The frames of a file whose array is (T,C,H,W) in C order."""
    return NpyFrames(path.absolute(), header.shape, header.dtype, header.offset, budget=budget)
