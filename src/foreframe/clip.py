"""Frames that know what they mean, and how they are cut into past and future.

One shape language everywhere: B clips, T frames, C channels, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """How many frames a model sees and how many it forecasts in training and evaluation.

    The horizon of a *forecast* is an argument of the call, never of the model: this is only what it practised.

    Args:
        past: frames in, at least 1.
        future: frames out, at least 1.
    """

    past: int = 10
    future: int = 10

    def __post_init__(self) -> None:
        if self.past < 1 or self.future < 1:
            raise ValueError(f"a window needs at least 1 past and 1 future frame, not {self.past} and {self.future}")

    @property
    def length(self) -> int:
        return self.past + self.future

    def split(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Cut clips (B,T,C,H,W) into past (B,past,C,H,W) and future (B,future,C,H,W): the first frames of the clip, in order.

        Raises:
            ValueError: when a clip is shorter than the window.
        """
        if clips.shape[1] < self.length:
            raise ValueError(
                f"clips have {clips.shape[1]} frames, but {self.past} past and {self.future} future frames need "
                f"{self.length}: use longer clips or a smaller window"
            )
        return clips[:, : self.past], clips[:, self.past : self.length]


@dataclass(frozen=True)
class Clip:
    """A stretch of frames with what they mean.

    Args:
        frames: (T,C,H,W), in the data's own numbers and dtype.
        times: (T,) numpy datetime64 or seconds, one a frame, or None where the source has none.
        units: of the values, e.g. "mm/h" or "K"; "" for plain pictures.
        coordinates: names to arrays, e.g. latitude (H,) and longitude (W,); row 0 is the top of the picture.
    """

    frames: np.ndarray
    times: np.ndarray | None = None
    units: str = ""
    coordinates: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.ndim != 4:
            raise ValueError(f"a clip is (T,C,H,W), but these frames have shape {tuple(self.frames.shape)}")
        if self.times is not None and len(self.times) != len(self.frames):
            raise ValueError(f"{len(self.frames)} frames cannot have {len(self.times)} times")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, when: slice) -> "Clip":
        """The same clip with fewer frames: `clip[:10]`."""
        return replace(self, frames=self.frames[when], times=None if self.times is None else self.times[when])


def check_frames(frames: Any, *, channels: int | None = None, low: float = 0.0, high: float = 1.0, what: str = "frames") -> Tensor:
    """The one gate that all frames from outside pass: a float32 tensor of the same shape, or one line that says the cure.

    Args:
        frames: numpy array or tensor (T,C,H,W) or (B,T,C,H,W).
        channels: C that the model takes; None accepts any.
        low, high: the range that values must keep (a thousandth of it of rounding is forgiven).
        what: how the message names the frames.

    Raises:
        ValueError: wrong type, rank, channels or dtype, no frames, NaN or infinity, values out of range.
    """
    if isinstance(frames, np.ndarray) and frames.dtype.kind in "fiub":
        frames = torch.from_numpy(np.array(frames))  # a copy: a memory-mapped file is read-only
    if not isinstance(frames, Tensor):
        kind = f"dtype {frames.dtype}" if isinstance(frames, np.ndarray) else f"a {type(frames).__name__}"
        raise ValueError(f"{what}: {kind} where a float32 array (T,C,H,W) is needed")
    if frames.ndim not in (4, 5):
        raise ValueError(
            f"{what}: shape {tuple(frames.shape)} has {frames.ndim} axes; give (T,C,H,W), or (B,T,C,H,W) for several clips"
        )
    if frames.numel() == 0:
        raise ValueError(f"{what}: shape {tuple(frames.shape)} holds nothing; give at least one frame")
    if channels is not None and frames.shape[-3] != channels:
        raise ValueError(
            f"{what}: {frames.shape[-3]} channels in shape {tuple(frames.shape)}, but the model takes {channels}; "
            "axes are (T,C,H,W)"
        )
    if frames.dtype == torch.bool or frames.is_complex():
        raise ValueError(f"{what}: dtype {frames.dtype} is no measure of brightness; give float32 in [{low:g}, {high:g}]")
    if not frames.is_floating_point() and (low, high) == (0.0, 1.0):
        raise ValueError(f"{what}: dtype {frames.dtype}, but float32 in [0, 1] is needed; for 8-bit pictures divide by 255")
    frames = frames.float()
    least, most = (v.item() for v in frames.aminmax())
    if not (np.isfinite(least) and np.isfinite(most)):
        bad = int((~frames.isfinite()).sum())
        raise ValueError(f"{what}: {bad} of {frames.numel()} values are NaN or infinite; fill or drop those frames first")
    slack = 1e-3 * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(
            f"{what}: values run from {least:.4g} to {most:.4g}, outside [{low:g}, {high:g}]; scale them to that range first"
        )
    return frames
