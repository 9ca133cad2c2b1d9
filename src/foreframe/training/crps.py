"""The loss of ensembles: a few members a clip, judged by how far they are from the truth, and from
each other.
"""

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

    with α = .95 (Lang et al. 2024, arXiv 2412.15832, equation 4): at α = 1 it is the fair CRPS
    (Ferro 2014), which members whose distribution is the truth's make smallest, however few they
    are, but which one of two may leave wherever it likes; at α = 0 the usual one.

    It is computed of means of k x k pixels for each k of `pools` and of the whole frame, and each
    counts about as its side: k, or half the frame's. A CRPS of pixels alone is satisfied by members
    that are rough, each pixel for itself; one that counts all sizes alike by members that differ in
    brightness. In float32, outside autocast; missing values (NaN) of Y are left out of both.

    Args:
        P: M members a clip, those of the first clip first, as `foreframe.models.members` lays them;
            M of 1 gives the mean absolute error.
        Y: the truth.
        pools: sides in pixels; those beyond the frame's shorter side are left out.

    Raises:
        ValueError: a number of forecasts that is no multiple of that of clips.
    """
    M, rest = divmod(len(P), len(Y))
    if rest or M < 1:
        raise ValueError(f"{len(P)} forecasts are not as many for each of {len(Y)} clips")
    with torch.autocast(P.device.type, enabled=False):
        h, w = Y.shape[-2:]
        sides = [k for k in pools if k < min(h, w)]
        found = Y.isfinite()
        x, y = P.float().unflatten(0, (-1, M)), Y.float().unsqueeze(1)
        if found.all():
            there = None
        else:  # sums of what is there, and how much that is
            there = found.float().unsqueeze(1)
            x, y = x * there, y.nan_to_num(0.0)
        maps = {1: (x, y, there)}
        for k in sorted({*sides} - {1}):
            # Of means of whole squares, where there are any: they are fewer than the pixels.
            finer = max(of for of in maps if k % of == h % of == w % of == 0)
            maps[k] = _pooled(maps[finer], k // finer)
        maps[0] = _pooled(maps[1], 0)
        losses = [k * _at(*maps[k]) for k in sides] + [max(1.0, min(h, w) / 2) * _at(*maps[0])]
        return torch.stack(losses).sum() / (sum(sides) + max(1.0, min(h, w) / 2))


Maps = tuple[Tensor, Tensor, Tensor | None]  # (b,m,t,c,h,w), (b,1,t,c,h,w); None: nothing lacks


def _at(x: Tensor, y: Tensor, there: Tensor | None) -> Tensor:
    """Of members and truth as they are: each place counts as often as values are there."""
    if there is not None:
        x, y = x / there.clamp(min=1e-6), y / there.clamp(min=1e-6)
    M = x.shape[1]
    error = (x - y).abs().mean(dim=1, keepdim=True)
    if M > 1:
        epsilon = (1 - FAIR) / M
        each = x.split(1, dim=1)
        apart = [(one - other).abs() for one, other in combinations(each, 2)]
        error = error - (1 - epsilon) / (M * (M - 1)) * sum(apart[1:], apart[0])
    if there is None:
        return error.mean()
    return (error * there).sum() / there.sum().clamp(min=1e-6)


def _pooled(maps: Maps, k: int) -> Maps:
    """The means of k x k pixels, or of the whole frame, k being 0."""
    x, y, there = maps
    return _means(x, k), _means(y, k), None if there is None else _means(there, k)


def _means(x: Tensor, k: int) -> Tensor:
    if k == 0:
        return x.mean(dim=(-2, -1), keepdim=True)
    flat = x.flatten(0, -4)
    return F.avg_pool2d(flat, k, ceil_mode=True).unflatten(0, x.shape[:-3])
