"""Where clips come from: generated digits, files, or any Dataset."""

from foreframe.clips.data_options import DataOptions, ReadOptions, SplitOptions
from foreframe.data.arrays import ArrayClips, published_moving_mnist
from foreframe.data.datasets import ClipSet, batches, check_first_clip, chosen, collate
from foreframe.data.moving_mnist import Motion, MovingMNIST
from foreframe.data.opening import holds_recordings, open_dataset, open_splits
from foreframe.data.readers import clips_from
from foreframe.data.windows import Recordings

__all__ = [
    "ArrayClips",
    "ClipSet",
    "DataOptions",
    "Motion",
    "MovingMNIST",
    "ReadOptions",
    "Recordings",
    "SplitOptions",
    "batches",
    "check_first_clip",
    "chosen",
    "clips_from",
    "collate",
    "holds_recordings",
    "open_dataset",
    "open_splits",
    "published_moving_mnist",
]
