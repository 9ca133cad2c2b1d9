"""Frames at another size, where some of their values may be missing."""

import numpy as np
import torch
import torch.nn.functional as F


def resized(frames: np.ndarray, height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """(t,C,H,W) -> (t,C,height,width): means of the pixels covered where it shrinks, bilinear where
    it grows.

    A pixel is missing where more than half of what it covers is.
    """
    h, w = frames.shape[-2:]
    if (h, w) == (height, width):
        return frames.astype(dtype, copy=False)
    # A copy: torch warns of read-only arrays.
    x = torch.from_numpy(np.array(frames, dtype=np.float32, order="C"))
    there = x.isfinite()
    if there.all():
        y = _interpolate(x, height, width)
    else:
        share = _interpolate(there.float(), height, width)
        y = _interpolate(x.nan_to_num(0.0), height, width) / share
        y[share < 0.5 - 1e-6] = torch.nan  # less the rounding of the shares
    out = y.numpy()
    if dtype.kind in "iu":
        out = out.round().clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return out.astype(dtype, copy=False)


def _interpolate(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if x.shape[-2] % height == 0 and x.shape[-1] % width == 0:  # whole blocks: their plain means
        return F.avg_pool2d(x, (x.shape[-2] // height, x.shape[-1] // width))
    return F.interpolate(
        x, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
