"""Where clips come from: generated digits, files, or any Dataset."""

from foreframe.clips.data_options import DataOptions, ReadOptions, SplitOptions
from foreframe.data.arrays import ArrayClips
from foreframe.data.datasets import ClipSet, batches, check_first_clip, chosen
from foreframe.data.moving_mnist import MovingMNIST
from foreframe.data.opening import holds_recordings, open_dataset, open_splits
from foreframe.data.readers import clips_from
from foreframe.data.windows import Recordings

__all__ = [
    "ArrayClips",
    "ClipSet",
    "DataOptions",
    "MovingMNIST",
    "ReadOptions",
    "Recordings",
    "SplitOptions",
    "batches",
    "check_first_clip",
    "chosen",
    "clips_from",
    "holds_recordings",
    "open_dataset",
    "open_splits",
]
