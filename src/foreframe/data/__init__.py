"""Where clips come from: drawn, read from files, or out of any Dataset."""

from foreframe.data.arrays import ArrayClips, published_moving_mnist
from foreframe.data.moving_mnist import Motion, MovingMNIST
from foreframe.data.recordings import Dealing, Recordings
from foreframe.data.sources import Reading, clips_from
from foreframe.data.windows import (
    accepted,
    batches,
    check_first_clip,
    chosen,
    collate,
    is_recording,
    open_dataset,
)

__all__ = [
    "ArrayClips", "Dealing", "Motion", "MovingMNIST", "Reading", "Recordings", "accepted",
    "batches", "check_first_clip", "chosen", "clips_from", "collate", "is_recording",
    "open_dataset", "published_moving_mnist",
]  # fmt: skip
