"""Clips of each split from the name of data, or from data in memory."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foreframe.base.extras import import_user_module, of_package, registered
from foreframe.base.schema import brief, check_types
from foreframe.base.untrusted import IN_MEMORY
from foreframe.base.wording import described
from foreframe.clips.scaling import Scaling
from foreframe.data.arrays import ArrayClips, data_name, holds_clips, is_xarray, split_block
from foreframe.data.data_options import GENERATED, ClipOptions
from foreframe.data.datasets import ClipSet, ForeignClips, check_map_style, clip_set
from foreframe.data.moving_mnist import MovingMNIST
from foreframe.data.readers import endings
from foreframe.data.splits import Published
from foreframe.data.windows import Recordings


class Splits(dict[str, ClipSet]):
    """Train, validation and test of one source, as in `splits["train"]`. Each is made on first use,
    and shared data is read once.
    """

    def __init__(self, make: Callable[[str], ClipSet]) -> None:
        self._make = make

    def __missing__(self, split: str) -> ClipSet:
        made = self[split] = self._make(split)
        return made


def open_splits(options: ClipOptions, scaling: Scaling | None = None) -> Splits:
    """Return the clips of each split of named data, or of data in memory.

    Args:
        options: `data` is the name of a dataset, also of an installed package; a .npy or .npz file
            of clips; any other source of `foreframe.clips_from`, which is cut into windows
            (`Recordings`); or the import path of a Dataset or of a function that returns one, such
            as "mypackage.radar.Storms". In memory: an array or tensor, which is read like a .npy
            file; an xarray object; a map-style Dataset; or one for each split, {"train": ...,
            "validation": ...}. A Dataset with an argument `split` receives the split. Any other
            Dataset is divided into blocks of items in order, 80, 10 and 10 %.
        scaling: scaling of a trained forecaster; by default fitted to these recordings.

    Raises:
        ValueError: unknown name, import or arguments, no map-style Dataset of clips; from the
            splits, a split without clips.
    """
    data, args = options.data, options.data_args
    if isinstance(data, str) and data.startswith(IN_MEMORY):
        raise ValueError(f"data {data}: this is a description; pass the data instead")
    name = data_name(data)
    named = isinstance(data, str | Path)
    flag = "--" if named else ""  # data in memory is from Python
    recordings = holds_recordings(data, options.reading.variable)
    if args and (recordings or not named):
        raise ValueError(
            f"data {name} takes no argument {brief(next(iter(args)))}: options of recordings are "
            f"those of {flag}reading and {flag}splits, and {flag}scaling"
        )
    if recordings:
        return _recordings(data, options, scaling)
    is_file = named and not has_name(name) and _is_array(name)
    make = None if is_file or not named else dataset_of(name)
    if isinstance(make, type) and issubclass(make, Published):
        if "folder" not in args:
            raise ValueError(f"data {name}: name the folder of its files by --data_args.folder")
        return _recordings(_call(make, name, args), options, scaling)
    of_arrays = {"variable": options.reading.variable, "budget": options.reading.budget}
    for given in options.of_recordings():
        if not (is_file and given.removeprefix("reading.") in of_arrays):
            raise ValueError(
                f"data {name} holds clips, not recordings: {flag}{given} does nothing, leave it out"
            )
    if not named:
        return _in_memory(data, name)
    if is_file:
        make, args = ArrayClips, {"source": name, **of_arrays, **args}
    takes = inspect.signature(make).parameters if callable(make) else {}
    if has_name(name) and "length" in takes:
        args = {"length": options.window.length, **args}
    if "split" in takes:
        return Splits(lambda split: clip_set(_call(make, name, {"split": split, **args}), name))
    return _blocks(_call(make, name, args) if callable(make) else make, name)


def open_dataset(options: ClipOptions, split: str, scaling: Scaling | None = None) -> ClipSet:
    """Return one split of `open_splits`."""
    return open_splits(options, scaling)[split]


def holds_recordings(data: Any, variable: Any = None) -> bool:
    """Whether data is recordings, which are cut into windows: a file, a folder, a URL, or data in
    memory.

    Args:
        data: name or data.
        variable: name of the array of an .npz.
    """
    if not isinstance(data, str | Path):
        return is_xarray(data) or (isinstance(data, np.ndarray | Tensor) and not holds_clips(data))
    data = str(data)
    named = "://" in data or os.path.exists(data) or os.path.splitext(data)[1].lower() in endings()
    clips = _is_array(data) and holds_clips(data, variable)
    return not has_name(data) and named and not clips


def _is_array(data: str) -> bool:
    return data.endswith((".npy", ".npz")) and os.path.isfile(data)


def _in_memory(data: Any, name: str) -> Splits:
    if isinstance(data, np.ndarray | Tensor):
        return Splits(lambda split: ArrayClips(data, split))
    if isinstance(data, Recordings):
        return Splits(data.of_split)
    if isinstance(data, Mapping):
        return Splits(lambda split: _of_split(data, name, split))
    return _blocks(data, name)


def _of_split(data: Mapping[str, Any], name: str, split: str) -> ClipSet:
    if split not in data:
        raise ValueError(f"data {name}: nothing for {split}; give {{{split!r}: a Dataset}} too")
    check_map_style(data[split], f"{name}, {split}")
    return clip_set(data[split], name)


def _blocks(dataset: Any, name: str) -> Splits:
    """Return blocks of a Dataset's items."""
    check_map_style(dataset, name)

    def block_of(split: str) -> ClipSet:
        block = split_block(len(dataset), split)
        if block.start == block.stop:
            raise ValueError(
                f"data {name}: its {len(dataset)} items, a clip each, are too few to leave one for "
                f"{split}; a `split` argument, or a Dataset for each split, gives you the choice; "
                "several recordings are a folder of .npy files"
            )
        return ForeignClips(dataset, name, range(block.start, block.stop))

    return Splits(block_of)


def _recordings(source: Any, options: ClipOptions, scaling: Scaling | None) -> Splits:
    """Return windows of recordings, decoded once and with one scaling."""
    wanted = options.scaling if scaling is None else scaling
    args = (options.window, wanted, options.reading, options.splits)

    def make(split: str) -> Recordings:
        made = next(iter(splits.values()), None)
        if isinstance(made, Recordings):
            return made.of_split(split)
        return Recordings(source, split, *args)

    splits = Splits(make)
    return splits


def _call(make: Any, data: str, args: Mapping[str, Any]) -> Any:
    if make is ArrayClips or has_name(data):
        args = check_types(make, args, f"data {data}")
    try:
        return make(**args)
    except (ValueError, OSError):
        raise
    except Exception as error:  # a user's code may raise anything
        raise ValueError(f"data {data}: {described(error)}") from error


def has_name(data: str) -> bool:
    """Whether this is the name of a dataset, also of an installed package."""
    return data == GENERATED or data in registered("datasets")


def dataset_of(data: str) -> Any:
    """Return the Dataset of a name or an import path, or the function that makes one; raises a
    ValueError if the import fails.
    """
    if has_name(data):
        return MovingMNIST if data == GENERATED else of_package("datasets", data)
    module, _, name = data.replace(":", ".").rpartition(".")
    if not module:
        names = ", ".join((GENERATED, *registered("datasets")))
        raise ValueError(
            f"data {data!r} is unknown; give {names}, an existing file or folder, or an import "
            "path such as pkg.Clips"
        )
    return import_user_module(f"data {data}", module, name)
