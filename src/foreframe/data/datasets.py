"""The Datasets that training and scoring read, and an adapter for any other Dataset."""

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
    """How clips lie in a recording that is read piece by piece.

    Args:
        numbers: (n,) for each clip the number, from 0, of the stretch of frames that it begins in.
        at_once: how many stretches there is memory for.
    """

    numbers: np.ndarray
    at_once: int


class ClipSet(Dataset):
    """Clips (T,C,H,W), float32, and what must be known of all of them.

    Attributes:
        name: in messages.
        scaling: from the data's own units to the numbers of the clips.
        bounded: clips lie in [0,1] and no value is missing; others may leave it and hold NaN.
        ordered: neighbours are alike, so that a part of them is taken evenly spread.
        by_epoch: keys may be (epoch, index), and each epoch has other clips.
        inputs: how many channels, the last ones, a model sees and does not forecast.
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
        """Of the frames that a clip was made of: 8-bit pictures are 0 to 255 in files, whatever the
        clip's own numbers are.
        """
        return np.dtype(np.float32)

    def values(self, index: int) -> Shaped[np.ndarray, "t c h w"]:
        """The frames of a clip in the numbers of its file, where these are not its own."""
        return np.asarray(self[index])

    def later(self, skip: int, scaling: Scaling) -> "ClipSet":
        """The same clips without their first `skip` frames; of recordings on another scale."""
        return LaterFrames(self, skip) if skip else self

    def stretches(self) -> Stretches | None:
        """What is read together; None where clips are as quick to get at in any order."""
        return None

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t c h w"]:
        """Clips of one shape, stacked and checked.

        Raises:
            ValueError: clips of different shapes, or what `check_frames` refuses.
        """
        return collate([self[key] for key in keys], self.name, self.bounded)

    def compact(self, keys: Sequence[Key]) -> Shaped[Tensor, "b t c h w"]:
        """The same for training: bytes, which stand for 0 to 1, where that loses nothing."""
        return self.batch(keys)


class LaterFrames(ClipSet):
    """Clips without their first `skip` frames."""

    def __init__(self, of: ClipSet, skip: int) -> None:
        self.of, self.skip = of, skip
        self.name, self.scaling, self.bounded = of.name, of.scaling, of.bounded
        self.ordered, self.inputs = of.ordered, of.inputs

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, key: Any) -> Any:
        return self.of[key][self.skip :]

    def dtype_of(self, index: int) -> np.dtype:
        return self.of.dtype_of(index)

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t c h w"]:
        return self.of.batch(keys)[:, self.skip :]


class ForeignClips(ClipSet):
    """A Dataset of somebody else's as a `ClipSet`, all of it or some of its items.

    What it says of itself, it says by attributes: `scaling`, `ordered`, `by_epoch`, `inputs`,
    `scaled` (clips may leave [0,1] and hold NaN), `as_uint8(keys)` (clips in bytes); none of them
    is needed.

    Args:
        of: map-style: with `__len__` and `__getitem__`.
        name: in messages.
        items: their numbers; None for all.

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
        self._fetch = getattr(self.of, "__getitems__", None)  # what a DataLoader asks for
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
    """Any map-style Dataset as a `ClipSet`, which a `ClipSet` is already."""
    return dataset if isinstance(dataset, ClipSet) else ForeignClips(dataset, name)


def check_map_style(dataset: Any, name: str) -> None:
    """Refuse what has no items by number.

    Raises:
        ValueError: it has none.
    """
    sized = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, IterableDataset) or not sized:
        kind = type(dataset).__name__
        raise ValueError(
            f"data {name}: a {kind} is no map-style torch Dataset, with __len__ and __getitem__"
        )


def check_first_clip(dataset: Any, window: Window, channels: int | None, data: str) -> None:
    """Look at item 0 before anything heavy is built.

    Raises:
        ValueError: when it is no float32 (T,C,H,W) in [0,1] with the model's channels and at least
            the window's frames. Clips that are not `bounded` may leave [0,1], and hold NaN where a
            value is missing.
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
    """Clips as one checked batch. What is stacked already is not copied.

    Args:
        clips: of one shape.
        name: of the data, in messages.
        bounded: whether they must lie in [0,1] and no value be missing.

    Raises:
        ValueError: clips of different shapes, or frames that `check_frames` refuses.
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
    """Which clips, of all or `among` some, are scored when at most `limit` are: the first, or,
    where neighbours are alike, evenly spread clips.
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
    """The clips of any Dataset, of all or `among` some at most `limit`, in batches."""
    clips, keys = clip_set(dataset), chosen(dataset, limit, among)
    for start in range(0, len(keys), batch_size):
        yield clips.batch(keys[start : start + batch_size])
