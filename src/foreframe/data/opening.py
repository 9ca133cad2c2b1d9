"""From the name of data, or the data themselves, to clips that are checked, for each split."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foreframe.base.extras import own
from foreframe.base.schema import brief, converted, is_plain, type_hints
from foreframe.base.untrusted import IN_MEMORY
from foreframe.base.wording import closest, described
from foreframe.clips.clip import Window
from foreframe.clips.data_options import DataOptions
from foreframe.clips.scaling import Scaling
from foreframe.data.arrays import (
    ArrayClips,
    are_clips,
    data_name,
    holds_clips,
    is_xarray,
    published_moving_mnist,
    split_block,
)
from foreframe.data.datasets import ClipSet, ForeignClips, check_map_style, clip_set
from foreframe.data.moving_mnist import MovingMNIST
from foreframe.data.readers import SUFFIXES
from foreframe.data.windows import Recordings, decode

DATASETS: dict[str, Callable[..., Any]] = {
    "moving_mnist": MovingMNIST,
    "moving_mnist_published": published_moving_mnist,
}
"""Datasets that have a name. Each is given the split, and the length of clips, if it takes them."""


class Splits:
    """Train, validation and test of one source: `splits["train"]`; each is made when it is first
    asked for, and what they share is read once.
    """

    def __init__(self, make: Callable[[str], ClipSet]) -> None:
        self._make = make
        self._made: dict[str, ClipSet] = {}

    def __getitem__(self, split: str) -> ClipSet:
        if split not in self._made:
            self._made[split] = self._make(split)
        return self._made[split]


def open_splits(options: DataOptions, scaling: Scaling | None = None) -> Splits:
    """The clips of every split that a name stands for, or that lie in memory.

    Args:
        options: their `data` is a name in DATASETS; a .npy or .npz file of clips; anything else
            that `foreframe.clips_from` opens, of which windows are cut (`Recordings`); or the
            import path of any Dataset (or of a function that makes one), such as
            "mypackage.radar.Storms". In memory: an array or tensor, taken as a .npy file of its
            shape is; an xarray object; a map-style Dataset; or one for each split, {"train": ...,
            "validation": ...}. An imported Dataset that takes a `split` argument is given it; any
            other is cut into blocks of items, 80, 10 and 10 %, in its own order, and so is one in
            memory.
        scaling: of a trained forecaster, in place of one fitted to these recordings.

    Raises:
        ValueError: unknown name, import or arguments, or something that is no map-style Dataset of
            clips; from the splits, one that has no clips.
    """
    data, args = options.data, options.data_args
    if isinstance(data, str) and data.startswith(IN_MEMORY):
        raise ValueError(f"data {data}: that is its name; give the data themselves")
    name = data_name(data)
    if holds_recordings(data, options.reading.variable):
        for given in args:
            raise ValueError(
                f"data {name} takes no argument {brief(given)}: options of recordings are those of "
                "--reading and --splits, and --scaling"
            )
        return _recordings(options, scaling)
    is_file = isinstance(data, str | Path) and str(data) not in DATASETS and _is_array(str(data))
    for given in options.of_recordings():
        if not (is_file and given in ("reading.variable", "reading.budget")):
            raise ValueError(
                f"data {name} holds clips, not recordings: --{given} does nothing, leave it out"
            )
    if not isinstance(data, str | Path):
        return _in_memory(data, args)
    if is_file:
        reading = {"variable": options.reading.variable, "budget": options.reading.budget}
        given = {"source": name, **reading, **args}
        return Splits(lambda split: _call(ArrayClips, name, {"split": split} | given))
    if name in DATASETS:
        named = DATASETS[name]
        return Splits(lambda split: _call(named, name, _taken(named, split, options.window) | args))
    make = imported(name)
    if callable(make) and "split" in inspect.signature(make).parameters:
        return Splits(lambda split: clip_set(_call(make, name, {"split": split} | args), name))
    dataset = _call(make, name, args) if callable(make) else make
    check_map_style(dataset, name)
    return Splits(lambda split: _block(dataset, name, split))


def open_dataset(options: DataOptions, split: str, scaling: Scaling | None = None) -> ClipSet:
    """One split alone of what `open_splits` opens."""
    return open_splits(options, scaling)[split]


def holds_recordings(data: Any, variable: Any = None) -> bool:
    """Whether windows are cut from what a name stands for, a file, a folder or a URL of recordings,
    or from what lies in memory.

    Args:
        variable: which array of an .npz.
    """
    if not isinstance(data, str | Path):
        return is_xarray(data) or (isinstance(data, np.ndarray | Tensor) and not are_clips(data))
    data = str(data)
    named = "://" in data or os.path.exists(data) or os.path.splitext(data)[1].lower() in SUFFIXES
    clips = _is_array(data) and holds_clips(data, variable)
    return data not in DATASETS and named and not clips


def _is_array(data: str) -> bool:
    return data.endswith((".npy", ".npz")) and os.path.isfile(data)


def _in_memory(data: Any, args: Mapping[str, Any]) -> Splits:
    name = data_name(data)
    for given in args:
        raise ValueError(f"data {name} takes no argument {given!r}: it is used as it is")
    if isinstance(data, np.ndarray | Tensor):
        return Splits(lambda split: ArrayClips(data, split))
    if isinstance(data, Mapping):
        return Splits(lambda split: _of_split(data, name, split))
    if isinstance(data, Recordings):
        raise ValueError(
            f"data {name}: windows that share frames cannot be cut into blocks; give what it "
            "reads, or one Recordings for each split, {'train': ..., 'validation': ...}"
        )
    check_map_style(data, name)
    return Splits(lambda split: _block(data, name, split))


def _of_split(data: Mapping[str, Any], name: str, split: str) -> ClipSet:
    if split not in data:
        raise ValueError(f"data {name}: nothing for {split}; give {{{split!r}: a Dataset}} too")
    check_map_style(data[split], f"{name}, {split}")
    return clip_set(data[split], name)


def _block(dataset: Any, name: str, split: str) -> ClipSet:
    """The block of items that a split gets."""
    block = split_block(len(dataset), split)
    if block.start == block.stop:
        raise ValueError(
            f"data {name}: its items are too few to leave one for {split}; a `split` argument "
            "gives you the choice"
        )
    return ForeignClips(dataset, name, range(block.start, block.stop))


def _taken(make: Callable[..., Any], split: str, window: Window) -> dict[str, Any]:
    """Which clips are wanted, in those words that a Dataset takes."""
    words = {"split": split, "length": window.length}
    return {name: words[name] for name in inspect.signature(make).parameters if name in words}


def _recordings(options: DataOptions, scaling: Scaling | None) -> Splits:
    """Windows of recordings, which are decoded once, and whose scaling is fitted once."""
    reading, splits = options.reading, options.splits
    decoded = decode(options.data, reading, splits.tile)
    wanted = options.scaling if scaling is None else scaling

    def make(split: str) -> Recordings:
        nonlocal wanted
        recordings = Recordings(decoded, split, options.window, wanted, reading, splits)
        wanted = recordings.scaling
        if scaling is not None:
            recordings.check_range()
        return recordings

    return Splits(make)


def _call(make: Any, data: str, args: Mapping[str, Any]) -> Any:
    known = inspect.signature(make).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    hints = _plain_hints(make)
    for name, value in args.items():
        if name not in known and not open_ended:
            meant = closest(name, known) or f"it takes {', '.join(known)}"
            raise ValueError(f"data {data} takes no argument {name!r}; {meant}")
        usual = name in known and value is known[name].default
        if name in hints and not usual:
            converted(value, hints[name], f"data {data}: {name}")
    try:
        return make(**args)
    except (ValueError, OSError):
        raise
    except Exception as error:  # somebody else's code may raise anything
        raise ValueError(f"data {data}: {described(error)}") from error


def _plain_hints(make: Any) -> dict[str, Any]:
    """The types of those arguments that take plain values alone, which YAML can tell apart."""
    try:
        return {name: kind for name, kind in type_hints(make).items() if is_plain(kind)}
    except Exception:  # somebody else's annotations may be anything
        return {}


def imported(path: str) -> Any:
    """What an import path names: a Dataset, or what makes one.

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise ValueError(
            f"data {path!r} is unknown; give {' or '.join(DATASETS)}, an existing file or folder, "
            "or an import path such as pkg.Clips"
        )
    return own(f"data {path}", module, name)
