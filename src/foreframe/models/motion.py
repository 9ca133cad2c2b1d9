"""Dense motion in plain torch, and the last frame moved along it: the best baseline of most films
and of rain, and the first guide of the default network.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.models.checks import within
from foreframe.models.interface import Model, State, deciding_size, push_ring

Field = Float[Tensor, "b 2 h w"]  # columns (x), then rows (y), in pixels

KEPT = 7  # frames that a state keeps
LAGS = (1, 3, 6)  # frames back at which the motion is checked
EVIDENCE = 2 + 2 * len(LAGS)  # channels
NARROW = 8  # pixels: the motion of frames with a shorter side is 0
# σ of residuals, as a share of the range, from the coarsest level on: wide at first, since what is
# not yet aligned is no outlier.
SCALES = (0.1, 0.05, 0.03)
WINDOW, SMOOTH = 3.0, 1.0  # Gaussians in pixels: of the least squares, and of the motion
FIRST_ROUNDS, ROUNDS = 6, 3  # corrections at the coarsest level, and at each finer one


class DenseMotion(Model):
    """The last frame, moved on along the motion of the last frames, which differs from place to
    place.

    1. Motion V(x) of the last frame I_0, so that I_0(x) ≈ I_-j(x - jV) for the `pairs` frames
       before it at once: Gauss-Newton steps of Lucas & Kanade 1981 in Gaussian windows, coarse to
       fine (Bouguet 2001), residuals weighted by 1 / (1 + (r/σ)²) (the Lorentzian of Black &
       Anandan 1996), so that places that are covered or uncovered on the way count little. All
       pairs are solved for together, where others average the motions of single pairs.
    2. Trust in the motion: E_V and E_0 are the squared residuals, summed over pairs and a window,
       with V and without. V is multiplied by 2 (1 - E_V/E_0), cut off at 0 and 1: noise and
       flicker stay in place. With `smooth` it is the mean over a Gaussian window then, weighted
       by that factor and √E_0: far ahead large patterns are left, which move as a whole.
    3. Semi-Lagrangian advection (`advected`): one interpolation of the last frame a lead time.

    Any number of channels; the motion is that of their mean. No parameters; gradients go through.
    In frames with a side below 8 pixels nothing moves.

    Args:
        pairs: number of frames before the last one that motion is found from; fewer where fewer
            were seen.
        smooth: width of that window in pixels; 0 for none.
        beyond: values that come in from outside the frame: the "nearest" of its edge, or "missing"
            (NaN).

    Raises:
        ValueError: pairs below 1 or above 6, a width below 0 or above 256.
    """

    sized = True

    def __init__(
        self,
        pairs: int = 4,
        smooth: float = 0.0,
        beyond: Literal["nearest", "missing"] = "nearest",
    ) -> None:
        super().__init__()
        within(1, KEPT - 1, pairs=pairs)
        within(0, 256, smooth=smooth)
        self.pairs, self.smooth, self.beyond = pairs, smooth, beyond

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last frames, and how many of them were seen."""
        return push_ring(past, state, KEPT)

    def begin(self, state: State) -> State:
        return {"frame": state["frames"][:, -1]} | moving(self.motion(state))

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        return advected(state, self.beyond)

    def motion(self, state: State) -> Field:
        """The motion at each place of the last frame, in pixels a frame."""
        frames, seen = state["frames"].float().mean(dim=2), state["frames_seen"]
        with exactly(frames):
            V = motion_of(frames, seen, self.pairs)
            E_0, E_V = (
                blurred(r[:, : self.pairs].square().sum(dim=1, keepdim=True), 4.0)
                for r in (residuals(frames, seen, 0 * V), residuals(frames, seen, V))
            )
            # Where it explains half of the squared error, all of the motion is trusted.
            trust = (2 * (1 - E_V / (E_0 + 1e-5))).clamp(0, 1)
            if not self.smooth:
                return V * trust
            weight = trust * E_0.sqrt() + 1e-5
            return blurred(weight * V * trust, self.smooth) / blurred(weight, self.smooth)

    def evidence(self, state: State, V: Field) -> Float[Tensor, "b e h w"]:
        """Channels by which a network can judge the motion at each place: V, in units of 4 pixels;
        and the differences of the last frame from those 1, 3 and 6 before it, without the motion
        and with it, in tenths of the range, 3 at most; 0 where so many were not seen.
        """
        frames, seen = state["frames"].float().mean(dim=2), state["frames_seen"]
        lags = [lag - 1 for lag in LAGS]
        with exactly(frames):
            errors_of = (residuals(frames, seen, 0 * V), residuals(frames, seen, V))
            errors = torch.cat([blurred(r[:, lags].square(), 1.5) for r in errors_of], dim=1)
            return torch.cat([V / 4, (errors + 1e-6).sqrt().clamp(max=0.3) * 10], dim=1)


def motion_of(frames: Float[Tensor, "b k h w"], seen: Float[Tensor, " b"], pairs: int = 4) -> Field:
    """The motion at the last of k grey frames, in pixels a frame; `seen` of them are real."""
    b, k, h, w = frames.shape
    pairs = min(pairs, k - 1)
    short = min(deciding_size((h, w)))
    if short < NARROW or pairs < 1:
        return frames.new_zeros(b, 2, h, w)
    levels = [blurred(frames, 0.7)]
    while short >> (len(levels) - 1) >= 20:
        levels.append(F.avg_pool2d(blurred(levels[-1], 0.8), 2))
    V = frames.new_zeros(b, 2, *levels[-1].shape[-2:])
    real = _real(seen, pairs)
    for n, level in enumerate(reversed(levels)):
        V, scale = _resized(V, *level.shape[-2:]), SCALES[min(n, len(SCALES) - 1)]
        slopes = gradient(level[:, -1:])
        # At first the nearest frames alone: those further back may be too far apart in place.
        for k in range(ROUNDS if n else FIRST_ROUNDS):
            V = _corrected(level, slopes, V, real if n else real[:, : k + 1], scale)
    return V


def _corrected(
    frames: Float[Tensor, "b k h w"],
    slopes: tuple[Tensor, Tensor],
    V: Field,
    real: Float[Tensor, "b j 1 1"],
    scale: float,
) -> Field:
    """One Gauss-Newton step of V, in windows, by a pixel at most, and smoothed; `slopes` are those
    of the last frame.
    """
    pairs = real.shape[1]
    half = torch.arange(1, pairs + 1, device=V.device, dtype=V.dtype).view(1, -1, 1, 1) / 2
    carried = _carried(frames, V, pairs)
    r = frames[:, -1:] - carried
    # The mean of both frames' gradients: exact to the second order, where both are aligned.
    x, y = ((a + b) * half for a, b in zip(slopes, gradient(carried), strict=True))
    weight = real / (1 + (r / scale).square())
    pairs_of = (x, x), (x, y), (y, y), (x, r), (y, r)
    terms = torch.stack([(weight * (a * b)).sum(dim=1) for a, b in pairs_of], dim=1)
    del carried, r, x, y, weight, pairs_of  # large frames fill the memory
    xx, xy, yy, xr, yr = blurred(terms, WINDOW).split(1, dim=1)
    xx, yy = xx + 1e-4, yy + 1e-4  # where there is no contrast, the coarser level's motion stays
    determinant = xx * yy - xy * xy
    step = torch.cat([xy * yr - yy * xr, xy * xr - xx * yr], dim=1) / determinant
    V = V + step / step.square().sum(dim=1, keepdim=True).clamp(min=1).sqrt()
    # A mean over neighbours, in which places of more contrast count more.
    contrast = xx + yy
    mass, total = blurred(torch.cat([V * contrast, contrast], dim=1), SMOOTH).split([2, 1], dim=1)
    return mass / total


def residuals(
    frames: Float[Tensor, "b k h w"], seen: Float[Tensor, " b"], V: Field
) -> Float[Tensor, "b j h w"]:
    """The last frame minus each of those before it, newest first, moved along V; 0 for frames that
    were not seen.
    """
    lags = frames.shape[1] - 1
    return (frames[:, -1:] - _carried(frames, V, lags)) * _real(seen, lags)


def _real(seen: Float[Tensor, " b"], pairs: int) -> Float[Tensor, "b j 1 1"]:
    """1 for each lag of which the frame was seen, else 0."""
    lag = torch.arange(1, pairs + 1, device=seen.device)
    return (seen[:, None] > lag).float()[..., None, None]


def _carried(frames: Float[Tensor, "b k h w"], V: Field, pairs: int) -> Float[Tensor, "b j h w"]:
    """The frames 1, 2, ... before the last, each moved along V to the time of the last."""
    b = V.shape[0]
    lag = torch.arange(1, pairs + 1, device=V.device, dtype=V.dtype).view(1, -1, 1, 1, 1)
    places = pixels(V).unsqueeze(1) - lag * V.unsqueeze(1)
    before = frames[:, -1 - pairs : -1].flip(1)
    return sampled(before.reshape(-1, 1, *V.shape[-2:]), places.flatten(0, 1)).view(
        b, pairs, *V.shape[-2:]
    )


def gradient(values: Float[Tensor, "b j h w"]) -> tuple[Tensor, Tensor]:
    """The derivatives along columns (x) and rows (y), by central differences."""
    wide = F.pad(values, (1, 1, 1, 1), mode="replicate")
    x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    return x, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _resized(V: Field, h: int, w: int) -> Float[Tensor, "b 2 _ _"]:
    """The motion, in pixels of frames of another size."""
    wider, higher = w / V.shape[-1], h / V.shape[-2]
    V = F.interpolate(V, size=(h, w), mode="bilinear", align_corners=False)
    return torch.stack([V[:, 0] * wider, V[:, 1] * higher], dim=1)


def moving(V: Field) -> State:
    """The motion `V` of a frame, and its displacement so far, for `advected`."""
    V = V.float()
    return {"V": V, "D": torch.zeros_like(V)}


def advected(
    state: State, beyond: Literal["nearest", "missing"] = "nearest"
) -> tuple[Float[Tensor, "b 1 c h w"], State]:
    """A step of the semi-Lagrangian advection of a frame along a constant motion, backward in time
    (Germann & Zawadzki 2002, eq. 6-9): the displacement of each pixel is added up through the
    field, D <- D + V(x - D - d/2) with d = V(x - D), and each lead time is one bilinear
    interpolation at x - D, so that it is not smoothed again and again.

    Args:
        state: `frame` (b,c,h,w), and V and D of `moving`.
        beyond: as of `DenseMotion`.
    """
    frame, V, D = state["frame"], state["V"], state["D"]
    with exactly(frame):
        x = pixels(V)
        d = sampled(V, x - D)
        D = D + sampled(V, x - D - d / 2)
        carried = sampled(frame.float(), x - D)
        if beyond == "missing":
            carried = carried.where(_inside(x - D), torch.nan)
        return carried.to(frame.dtype).unsqueeze(1), state | {"D": D}


def _inside(places: Field) -> Tensor:
    """Whether places are in the frame."""
    h, w = places.shape[-2:]
    x, y = places[:, :1], places[:, 1:]
    return (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)


def pixels(field: Float[Tensor, "b _ h w"]) -> Float[Tensor, "1 2 h w"]:
    """Column and row of each pixel."""
    h, w = field.shape[-2:]
    rows, columns = (torch.arange(n, device=field.device, dtype=field.dtype) for n in (h, w))
    return torch.stack([columns.expand(h, w), rows[:, None].expand(h, w)]).unsqueeze(0)


def sampled(values: Float[Tensor, "b c h w"], places: Field) -> Float[Tensor, "b c h w"]:
    """Values at places in pixels, by bilinear interpolation. Outside, the nearest of the edge."""
    h, w = values.shape[-2:]
    # In the [-1,1] of grid_sample, pixel centres at (2k+1)/n - 1.
    x, y = (2 * places[:, 0] + 1) / w - 1, (2 * places[:, 1] + 1) / h - 1
    return _at_grid(values, torch.stack([x, y], dim=-1))


def _at_grid(
    values: Float[Tensor, "b c _ _"], grid: Float[Tensor, "b h w 2"]
) -> Float[Tensor, "b c h w"]:
    """As `sampled`, at places in the [-1,1] of grid_sample."""
    if values.is_meta:  # torch takes longer for the shape alone than elsewhere for the values
        return values.new_empty(*values.shape[:2], *grid.shape[1:3])
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)


def displaced(
    values: Float[Tensor, "*n c h w"], by: Float[Tensor, "*n 2 h w"]
) -> Float[Tensor, "*n c h w"]:
    """The value that lies so many pixels (columns, rows) from each place, in float32."""
    far = by.flatten(0, -4).float()
    places = pixels(far)
    side = places[..., -1:, -1:] + 1
    # Every frame of every member goes through this: the grid is made in one pass.
    grid = torch.addcmul((2 * places + 1) / side - 1, far, 2 / side).movedim(1, -1)
    return _at_grid(values.flatten(0, -4).float(), grid).view(values.shape)


def blurred(
    values: Float[Tensor, "*n c h w"], sigma: float, reach: float = 2.5
) -> Float[Tensor, "*n c h w"]:
    """Blurred by a Gaussian of `sigma` pixels, cut off at `reach` sigma; edges are repeated."""
    k = values.new_tensor(_gaussian(sigma, reach))
    c, side = values.shape[-3], len(k) // 2
    # Channels last, in which such convolutions are many times as fast.
    wide = F.pad(values.flatten(0, -4), (side, side, side, side), mode="replicate")
    wide = wide.contiguous(memory_format=torch.channels_last)
    rows = F.conv2d(wide, k.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    both = F.conv2d(rows, k.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    return both.contiguous().view(values.shape)


@lru_cache
def _gaussian(sigma: float, reach: float) -> list[float]:
    """The weights, as numbers: a cached tensor might be one of inference mode."""
    side = max(1, round(reach * sigma))
    k = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(-side, side + 1)]
    return [weight / sum(k) for weight in k]


def exactly(values: Tensor) -> AbstractContextManager[None]:
    """Without autocast, since places need all of float32; the meta device has none. Where it is off
    no region is opened: exporters trace each one on its own, which takes a fourth more time.
    """
    device = values.device.type
    if values.is_meta or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
