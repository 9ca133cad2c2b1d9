"""Where clips come from: drawn, read from files, or out of any Dataset."""

from foreframe.data.arrays import ArrayClips, clips_from, published_moving_mnist
from foreframe.data.moving_mnist import Motion, MovingMNIST
from foreframe.data.windows import batches, check_first_clip, collate, open_dataset

__all__ = [
    "ArrayClips", "Motion", "MovingMNIST", "batches", "check_first_clip", "clips_from", "collate", "open_dataset",
    "published_moving_mnist",
]  # fmt: skip
