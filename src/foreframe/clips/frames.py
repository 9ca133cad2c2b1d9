"""Frames (T,C,H,W) that are read on demand; their size, and their missing values.

Missing values are NaN, so frames with missing values are floats.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FLOAT32 = np.dtype(np.float32)


class Frames(ABC):
    """Frames in memory or in a file, read or decoded on demand.

    A reader sets `shape` and `dtype` when it opens its file and implements `read`; `frames[3:7]`,
    `frames[-1]` and `np.asarray(frames)` are derived from that.

    Attributes:
        shape: (T,C,H,W).
        dtype: dtype of the arrays from `read`.
        chunk: number of frames that are stored together, so that reading one takes as long as all
            of them; 0 if that does not matter.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: int = 0
    source: Any = None  # other frames, each of which becomes one of these
    _broken: AbstractSet[int] = frozenset()

    @abstractmethod
    def read(self, first: int, last: int) -> np.ndarray:
        """Frames `first` to `last`, excluding `last`: an array (last - first, C,H,W).

        Raises:
            ValueError: the file cannot be read.
        """

    @property
    def broken(self) -> set[int]:
        """Numbers of the frames that could not be decoded so far; neighbours replace them."""
        return set(self._broken if self.source is None else self.source.broken)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def part(self, first: int, last: int) -> "Frames":
        """Frames `first` to `last`, not read yet."""
        return Section(self, first, last)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frame by frame, each (C,H,W)."""
        for k in range(len(self)):
            yield self.read(k, k + 1)[0]

    def __getitem__(self, key: Any, /) -> Any:
        """Index like numpy, with an integer or a slice without a step for the time: frames[3:7],
        frames[-1], frames[3:7, :, 10:20, 30:40]; four integers give a number.

        Raises:
            ValueError: a step; errors of `read`.
            IndexError: no such frame.
        """
        when, *inside = key if isinstance(key, tuple) else (key,)
        if isinstance(when, slice) and when.step in (None, 1):
            first, last, _ = when.indices(len(self))
            return self.read(first, max(first, last))[(slice(None), *inside)]
        if isinstance(when, int | np.integer):
            k = range(len(self))[when]
            return self.read(k, k + 1)[(0, *inside)]
        raise ValueError(f"frames are read by slices without a step, frames[3:7], not by {key}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.read(0, len(self))
        return np.array(whole, dtype) if copy else np.asarray(whole, dtype)


class ArrayFrames(Frames):
    """Frames in memory.

    Args:
        values: (T,C,H,W), not copied.
        broken: numbers of the frames that could not be decoded.
    """

    def __init__(self, values: np.ndarray, broken: AbstractSet[int] = frozenset()) -> None:
        self.values, self._broken = values, broken
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        return self.values[first:last]

    def part(self, first: int, last: int) -> Frames:
        return ArrayFrames(self.values[first:last], Section(self, first, last).broken)

    def __getitem__(self, key: Any, /) -> Any:
        return self.values[key]


FramesLike = Frames | np.ndarray  # for functions that only read frames


def as_frames(values: FramesLike | Tensor) -> Frames:
    """Return an array or a tensor as frames in memory; frames are returned unchanged."""
    if isinstance(values, Frames):
        return values
    return ArrayFrames(values.detach().cpu().numpy() if isinstance(values, Tensor) else values)


class FirstChannels(Frames):
    """The first channels of other frames."""

    def __init__(self, source: Frames, channels: int) -> None:
        t, _, h, w = source.shape
        self.source, self.shape, self.dtype = source, (t, channels, h, w), source.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        return self.source.read(first, last)[:, : self.shape[1]]


class Section(Frames):
    """Frames `first` to `last` of other frames."""

    def __init__(self, source: Frames, first: int, last: int) -> None:
        self.source, self.first, self.chunk = source, first, source.chunk
        self.shape, self.dtype = (last - first, *source.shape[1:]), source.dtype

    @property
    def broken(self) -> set[int]:
        return {k - self.first for k in self.source.broken if 0 <= k - self.first < len(self)}

    def read(self, first: int, last: int) -> np.ndarray:
        return self.source.read(self.first + first, self.first + last)

    def part(self, first: int, last: int) -> Frames:
        return self.source.part(self.first + first, self.first + last)


class Concatenated(Frames):
    """The frames of several sources of equal shape and dtype, one after the other."""

    def __init__(self, sources: Sequence[Frames]) -> None:
        self.sources = tuple(sources)
        self._starts = list(accumulate(map(len, self.sources), initial=0))
        self.shape = (self._starts[-1], *self.sources[0].shape[1:])
        self.dtype = self.sources[0].dtype

    @property
    def broken(self) -> set[int]:
        placed = zip(self._starts, self.sources, strict=False)  # the last start is the end
        return {start + k for start, source in placed for k in source.broken}

    def read(self, first: int, last: int) -> np.ndarray:
        found = [np.empty((0, *self.shape[1:]), self.dtype)]
        some = slice(bisect_right(self._starts, first) - 1, bisect_left(self._starts, last))
        for start, source in zip(self._starts[some], self.sources[some], strict=False):
            begin, end = max(0, first - start), min(len(source), last - start)
            if begin < end:
                found.append(source.read(begin, end))
        return np.concatenate(found)


def resized(frames: np.ndarray, height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Resize (t,C,H,W) to (t,C,height,width): shrink by averages over the covered pixels, enlarge
    bilinearly. A pixel is missing if more than half of its area is missing.
    """
    h, w = frames.shape[-2:]
    if (h, w) == (height, width):
        return frames.astype(dtype, copy=False)
    # A copy, because torch warns of read-only arrays.
    x = torch.from_numpy(np.array(frames, dtype=np.float32, order="C"))
    known = x.isfinite()
    if known.all():
        y = _interpolate(x, height, width)
    else:
        share = _interpolate(known.float(), height, width)
        y = _interpolate(x.nan_to_num(0.0), height, width) / share
        y[share < 0.5 - 1e-6] = torch.nan  # allows for the rounding of shares
    out = y.numpy()
    if dtype.kind in "iu":
        out = out.round().clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return out.astype(dtype, copy=False)


def _interpolate(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[-2] % height == 0 and x.shape[-1] % width == 0:  # whole blocks: plain means
        return F.avg_pool2d(x, (x.shape[-2] // height, x.shape[-1] // width))
    return F.interpolate(
        x, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )


def fill_missing(
    frames: Float[Tensor, "b t c h w"], last: Float[Tensor, "b c h w"] | None = None
) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b c h w"]]:
    """Replace missing values (NaN) by the last known value of the pixel, or by 0 before the first.

    Args:
        frames: NaN for missing values.
        last: the second result for the previous frames.

    Returns:
        The frames without NaN, and the last known value of each pixel, NaN if there was none.
    """
    if last is None and not frames.isnan().any():
        return frames, frames[:, -1]
    complete = []
    for frame in frames.unbind(dim=1):
        last = frame if last is None else torch.where(frame.isnan(), last, frame)
        complete.append(last)
    assert last is not None
    return torch.stack(complete, dim=1).nan_to_num(0.0), last


def missing_where_unseen(
    forecast: Float[Tensor, "b s c h w"], last: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b s c h w"]:
    """Return the forecast with NaN for pixels without a past value; `last` from `fill_missing`."""
    return torch.where(last.isnan().unsqueeze(1), torch.nan, forecast)
