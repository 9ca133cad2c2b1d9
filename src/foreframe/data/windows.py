"""From any Dataset of clips to checked batches."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from foreframe.clip import Window, check_frames
from foreframe.data.arrays import ArrayClips, published_moving_mnist, split_block
from foreframe.data.moving_mnist import MovingMNIST


def open_dataset(data: str, split: str, window: Window, args: Mapping[str, Any] | None = None) -> Dataset:
    """The Dataset of clips that a name stands for.

    Args:
        data: "moving_mnist"; "moving_mnist_published"; a .npy or .npz file of clips; or the import path of any Dataset (or of a
            function that makes one), such as "mypackage.radar.Storms".
        split: "train", "validation" or "test". An imported Dataset that takes a `split` argument is given it; any other is cut
            into blocks of items, 80, 10 and 10 %, in its own order.
        window: clips are drawn this long where that can be chosen.
        args: keyword arguments of the Dataset.

    Raises:
        ValueError: unknown name, import or arguments, or something that is no map-style Dataset of clips.
    """
    args = dict(args or {})
    if data == "moving_mnist":
        return _call(MovingMNIST, data, {"split": split, "length": window.length} | args)
    if data == "moving_mnist_published":
        if split in ("train", "validation"):
            raise ValueError("moving_mnist_published is a test set: train on data moving_mnist")
        return _call(published_moving_mnist, data, args)
    if data.endswith((".npy", ".npz")):
        return _call(ArrayClips, data, {"path": data, "split": split} | args)
    make = _imported(data)
    by_split = callable(make) and "split" in inspect.signature(make).parameters
    dataset = _call(make, data, ({"split": split} if by_split else {}) | args) if callable(make) else make
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ValueError(f"data {data}: a {type(dataset).__name__} is no map-style torch Dataset, with __len__ and __getitem__")
    if not by_split:
        block = split_block(len(dataset), split)
        dataset = Subset(dataset, range(block.start, block.stop))
        if len(dataset) == 0:
            raise ValueError(
                f"data {data}: its items are too few to leave one for {split}; a `split` argument gives you the choice"
            )
    return dataset


def _call(make: Any, data: str, args: dict[str, Any]) -> Any:
    known = inspect.signature(make).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name in args:
        if name not in known and not open_ended:
            close = get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else f"; it takes {', '.join(known)}"
            raise ValueError(f"data {data} takes no argument {name!r}{meant}")
    try:
        return make(**args)
    except (ValueError, OSError):
        raise
    except Exception as error:  # somebody else's code may raise anything
        raise ValueError(f"data {data}: {_named(error)}") from error


def _imported(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise ValueError(f"data {path!r} is unknown; give moving_mnist, a .npy or .npz file, or an import path such as pkg.Clips")
    if os.getcwd() not in sys.path:  # a file beside the user is meant to be found, as `python -m` would
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs somebody else's code, which may raise anything
        raise ValueError(f"data {path}: cannot import it ({_named(error)})") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_first_clip(dataset: Dataset, window: Window, channels: int | None, data: str) -> None:
    """Look at item 0 before anything heavy is built.

    Raises:
        ValueError: when it is no float32 (T,C,H,W) in [0,1] with the model's channels and at least the window's frames.
    """
    try:
        clip = dataset[0]
    except Exception as error:
        raise ValueError(f"data {data}, item 0: {_named(error)}") from error
    if isinstance(clip, Tensor | np.ndarray) and clip.ndim != 4:
        raise ValueError(f"data {data}: item 0 has shape {tuple(clip.shape)}; an item is one clip (T,C,H,W)")
    frames = check_frames(clip, channels=channels, what=f"data {data}, item 0")
    try:
        window.split(frames.unsqueeze(0))
    except ValueError as error:
        raise ValueError(f"data {data}, item 0: {error}") from None


def collate(clips: Sequence[Any] | Tensor, what: str = "data") -> Float[Tensor, "b t c h w"]:
    """Items to one checked batch. What `__getitems__` has already stacked is not copied. `what` names the data in messages.

    Raises:
        ValueError: items of different shapes, or frames that `check_frames` refuses.
    """
    if not isinstance(clips, Tensor):
        tensors = [torch.as_tensor(clip) for clip in clips]
        shapes = {tuple(one.shape) for one in tensors}
        if len(shapes) > 1:
            raise ValueError(f"{what}: clips of one batch have different shapes: {' and '.join(map(str, sorted(shapes)))}")
        clips = torch.stack(tensors)
    return check_frames(clips, what=what)


def batches(
    dataset: Dataset, batch_size: int, limit: int | None = None, what: str = "data"
) -> Iterator[Float[Tensor, "b t c h w"]]:
    """A Dataset's clips in order, at most `limit` of them, in batches; `what` names the data in messages."""
    n = len(dataset) if limit is None else min(limit, len(dataset))  # type: ignore[arg-type]
    yield from DataLoader(Subset(dataset, range(n)), batch_size=batch_size, collate_fn=partial(collate, what=what))
