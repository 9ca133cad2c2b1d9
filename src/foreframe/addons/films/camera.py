"""The motion of a camera: an affine one from frame to frame, and where it goes from there."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foreframe.models.motion import SCALES, Field, blurred, gradient, pixels, sampled

Path = Float[Tensor, "b j 6"]  # of each pair of frames, newest first: see `affine`

WORK = 128  # pixels: frames are reduced to sides below twice as many
RECENT = 3  # pairs whose mean is the velocity
EXPLAINED = 0.6  # of the outliers between neighbours are left, if it is the camera that moves
OUTLIERS = 0.03  # of the pixels, if it moves: fewer change if a person moves
SLOWEST = 0.3  # pixels a frame


def path_of(
    grey: Float[Tensor, "b k h w"], seen: Float[Tensor, " b"]
) -> tuple[Path, Bool[Tensor, " b"]]:
    """The camera's motion between neighbouring frames, and whether the camera moves at all.

    Gauss-Newton steps on whole frames, coarse to fine, in which places that move otherwise count
    little. A camera is at rest where rest explains the frames about as well.
    """
    b, k = grey.shape[:2]
    reduced = grey
    while max(reduced.shape[-2:]) >= 2 * WORK:
        reduced = F.avg_pool2d(reduced, 2)
    factor = grey.shape[-1] / reduced.shape[-1]
    levels = [blurred(reduced.unfold(1, 2, 1).movedim(-1, 2).flip(1, 2).flatten(0, 1), 0.7)]
    pairs = levels[0]
    while min(levels[-1].shape[-2:]) >= 40:
        levels.append(F.avg_pool2d(blurred(levels[-1], 0.8), 2))
    p = grey.new_zeros(len(pairs), 6)
    for n, level in enumerate(reversed(levels)):
        p, scale = p * (1 + (n > 0)), SCALES[min(n, len(SCALES) - 1)]
        for _ in range(4 if n else 8):
            p = _corrected(level, p, scale)
    left, all_ = (_outliers(levels[0], motion).view(b, k - 1) for motion in (p, 0 * p))
    path = (p * factor).view(b, k - 1, 6)
    path = path * (seen[:, None] > torch.arange(1, k, device=seen.device)).to(path)[..., None]
    moved = path[:, :RECENT].unflatten(2, (2, 3)) * path.new_tensor([1, 0.6, 0.6])
    speed = moved.square().sum(dim=(2, 3)).sqrt().mean(dim=1)
    left, all_ = (outliers[:, :RECENT].mean(dim=1) for outliers in (left, all_))
    return path, (left < EXPLAINED * all_) & (all_ > OUTLIERS) & (speed > SLOWEST)


def affine(p: Float[Tensor, "b 6"], places: Field) -> Field:
    """The displacement of each place: p_0 + p_1 u + p_2 v along columns, then the same along rows;
    u and v are 0 in the middle of the frame, 1 at the end of its longer side.
    """
    return torch.einsum("bij,bjhw->bihw", p.unflatten(1, (2, 3)), _basis(places))


def _basis(places: Field) -> Float[Tensor, "b 3 h w"]:
    h, w = places.shape[-2:]
    u, v = (places[:, k] - (n - 1) / 2 for k, n in enumerate((w, h)))
    return torch.stack([torch.ones_like(u), 2 * u / max(h, w), 2 * v / max(h, w)], dim=1)


def _corrected(
    pairs: Float[Tensor, "n 2 h w"], p: Float[Tensor, "n 6"], scale: float
) -> Float[Tensor, "n 6"]:
    x = pixels(pairs).expand(len(pairs), -1, -1, -1)
    carried = sampled(pairs[:, 1:], x - affine(p, x))
    r = pairs[:, :1] - carried
    slopes = zip(gradient(pairs[:, :1]), gradient(carried), strict=True)
    J = torch.cat([(a + b) / 2 * _basis(x) for a, b in slopes], dim=1).flatten(2)
    W = J / (1 + (r / scale).square()).flatten(2)
    H = W @ J.mT
    damping = 1e-3 * H.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-6
    H = H + damping[:, None, None] * torch.eye(6, device=p.device)
    return p - torch.linalg.solve(H, (W * r.flatten(2)).sum(dim=2))


def _outliers(pairs: Float[Tensor, "n 2 h w"], p: Float[Tensor, "n 6"]) -> Float[Tensor, " n"]:
    x = pixels(pairs).expand(len(pairs), -1, -1, -1)
    squares = (pairs[:, :1] - sampled(pairs[:, 1:], x - affine(p, x))).square()
    return (squares / (squares + 0.05**2)).mean(dim=(1, 2, 3))


def stabilised(frames: Float[Tensor, "b k c h w"], path: Path) -> Float[Tensor, "b k c h w"]:
    """The frames as seen from the place of the camera at the last frame."""
    places, moved = pixels(frames[:, 0]), [frames[:, -1]]
    places = places.expand(len(frames), -1, -1, -1)
    for lag, p in enumerate(path.unbind(dim=1), start=2):
        places = places - affine(p, places)
        moved.append(sampled(frames[:, -lag], places))
    return torch.stack(moved[::-1], dim=1)


def continued(path: Path, seen: Float[Tensor, " b"]) -> Float[Tensor, "b 6"]:
    """The velocity that the camera goes on with: the mean of the last pairs, times the share of it
    that was travelled when the past was forecast so; translation and the rest apart.
    """
    parts = path.unflatten(2, (2, 3)).split([1, 2], dim=3)
    return torch.cat([_lasting(part, seen) for part in parts], dim=2).flatten(1)


def _lasting(part: Float[Tensor, "b j 2 n"], seen: Float[Tensor, " b"]) -> Float[Tensor, "b 2 n"]:
    dot = square = part.new_zeros(len(part))
    for origin in range(1, part.shape[1] - RECENT):
        v = part[:, origin : origin + RECENT].mean(dim=1)
        real = (seen > origin + RECENT).to(part)
        for lead in range(1, origin + 1):
            travelled = part[:, origin - lead : origin].sum(dim=1)
            dot = dot + real * (lead * v * travelled).sum(dim=(1, 2))
            square = square + real * (lead * v).square().sum(dim=(1, 2))
    share = ((dot + 1e-3) / (square + 2e-3)).clamp(0, 1)
    count = (seen - 1).clamp(1, RECENT)
    return part[:, :RECENT].sum(dim=1) * (share / count)[:, None, None]
