"""The loss of ensembles: distance of members from the truth and from each other."""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

POOLS = (1, 2, 4, 8, 16)
FAIR = 0.95


def crps(
    P: Float[Tensor, "bm t c h w"], Y: Float[Tensor, "b t c h w"], pools: Sequence[int] = POOLS
) -> Float[Tensor, ""]:
    """The almost fair CRPS of M members x_i of each clip and its truth y,

        mean_i |x_i - y|  -  (1 - ε) / (2 M (M - 1)) · Σ_{i≠j} |x_i - x_j|,    ε = (1 - α) / M

    with α = .95 (Lang et al. 2024, arXiv 2412.15832, equation 4). At α = 1 it is the fair CRPS
    (Ferro 2014), which is smallest if members have the distribution of the truth, whatever their
    number, but leaves one of two members undetermined; at α = 0 it is the usual CRPS.

    It is averaged over means of k x k pixels for each k of `pools` and of the whole frame, weighted
    by side: k, or half the frame's. A CRPS of pixels alone would favour members with pixelwise
    noise, equal weights of all sizes members that differ in brightness. Computed in float32 outside
    autocast; missing values (NaN) of Y are ignored.

    Args:
        P: M members for each clip, those of the first clip first, as from
            `foreframe.models.members`; M = 1 gives the mean absolute error.
        Y: the truth.
        pools: sides in pixels; those beyond the frame's shorter side are skipped.

    Raises:
        ValueError: the number of forecasts is not a multiple of the number of clips.
    """
    M, rest = divmod(len(P), len(Y))
    if rest or M < 1:
        raise ValueError(f"{len(P)} forecasts are not as many for each of {len(Y)} clips")
    with torch.autocast(P.device.type, enabled=False):
        h, w = Y.shape[-2:]
        sides = [k for k in pools if k < min(h, w)]
        valid = Y.isfinite()
        x, y = P.float().unflatten(0, (-1, M)), Y.float().unsqueeze(1)
        if valid.all():
            known = None
        else:  # sums of known values, and their share
            known = valid.float().unsqueeze(1)
            x, y = x * known, y.nan_to_num(0.0)
        maps = {1: (x, y, known)}
        for k in sorted({*sides} - {1}):
            # From the means of smaller squares that tile these, which are fewer than the pixels.
            finer = max(side for side in maps if k % side == h % side == w % side == 0)
            maps[k] = _pooled(maps[finer], k // finer)
        maps[0] = _pooled(maps[1], 0)
        losses = [k * _at(*maps[k]) for k in sides] + [max(1.0, min(h, w) / 2) * _at(*maps[0])]
        return torch.stack(losses).sum() / (sum(sides) + max(1.0, min(h, w) / 2))


Maps = tuple[Tensor, Tensor, Tensor | None]  # (b,m,t,c,h,w), (b,1,t,c,h,w); None: all known


def _at(x: Tensor, y: Tensor, known: Tensor | None) -> Tensor:
    """The loss at a scale: each place is weighted by its share of known values."""
    if known is not None:
        x, y = x / known.clamp(min=1e-6), y / known.clamp(min=1e-6)
    M = x.shape[1]
    error = (x - y).abs().mean(dim=1, keepdim=True)
    if M > 1:
        epsilon = (1 - FAIR) / M
        each = x.split(1, dim=1)
        apart = [(a - b).abs() for a, b in combinations(each, 2)]
        error = error - (1 - epsilon) / (M * (M - 1)) * sum(apart[1:], apart[0])
    if known is None:
        return error.mean()
    return (error * known).sum() / known.sum().clamp(min=1e-6)


def _pooled(maps: Maps, k: int) -> Maps:
    """The means of k x k pixels; of the whole frame for k = 0."""
    x, y, known = maps
    return _means(x, k), _means(y, k), None if known is None else _means(known, k)


def _means(x: Tensor, k: int) -> Tensor:
    if k == 0:
        return x.mean(dim=(-2, -1), keepdim=True)
    flat = x.flatten(0, -4)
    return F.avg_pool2d(flat, k, ceil_mode=True).unflatten(0, x.shape[:-3])
