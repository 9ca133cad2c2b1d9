"""Frames (T,C,H,W) that are read when they are asked for; their size, and their missing values.

Missing values are NaN, so frames that have any are floats.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FLOAT32 = np.dtype(np.float32)


class Frames(ABC):
    """Frames that lie in memory or in a file, or are decoded on the way.

    A reader says `shape` and `dtype` when it opens its file, and reads stretches in `read`:
    `frames[3:7]`, `frames[-1]` and `np.asarray(frames)` follow from that.

    Attributes:
        shape: (T,C,H,W).
        dtype: of what `read` gives.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    _broken: AbstractSet[int] = frozenset()  # a reader that finds damaged frames has a set here

    @abstractmethod
    def read(self, first: int, last: int) -> np.ndarray:
        """Frames `first` to `last`, without the last: an array (last - first, C,H,W).

        Raises:
            ValueError: what a file holds cannot be read.
        """

    @property
    def broken(self) -> set[int]:
        """Numbers of the frames that could not be decoded so far, and for which a neighbour
        stands in.
        """
        return set(self._broken)

    def part(self, first: int, last: int) -> "Frames":
        """Frames `first` to `last`, not read yet."""
        return Part(self, first, last)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frame by frame, each (C,H,W)."""
        for k in range(len(self)):
            yield self.read(k, k + 1)[0]

    def __getitem__(self, key: Any, /) -> np.ndarray:
        """As numpy has it, but that time is cut by a slice without a step, or by one number:
        frames[3:7], frames[-1], frames[3:7, :, 10:20, 30:40].

        Raises:
            ValueError: a step; what `read` raises.
            IndexError: a number that no frame has.
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
    """Frames that lie in memory; they are cut as numpy cuts them.

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
        return ArrayFrames(self.values[first:last], Part(self, first, last).broken)

    def __getitem__(self, key: Any, /) -> np.ndarray:
        return self.values[key]


FramesLike = Frames | np.ndarray  # what functions take that only look at frames


@runtime_checkable
class HasSlices(Protocol):
    """What becomes frames though it is none of ours, such as a dataset of h5py."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, when: slice, /) -> np.ndarray: ...


class Sliced(Frames):
    """Frames of anything that has a shape, a dtype and slices."""

    def __init__(self, source: HasSlices) -> None:
        self.source, self.shape, self.dtype = source, tuple(source.shape), source.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        return np.asarray(self.source[first:last])


def as_frames(values: FramesLike | Tensor | HasSlices) -> Frames:
    """Frames as they are; an array, a tensor, or whatever else has a shape, a dtype and slices."""
    if isinstance(values, Frames):
        return values
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return ArrayFrames(values) if isinstance(values, np.ndarray) else Sliced(values)


class FirstChannels(Frames):
    """The first channels of others."""

    def __init__(self, source: Frames, channels: int) -> None:
        t, _, h, w = source.shape
        self.source, self.shape, self.dtype = source, (t, channels, h, w), source.dtype

    @property
    def broken(self) -> set[int]:
        return self.source.broken

    def read(self, first: int, last: int) -> np.ndarray:
        return self.source.read(first, last)[:, : self.shape[1]]


class Part(Frames):
    """Frames `first` to `last` of others."""

    def __init__(self, source: Frames, first: int, last: int) -> None:
        self.source, self.first = source, first
        self.shape, self.dtype = (last - first, *source.shape[1:]), source.dtype

    @property
    def broken(self) -> set[int]:
        return {k - self.first for k in self.source.broken if 0 <= k - self.first < len(self)}

    def read(self, first: int, last: int) -> np.ndarray:
        return self.source.read(self.first + first, self.first + last)

    def part(self, first: int, last: int) -> Frames:
        return self.source.part(self.first + first, self.first + last)


class Joined(Frames):
    """The frames of several sources of one shape and dtype, one after the other."""

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
        for start, source in zip(self._starts, self.sources, strict=False):
            begin, end = max(0, first - start), min(len(source), last - start)
            if begin < end:
                found.append(source.read(begin, end))
        return np.concatenate(found)


def resized(frames: np.ndarray, height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """(t,C,H,W) -> (t,C,height,width): means of the pixels covered where it shrinks, bilinear where
    it grows. A pixel is missing where more than half of what it covers is.
    """
    h, w = frames.shape[-2:]
    if (h, w) == (height, width):
        return frames.astype(dtype, copy=False)
    # a copy: torch warns of read-only arrays
    x = torch.from_numpy(np.array(frames, dtype=np.float32, order="C"))
    known = x.isfinite()
    if known.all():
        y = _interpolate(x, height, width)
    else:
        share = _interpolate(known.float(), height, width)
        y = _interpolate(x.nan_to_num(0.0), height, width) / share
        y[share < 0.5 - 1e-6] = torch.nan  # less the rounding of the shares
    out = y.numpy()
    if dtype.kind in "iu":
        out = out.round().clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return out.astype(dtype, copy=False)


def _interpolate(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[-2] % height == 0 and x.shape[-1] % width == 0:  # whole blocks: their plain means
        return F.avg_pool2d(x, (x.shape[-2] // height, x.shape[-1] // width))
    return F.interpolate(
        x, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )


def fill_missing(
    frames: Float[Tensor, "b t c h w"], last: Float[Tensor, "b c h w"] | None = None
) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b c h w"]]:
    """What a network is shown where values are missing (NaN): the last value seen at that pixel, or
    0 before there was one.

    Args:
        frames: NaN where a value is missing.
        last: what came out before, for frames that go on from others.

    Returns:
        The frames without NaN, and the last value seen at each pixel, NaN where there never was
        one.
    """
    if last is None and not frames.isnan().any():
        return frames, frames[:, -1]
    filled = []
    for frame in frames.unbind(dim=1):
        last = frame if last is None else torch.where(frame.isnan(), last, frame)
        filled.append(last)
    assert last is not None
    return torch.stack(filled, dim=1).nan_to_num(0.0), last


def missing_where_unseen(
    forecast: Float[Tensor, "b s c h w"], last: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b s c h w"]:
    """The forecast, NaN where the past never held a value; `last` as `fill_missing` gives it."""
    return torch.where(last.isnan().unsqueeze(1), torch.nan, forecast)
