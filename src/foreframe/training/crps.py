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
        side = min(Y.shape[-2:])
        scales = [(k, float(k)) for k in pools if k < side] + [(0, max(1.0, side / 2))]
        there = Y.isfinite().float()
        x = P.float().unflatten(0, (-1, M)) * there.unsqueeze(1)
        y = Y.float().nan_to_num(0.0)
        each = torch.stack([weight * _at(k, x, y, there, M) for k, weight in scales])
        return each.sum() / sum(weight for _, weight in scales)


def _at(k: int, x: Tensor, y: Tensor, there: Tensor, M: int) -> Tensor:
    """Of means of k x k pixels, or of the whole frame, k being 0: each counts as often as values
    are there.
    """
    share = _means(there, k)
    y, members = _means(y, k) / share.clamp(min=1e-6), _means(x, k) / share.unsqueeze(1).clamp(1e-6)
    error = (members - y.unsqueeze(1)).abs().mean(dim=1)
    if M > 1:
        epsilon = (1 - FAIR) / M
        apart = sum((members[:, i] - members[:, j]).abs() for i, j in combinations(range(M), 2))
        error = error - (1 - epsilon) / (M * (M - 1)) * apart
    return (error * share).sum() / share.sum().clamp(min=1e-6)


def _means(x: Tensor, k: int) -> Tensor:
    if k == 1:
        return x
    if k == 0:
        return x.mean(dim=(-2, -1), keepdim=True)
    flat = x.flatten(0, -4)
    return F.avg_pool2d(flat, k, ceil_mode=True).unflatten(0, x.shape[:-3])
