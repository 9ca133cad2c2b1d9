"""Clips and recordings that are in memory: arrays, and what an xarray object or a Dataset is
called.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip
from foreframe.data.arrays import PUBLISHED_SHAPE, split_block
from foreframe.scaling import Scaling
from foreframe.trained import IN_MEMORY


def data_name(source: Any) -> str:
    """What data is called in messages, config.yaml and model cards: a path or name as it is, else
    what it is, without its values.
    """
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, np.ndarray | Tensor):
        kind = str(source.dtype).removeprefix("torch.")
        return f"{IN_MEMORY}{kind} array of {'x'.join(map(str, source.shape))}"
    if isinstance(source, Mapping) and not is_xarray(source):
        return IN_MEMORY + ", ".join(
            f"{split}: {type(of).__name__}" for split, of in source.items()
        )
    kind = type(source).__name__
    if is_xarray(source):
        sizes = ", ".join(f"{name} {size}" for name, size in source.sizes.items())
        return f"{IN_MEMORY}{kind} {getattr(source, 'name', None) or ''}".rstrip() + f" ({sizes})"
    return f"{IN_MEMORY}{kind}" + (f" of {len(source)} items" if hasattr(source, "__len__") else "")


def is_xarray(source: Any) -> bool:
    """Whether this is an xarray object; xarray itself is imported by whoever made one."""
    return type(source).__module__.partition(".")[0] == "xarray"


def array_of(source: np.ndarray | Tensor) -> np.ndarray:
    """The same values as a plain array, not copied where they are in this machine's memory.

    Raises:
        ValueError: a masked array, values that are no numbers, no values, fewer than three axes.
    """
    name = data_name(source)
    if isinstance(source, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: masked; values.astype(float).filled(np.nan) marks what is missing"
        )
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        source = (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    frames = np.asarray(source)
    if frames.dtype.kind not in "fiub":
        raise ValueError(f"{name}: not numbers that frames are made of; give float32 or uint8")
    if frames.size == 0:
        raise ValueError(f"{name}: it holds nothing")
    if frames.ndim < 3:
        raise ValueError(f"{name}: no recording (T,H,W) or (T,C,H,W), nor clips (N,T,C,H,W)")
    # torch knows the byte order of this machine alone.
    return np.asarray(frames, frames.dtype.newbyteorder("="))


def are_clips(source: np.ndarray | Tensor) -> bool:
    """Whether an array holds whole clips, (N,T,C,H,W) or (N,T,H,W), as a .npy file of its shape
    would, and not one recording to cut windows from.
    """
    shape = tuple(source.shape)
    return shape == PUBLISHED_SHAPE or len(shape) == 5 or (len(shape) == 4 and shape[1] > 4)


def recordings_in(source: np.ndarray | Tensor) -> list[Clip]:
    """Every recording in an array, in its own numbers: one of (T,H,W) or (T,C,H,W), or N of
    (N,T,C,H,W).

    Raises:
        ValueError: what `array_of` raises, other axes.
    """
    frames, name = array_of(source), data_name(source)
    if frames.ndim == 5 or frames.shape == PUBLISHED_SHAPE:
        return [Clip(clip, name=f"{name} [{k}]") for k, clip in enumerate(_clips(frames, name))]
    if frames.ndim == 3:
        frames = frames[:, None]
    if frames.ndim != 4 or frames.shape[1] > 4:
        cure = ""
        if frames.ndim == 4 and frames.shape[3] <= 4:
            cure = "; transpose(0, 3, 1, 2) puts channels second"
        raise ValueError(
            f"{name}: no recording (T,H,W) or (T,C,H,W) with up to 4 channels, nor clips "
            f"(N,T,C,H,W){cure}"
        )
    return [Clip(frames, name=name)]


class ClipsInMemory(Dataset):
    """Clips (T,C,H,W), float32 in [0,1], from an array of clips (N,T,C,H,W) or (N,T,H,W), dealt to
    splits and scaled as `ArrayClips` does with a file of such.

    Raises:
        ValueError: what `array_of` raises, numbers that are neither 8-bit nor floats, other axes,
            or a split without clips.
    """

    def __init__(self, source: np.ndarray | Tensor, split: str = "train") -> None:
        frames, name = array_of(source), data_name(source)
        if frames.dtype != np.uint8 and frames.dtype.kind != "f":
            raise ValueError(f"{name}: clips are uint8, or floats in [0, 1]")
        clips = _clips(frames, name)
        self.clips = clips[split_block(len(clips), split)]
        self.scaling = Scaling(0, 255) if frames.dtype == np.uint8 else Scaling()
        if len(self.clips) == 0:
            raise ValueError(f"{name}: {len(clips)} clips are too few to leave one for {split}")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Float[Tensor, "t c h w"]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        values = np.array(self.clips[index], dtype=np.float32)
        return self.scaling.to_network(torch.from_numpy(values))


def _clips(frames: np.ndarray, name: str) -> np.ndarray:
    """A view (N,T,C,H,W)."""
    if frames.shape == PUBLISHED_SHAPE:
        frames = frames.transpose(1, 0, 2, 3)
    if frames.ndim not in (4, 5):
        raise ValueError(f"{name}: an array of clips is (N,T,C,H,W) or (N,T,H,W)")
    return frames[:, :, None] if frames.ndim == 4 else frames
