"""From any Dataset of clips to checked batches."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from foreframe.clip import Window, check_frames
from foreframe.data.arrays import (
    ArrayClips,
    are_clips,
    data_name,
    holds_clips,
    is_xarray,
    published_moving_mnist,
    split_block,
)
from foreframe.data.moving_mnist import MovingMNIST
from foreframe.data.readers import SUFFIXES
from foreframe.data.windows import Recordings, recordings_from
from foreframe.scaling import Scaling
from foreframe.trained import IN_MEMORY
from foreframe.typed import brief, describe_type, is_plain, matches, type_hints
from foreframe.wording import closest


def open_dataset(
    data: Any,
    split: str,
    window: Window,
    args: Mapping[str, Any] | None = None,
    scaling: Scaling | None = None,
) -> Dataset:
    """The Dataset of clips that a name stands for, or that lie in memory.

    Args:
        data: "moving_mnist"; "moving_mnist_published"; a .npy or .npz file of clips; anything else
            that `foreframe.clips_from` opens, of which windows are cut (`Recordings`); or the
            import path of any Dataset (or of a function that makes one), such as
            "mypackage.radar.Storms". In memory: an array or tensor, taken as a .npy file of its
            shape is; an xarray object; a map-style Dataset; or one for each split, {"train": ...,
            "validation": ...}.
        split: "train", "validation" or "test". An imported Dataset that takes a `split` argument is
            given it; any other is cut into blocks of items, 80, 10 and 10 %, in its own order, and
            so is one in memory.
        window: clips are drawn this long where that can be chosen.
        args: keyword arguments of the Dataset.
        scaling: of a trained forecaster, in place of one fitted to these recordings.

    Raises:
        ValueError: unknown name, import or arguments, or something that is no map-style Dataset of
            clips.
    """
    args = dict(args or {})
    data = str(data) if isinstance(data, Path) else data
    if not isinstance(data, str):
        return _in_memory(data, split, window, args, scaling)
    if data.startswith(IN_MEMORY):
        raise ValueError(f"data {data}: that is its name; give the data themselves")
    if data == "moving_mnist":
        return _call(MovingMNIST, data, {"split": split, "length": window.length} | args)
    if data == "moving_mnist_published":
        if split in ("train", "validation"):
            raise ValueError("moving_mnist_published is a test set: train on data moving_mnist")
        return _call(published_moving_mnist, data, args)
    if _is_file_of_clips(data, args):
        return _call(ArrayClips, data, {"source": data, "split": split} | args)
    if is_recording(data, args):
        return _recordings(data, split, window, args, scaling)
    make = imported(data)
    by_split = callable(make) and "split" in inspect.signature(make).parameters
    dataset = (
        _call(make, data, ({"split": split} if by_split else {}) | args) if callable(make) else make
    )
    _check_map_style(dataset, data)
    return dataset if by_split else _Block(dataset, data, split)


def is_recording(data: str, args: Mapping[str, Any]) -> bool:
    """Whether windows are cut from what a name stands for: a file, a folder or a URL of
    recordings.
    """
    named = "://" in data or os.path.exists(data) or os.path.splitext(data)[1].lower() in SUFFIXES
    return named and not _is_file_of_clips(data, args)


def _is_file_of_clips(data: str, args: Mapping[str, Any]) -> bool:
    array = data.endswith((".npy", ".npz")) and os.path.isfile(data)
    return array and holds_clips(data, args.get("variable"))


def _in_memory(
    data: Any, split: str, window: Window, args: dict[str, Any], scaling: Scaling | None
) -> Dataset:
    name = data_name(data)
    array = isinstance(data, np.ndarray | Tensor)
    if is_xarray(data) or (array and not are_clips(data)):
        return _recordings(data, split, window, args, scaling)
    for given in args:
        raise ValueError(f"data {name} takes no argument {given!r}: it is used as it is")
    if array:
        return ArrayClips(data, split)
    if isinstance(data, Mapping):
        if split not in data:
            raise ValueError(f"data {name}: nothing for {split}; give {{{split!r}: a Dataset}} too")
        _check_map_style(data[split], f"{name}, {split}")
        return data[split]
    if isinstance(data, Recordings):
        raise ValueError(
            f"data {name}: windows that share frames cannot be cut into blocks; give what it "
            "reads, or "
            "one Recordings for each split, {'train': ..., 'validation': ...}"
        )
    _check_map_style(data, name)
    return _Block(data, name, split)


def _recordings(
    data: Any, split: str, window: Window, args: dict[str, Any], scaling: Scaling | None
) -> Recordings:
    if scaling is None:
        return recordings_from(data, split, window, args)
    recordings = recordings_from(data, split, window, args | {"scaling": scaling})
    recordings.check_range()
    return recordings


def _check_map_style(dataset: Any, name: str) -> None:
    sized = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, IterableDataset) or not sized:
        kind = type(dataset).__name__
        raise ValueError(
            f"data {name}: a {kind} is no map-style torch Dataset, with __len__ and __getitem__"
        )


class _Block(Subset):
    """The block of items that a split gets, with what the Dataset says of all of them."""

    def __init__(self, dataset: Any, name: str, split: str) -> None:
        block = split_block(len(dataset), split)
        if block.start == block.stop:
            raise ValueError(
                f"data {name}: its items are too few to leave one for {split}; a `split` argument "
                "gives you the choice"
            )
        super().__init__(dataset, range(block.start, block.stop))
        for said in ("scaled", "ordered", "scaling"):
            if hasattr(dataset, said):
                setattr(self, said, getattr(dataset, said))


def _call(make: Any, data: str, args: dict[str, Any]) -> Any:
    known = inspect.signature(make).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    hints = _plain_hints(make)
    for name, value in args.items():
        if name not in known and not open_ended:
            meant = closest(name, known) or f"it takes {', '.join(known)}"
            raise ValueError(f"data {data} takes no argument {name!r}; {meant}")
        usual = name in known and value is known[name].default
        if name in hints and not usual and not matches(value, hints[name]):
            kind = describe_type(hints[name])
            raise ValueError(f"data {data}: {name} is {kind}, not {brief(value)}")
    try:
        return make(**args)
    except (ValueError, OSError):
        raise
    except Exception as error:  # somebody else's code may raise anything
        raise ValueError(f"data {data}: {_named(error)}") from error


def _plain_hints(make: Any) -> dict[str, Any]:
    """The types of those arguments that take plain values alone, which YAML can tell apart."""
    try:
        return {name: kind for name, kind in type_hints(make).items() if is_plain(kind)}
    except Exception:  # somebody else's annotations may be anything
        return {}


def imported(path: str) -> Any:
    """What an import path such as "mypackage.radar.Storms" stands for.

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise ValueError(
            f"data {path!r} is unknown; give moving_mnist, a file or folder that is there, or an "
            "import path such as pkg.Clips"
        )
    # A file beside the user is meant to be found, as `python -m` would.
    if os.getcwd() not in sys.path:
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
        ValueError: when it is no float32 (T,C,H,W) in [0,1] with the model's channels and at least
            the window's frames. Items that a `Scaling` made may leave [0,1], and hold NaN where a
            value is missing.
    """
    try:
        clip = dataset[0]
    except Exception as error:
        raise ValueError(f"data {data}, item 0: {_named(error)}") from error
    if isinstance(clip, Tensor | np.ndarray) and clip.ndim != 4:
        raise ValueError(
            f"data {data}: item 0 has shape {tuple(clip.shape)}; an item is one clip (T,C,H,W)"
        )
    frames = check_frames(clip, channels=channels, what=f"data {data}, item 0", **accepted(dataset))
    try:
        window.split(frames.unsqueeze(0))
    except ValueError as error:
        raise ValueError(f"data {data}, item 0: {error}") from None


def accepted(dataset: Any) -> dict[str, Any]:
    """What `check_frames` lets pass of a dataset's items: those that a `Scaling` made may leave
    [0,1] and hold NaN.
    """
    return (
        {"low": -np.inf, "high": np.inf, "missing": True}
        if getattr(dataset, "scaled", False)
        else {}
    )


def collate(
    clips: Sequence[Any] | Tensor, what: str = "data", accept: Mapping[str, Any] | None = None
) -> Float[Tensor, "b t c h w"]:
    """Items to one checked batch. What is stacked already is not copied. `what` names the data in
    messages, and `accept` is what `accepted` says of the dataset.

    Raises:
        ValueError: items of different shapes, or frames that `check_frames` refuses.
    """
    if not isinstance(clips, Tensor):
        tensors = [torch.as_tensor(clip) for clip in clips]
        shapes = {tuple(one.shape) for one in tensors}
        if len(shapes) > 1:
            raise ValueError(
                f"{what}: clips of one batch have different shapes: "
                f"{' and '.join(map(str, sorted(shapes)))}"
            )
        clips = torch.stack(tensors)
    return check_frames(clips, what=what, **(accept or {}))


def chosen(
    dataset: Any, limit: int | None = None, among: Sequence[int] | None = None
) -> Sequence[int]:
    """Which items, of all or `among` some, are scored when at most `limit` are: the first, or, of
    windows of recordings, as many evenly spread.
    """
    items = range(len(dataset)) if among is None else among
    if limit is None or limit >= len(items):
        return items
    if not getattr(dataset, "ordered", False):
        return items[:limit]
    return [items[k] for k in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def batches(
    dataset: Dataset,
    batch_size: int,
    limit: int | None = None,
    what: str = "data",
    among: Sequence[int] | None = None,
) -> Iterator[Float[Tensor, "b t c h w"]]:
    """A Dataset's clips, those `among` some, at most `limit` of them, in batches; `what` names the
    data in messages.
    """
    items = Subset(dataset, chosen(dataset, limit, among))
    yield from DataLoader(
        items,
        batch_size=batch_size,
        collate_fn=partial(collate, what=what, accept=accepted(dataset)),
    )
