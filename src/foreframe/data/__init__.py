"""Sources of clips: generated digits, files, or any Dataset; and the options of reading them.

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

_NAMES = {  # by module
    "arrays": ("ArrayClips",),
    "data_options": ("DataOptions", "ReadOptions", "SplitOptions"),
    "datasets": ("ClipSet", "batches", "check_first_clip", "chosen"),
    "moving_mnist": ("MovingMNIST",),
    "opening": ("holds_recordings", "open_dataset", "open_splits"),
    "readers": ("clips_from",),
    "windows": ("Recordings",),
}
_HOME = {name: f"foreframe.data.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'foreframe.data' has no attribute {name!r}")
