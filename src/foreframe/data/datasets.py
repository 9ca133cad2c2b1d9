"""Datasets of clips for training and scoring, and an adapter for any other Dataset."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from foreframe.base.wording import described
from foreframe.clips.clip import Window, check_frames
from foreframe.clips.scaling import Scaling

Key = int | tuple[int, int]  # index, or (epoch, index)


class Stretches(NamedTuple):
    """Positions of clips in recordings that are read in stretches.

    Args:
        numbers: (n,) the number, from 0, of the stretch with the first frame of each clip.
        at_once: number of stretches that fit into memory.
    """

    numbers: np.ndarray
    at_once: int


class ClipSet(Dataset):
    """Clips (T,C,H,W), float32, and their common properties.

    Attributes:
        name: name for messages.
        scaling: scaling from data units to the values of the clips.
        bounded: all values are in [0,1], and none is missing; otherwise missing values are NaN.
        ordered: neighbours are similar, so a selection of clips is spread evenly.
        by_epoch: keys may be (epoch, index), and each epoch has other clips.
        inputs: number of input channels, the last ones, which are not forecast.
    """

    name: str = "data"
    scaling: Scaling = Scaling()
    bounded: bool = True
    ordered: bool = False
    by_epoch: bool = False
    inputs: int = 0

    def __len__(self) -> int:
        raise NotImplementedError

    def dtype_of(self, index: int) -> np.dtype:
        """Return the dtype of a clip's frames in the file, such as 8 bits for 0 to 255."""
        return np.dtype(np.float32)

    def values(self, index: int) -> Shaped[np.ndarray, "t c h w"]:
        """Return the frames of a clip with the values of its file."""
        return np.asarray(self[index])

    def stretches(self) -> Stretches | None:
        """Return the stretches to read together; None if clips are fast to read in any order."""
        return None

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t c h w"]:
        """Return clips of one shape, stacked and checked; raises as `collate`."""
        return collate([self[key] for key in keys], self.name, self.bounded)

    def compact(self, keys: Sequence[Key]) -> Shaped[Tensor, "b t c h w"]:
        """Return a batch for training: bytes for 0 to 1 if that is exact."""
        return self.batch(keys)


class ForeignClips(ClipSet):
    """A user's Dataset as a `ClipSet`, all of it or some of its items.

    The Dataset may have the attributes `scaling`, `ordered`, `by_epoch`, `inputs`, `scaled` (values
    beyond [0,1] and NaN), and `as_uint8(keys)` (clips in bytes).

    Args:
        of: a map-style Dataset, with `__len__` and `__getitem__`.
        name: name for messages.
        items: numbers of the items; None for all.

    Raises:
        ValueError: no map-style Dataset.
    """

    def __init__(self, of: Any, name: str, items: range | None = None) -> None:
        check_map_style(of, name)
        self.name = name
        self.of = of if items is None else Subset(of, items)
        self.scaling = getattr(of, "scaling", None) or Scaling()
        self.bounded = not getattr(of, "scaled", False)
        self.ordered = getattr(of, "ordered", False)
        self.inputs = getattr(of, "inputs", 0)
        self.by_epoch = items is None and getattr(of, "by_epoch", False)
        self._fetch = getattr(self.of, "__getitems__", None)  # as a DataLoader does
        self._bytes = getattr(self.of, "as_uint8", None)

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, key: Any) -> Any:
        return self.of[key]

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t c h w"]:
        if self._fetch is None:
            return super().batch(keys)
        return collate(self._fetch(keys), self.name, self.bounded)

    def compact(self, keys: Sequence[Key]) -> Shaped[Tensor, "b t c h w"]:
        return self.batch(keys) if self._bytes is None else torch.as_tensor(self._bytes(keys))


def clip_set(dataset: Any, name: str = "data") -> ClipSet:
    """Return any map-style Dataset as a `ClipSet`."""
    return dataset if isinstance(dataset, ClipSet) else ForeignClips(dataset, name)


def check_map_style(dataset: Any, name: str) -> None:
    """Raise a ValueError for a Dataset without items by number."""
    sized = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, IterableDataset) or not sized:
        kind = type(dataset).__name__
        raise ValueError(
            f"data {name}: a {kind} is no map-style torch Dataset, with __len__ and __getitem__"
        )


def check_first_clip(dataset: Any, window: Window, channels: int | None, data: str) -> None:
    """Check item 0 before a model is built.

    Raises:
        ValueError: it is not float32 (T,C,H,W) in [0,1] with the model's channels and at least the
            window's frames. Clips that are not `bounded` may have other values and NaN.
    """
    try:
        clip = dataset[0]
    except Exception as error:
        raise ValueError(f"data {data}, item 0: {described(error)}") from error
    if isinstance(clip, Tensor | np.ndarray) and clip.ndim != 4:
        raise ValueError(
            f"data {data}: item 0 has shape {tuple(clip.shape)}; an item is one clip (T,C,H,W), "
            "and one recording is an array: numpy.stack(frames)"
        )
    frames = _checked(clip, f"{data}, item 0", clip_set(dataset).bounded, channels)
    try:
        window.split(frames.unsqueeze(0))
    except ValueError as error:
        raise ValueError(f"data {data}, item 0: {error}") from None


def _checked(frames: Any, name: str, bounded: bool, channels: int | None = None) -> Tensor:
    low, high = (0.0, 1.0) if bounded else (-np.inf, np.inf)
    what = f"data {name}"
    return check_frames(
        frames, channels=channels, low=low, high=high, missing=not bounded, what=what
    )


def collate(
    clips: Sequence[Any] | Tensor, name: str = "", bounded: bool = True
) -> Float[Tensor, "b t c h w"]:
    """Return clips as one checked batch; a Tensor is not copied.

    Args:
        clips: clips of one shape.
        name: name of the data, for messages.
        bounded: whether all values must be in [0,1].

    Raises:
        ValueError: clips of different shapes; errors of `check_frames`.
    """
    if not isinstance(clips, Tensor):
        try:
            clips = torch.stack([torch.as_tensor(clip) for clip in clips])
        except RuntimeError as error:
            raise ValueError(f"data {name}: clips of one batch are unlike: {error}") from None
    return _checked(clips, name, bounded)


def chosen(
    dataset: Any, limit: int | None = None, among: Sequence[int] | None = None
) -> Sequence[int]:
    """Return the numbers of at most `limit` clips, of all or `among` some: the first clips, or, if
    neighbours are similar, evenly spread clips.
    """
    items = range(len(dataset)) if among is None else among
    if limit is None or limit >= len(items):
        return items
    if not clip_set(dataset).ordered:
        return items[:limit]
    return [items[k] for k in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def batches(
    dataset: Any,
    batch_size: int,
    limit: int | None = None,
    among: Sequence[int] | None = None,
) -> Iterator[Float[Tensor, "b t c h w"]]:
    """Yield the `chosen` clips of any Dataset in batches."""
    clips, keys = clip_set(dataset), chosen(dataset, limit, among)
    for start in range(0, len(keys), batch_size):
        yield clips.batch(keys[start : start + batch_size])
