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

    The file is opened for each slice, and big frames are mapped into memory for as long as it takes
    to copy some of their rows: threads, forked and spawned workers may read at once, and no page
    that was looked at stays.

    Args:
        path: of the file.
        shape: (T,C,H,W).
        stored: dtype in the file.
        offset: where the first frame begins, in bytes.
        step: bytes from the start of a frame to the start of the next.
        budget: GiB that a slice may take.
        damaged: numbers of the frames that could not be decoded when they were stored.

    Raises:
        ValueError: on slicing, a step; a file that is shorter now; more than the budget.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    step: int
    budget: float = BUDGET
    damaged: frozenset[int] = frozenset()
    dtype: np.dtype = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.stored.newbyteorder("="))

    @property
    def broken(self) -> set[int]:
        return set(self.damaged)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.shape[1:]) * self.stored.itemsize

    def part(self, first: int, last: int) -> "NpyFrames":
        shape = (last - first, *self.shape[1:])
        damaged = frozenset(k - first for k in self.damaged if first <= k < last)
        return replace(self, offset=self.offset + first * self.step, shape=shape, damaged=damaged)

    def read(self, first: int, last: int) -> np.ndarray:
        shape = (last - first, *self.shape[1:])
        check_stretch(shape, self.stored.itemsize, self.budget)
        frames = np.empty(shape, self.stored)
        # Between the frames of a clip those of others may lie; one call reads 2 GiB at most.
        at_once = self.step == self.frame_bytes and frames.nbytes < 2**31
        pieces = [frames] if at_once else list(frames)
        try:
            with open(self.path, "rb", buffering=0) as file:
                for k, piece in enumerate(pieces, first):
                    file.seek(self.offset + k * self.step)
                    if file.readinto(piece.reshape(-1).view(np.uint8).data) < piece.nbytes:
                        raise ValueError("it ends in the middle of a frame")
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        return frames.astype(self.dtype, copy=False)

    def __getitem__(self, key: Any, /) -> np.ndarray:
        """As any frames, but that frames[3:7, :, 10:20, 30:40] reads few rows of big frames."""
        if not (isinstance(key, tuple) and self._are_few_rows(key)):
            return super().__getitem__(key)
        when, *inside = key
        first, last, _ = when.indices(len(self))
        shape = (last - first, *self.shape[1:])
        try:
            frames = np.memmap(self.path, self.stored, "r", self.offset + first * self.step, shape)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        taken = frames[(slice(None), *inside)]
        check_stretch(taken.shape, self.stored.itemsize, self.budget)
        return np.array(taken, self.dtype)

    def _are_few_rows(self, key: tuple[Any, ...]) -> bool:
        """Whether it is quicker to look up some rows of each frame than to read all of it."""
        if len(key) != 4 or not all(isinstance(k, slice) and k.step in (None, 1) for k in key):
            return False
        frames, rows = (range(n)[k] for n, k in zip(self.shape[::2], key[::2], strict=True))
        left_out = (self.shape[2] - len(rows)) * self.shape[3] * self.stored.itemsize
        return len(frames) > 0 and self.step == self.frame_bytes and left_out > _JUMP

    def _unreadable(self, error: Exception) -> ValueError:
        reason = getattr(error, "strerror", None) or error
        return ValueError(
            f"{self.path} cannot be read any more ({reason}); start again when it is whole"
        )


def frames_in(path: Path, header: Header, budget: float = BUDGET) -> NpyFrames:
    """The frames of a file whose array is (T,C,H,W) in C order."""
    step = math.prod(header.shape[1:]) * header.dtype.itemsize
    return NpyFrames(path.absolute(), header.shape, header.dtype, header.offset, step, budget)
