"""Where clips come from: generated digits, files, or any Dataset; and the options of reading them.

The names load when first used, since the command line reads the options and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreframe.data.arrays import ArrayClips  # noqa: F401
    from foreframe.data.data_options import DataOptions, ReadOptions, SplitOptions  # noqa: F401
    from foreframe.data.datasets import ClipSet, batches, check_first_clip, chosen  # noqa: F401
    from foreframe.data.moving_mnist import MovingMNIST  # noqa: F401
    from foreframe.data.opening import holds_recordings, open_dataset, open_splits  # noqa: F401
    from foreframe.data.readers import clips_from  # noqa: F401
    from foreframe.data.windows import Recordings  # noqa: F401

_HOME = {
    "ArrayClips": "arrays",
    "ClipSet": "datasets",
    "DataOptions": "data_options",
    "MovingMNIST": "moving_mnist",
    "ReadOptions": "data_options",
    "Recordings": "windows",
    "SplitOptions": "data_options",
    "batches": "datasets",
    "check_first_clip": "datasets",
    "chosen": "datasets",
    "clips_from": "readers",
    "holds_recordings": "opening",
    "open_dataset": "opening",
    "open_splits": "opening",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"foreframe.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'foreframe.data' has no attribute {name!r}")
