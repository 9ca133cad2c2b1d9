"""Moving objects as a layer of their own in front of a background that the past shows."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.models.interface import Model, State, push_ring
from foreframe.models.motion import (
    Field,
    advected,
    blurred,
    exactly,
    motion_of,
    pixels,
    residuals,
    sampled,
)  # fmt: skip

Map = Float[Tensor, "b 1 h w"]
Frame = Float[Tensor, "b c h w"]

KEPT, PAIRS = 10, 4  # frames that a state keeps, and pairs of frames that motion is found from
OUTLIER = 0.03  # residual at which a pixel is taken as unexplained, as a share of the range
LENIENCE = 0.1, 0.4  # for motion against rest, where a pixel is as usual and where it differs
SLOWEST = 0.02  # pixels a frame
DEVIATES = 0.02, 0.06  # from the background, as a share of the range: where the object begins
SMOOTH = 6.0  # pixels: motion within an object
FAR = slice(5, 9)  # lags that motion was not found from, which judge whether it lasts
FRONT = 3.0  # per pixel a frame: which of two objects that meet is in front, by their motion
LEAST = 0.75  # share of the speed that is left after a frame, if it did not last


class LayeredMotion(Model):
    """Objects that move on with their shape and contrast, in front of the background.

    1. Motion V of the last frame as in `DenseMotion`. A pixel may move if V explains the frames
       before about as well as rest does. If it differs from their median, less suffices.
    2. Background: the mean of those past frames in which no moving pixel covers it. Objects are
       pixels that may move and differ from it; if no past frame shows it, all that may move.
    3. V is averaged over neighbouring pixels of objects. It slows down if it does not explain the
       frames 6 to 9 before the last: the speed is multiplied by 0.75 to 1 each frame.
    4. Objects are moved forward, mask and appearance together, by one bicubic interpolation of the
       last frame. If two meet, one is in front, by the direction of its motion. They uncover the
       background. If the past does not show it, the last frame is moved as in `DenseMotion`.

    Forecasts are as sharp as the last frame. Any number of channels; the motion is that of their
    mean. No parameters. In frames with a side below 8 pixels nothing moves.
    """

    sized = True

    def __init__(self) -> None:
        super().__init__()
        self.channels = None  # any

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last frames, and how many of them were seen."""
        return push_ring(past, state, KEPT)

    def begin(self, state: State) -> State:
        frames, seen = state["frames"].float(), state["frames_seen"]
        with exactly(frames):
            return _layers(frames, seen)

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        V, frame, mask = state["V"], state["frame"], state["mask"]
        with exactly(frame):
            x, travelled = pixels(V), 1 + state["lasts"] * state["travelled"]
            D = V * travelled
            weight = state["front"] * (mask > 0.5) + 1e-6 * mask  # not by faint edges
            landed = _splatted(torch.cat([weight * D, weight, mask], dim=1), x + D)
            near = blurred(landed, 1.0)  # closes gaps where an object grows
            sparse = landed[:, 3:] < 0.3
            back = _mean(near[:, :3]).where(sparse, _mean(landed[:, :3]))
            moved = sampled(mask, x - back) * ((near[:, 3:] - 0.15) * 3).clamp(0, 1)
            dense = {"frame": frame, "V": state["dense"], "D": state["D"]}
            carried, dense = advected(dense)
            behind = state["behind"] + state["unknown"] * carried[:, 0]
            future = moved * _cubic(frame, x - back) + (1 - moved) * behind
        return future.unsqueeze(1), state | {"travelled": travelled, "D": dense["D"]}


def _layers(frames: Float[Tensor, "b k c h w"], seen: Float[Tensor, " b"]) -> State:
    """Objects, their motion and what is behind them, at the last frame."""
    grey, frame = frames.mean(dim=2), frames[:, -1]
    V = motion_of(grey[:, -1 - PAIRS :], seen.clamp(max=1 + PAIRS), PAIRS)
    rest, along = (residuals(grey, seen, field) for field in (0 * V, V))
    near, far = slice(0, PAIRS), FAR
    trust, energy = _explained(rest[:, near], along[:, near], 4.0)
    lasting, _ = _explained(rest[:, far], along[:, far], 6.0)
    advantage = _unexplained(rest) - _unexplained(along)
    advantage = blurred(advantage, 1.0) + blurred(advantage, 3.0) / 2
    dense = V * trust
    speed = dense.square().sum(dim=1, keepdim=True).sqrt()
    free = ((speed - SLOWEST) / SLOWEST).clamp(0, 1)
    unusual = _differs(frame, frames.median(dim=1).values)
    advantage = advantage + LENIENCE[0] + (LENIENCE[1] - LENIENCE[0]) * unusual
    mobile = torch.sigmoid(20 * advantage) * free
    weight = mobile * energy.sqrt() * trust
    background, known = _background(frames, seen, mobile, _within(dense, weight))
    differs = _differs(frame, background)
    mask = (blurred(known * differs + (1 - known) * mobile, 0.8) * 1.5).clamp(0, 1)
    mask = mask * ((blurred(mobile, 3.0) - 0.05) * 5).clamp(0, 1)
    weight = weight * mask
    lasts = LEAST + (1 - LEAST) * lasting
    weight = weight + 1e-7
    lasts = blurred(weight * lasts, 8.0) / blurred(weight, 8.0)
    filled, known = _filled(background, known)
    V = _within(dense, weight)
    return {
        "frame": frame,
        "V": V,
        # Two objects that meet would be torn if their motions were averaged: one is in front.
        "front": (FRONT * (V[:, :1] + V[:, 1:] / 2)).clamp(-12, 12).exp(),
        "lasts": lasts,
        "travelled": torch.zeros_like(lasts),
        "mask": mask,
        "behind": mask * known * filled + (1 - mask) * frame,
        "unknown": mask * (1 - known),
        "dense": dense,
        "D": torch.zeros_like(dense),
    }


def _differs(frame: Frame, background: Frame) -> Map:
    off = (frame - background).abs().mean(dim=1, keepdim=True)
    return ((off - DEVIATES[0]) / (DEVIATES[1] - DEVIATES[0])).clamp(0, 1)


def _explained(
    rest: Float[Tensor, "b j h w"], along: Float[Tensor, "b j h w"], sigma: float
) -> tuple[Map, Map]:
    """Trust in the motion as in `DenseMotion`, and the squared residuals of rest."""
    E_0, E_V = (blurred(r.square().sum(dim=1, keepdim=True), sigma) for r in (rest, along))
    return (2 * (1 - E_V / (E_0 + 1e-5))).clamp(0, 1), E_0


def _unexplained(residual: Float[Tensor, "b j h w"]) -> Map:
    """The share of the last six pairs in which a pixel is an outlier."""
    squares = residual[:, :6].square()
    return (squares / (squares + OUTLIER**2)).mean(dim=1, keepdim=True)


def _within(V: Field, weight: Map) -> Field:
    """The mean motion of an object's pixels nearby; further away of all that move."""
    sums = torch.cat([(weight + 1e-7) * V, weight + 1e-7], dim=1)
    return _mean(blurred(sums, SMOOTH) + 0.02 * blurred(sums, 3 * SMOOTH))


def _mean(sums: Float[Tensor, "b 3 h w"]) -> Field:
    return sums[:, :2] / sums[:, 2:].clamp(min=1e-12)


def _background(
    frames: Float[Tensor, "b k c h w"], seen: Float[Tensor, " b"], mobile: Map, V: Field
) -> tuple[Frame, Map]:
    """The mean of past frames without what moves, and how well they show it, 0 to 1."""
    x, k = pixels(V), frames.shape[1]
    lags = range(1, k)
    covered = [blurred(_splatted(mobile, x - lag * V), 2.0) * 2.5 for lag in lags]
    real = (seen[:, None] > torch.arange(1, k, device=seen.device)).to(V)[..., None, None, None]
    open_ = torch.stack([(1 - cover).clamp(0, 1) for cover in covered], dim=1) * real
    before, total = frames[:, :-1].flip(1), open_.sum(dim=1)
    background = (open_ * before).sum(dim=1) / (total + 1e-6)
    for _ in range(2):  # outliers count less
        off = (before - background.unsqueeze(1)).abs().mean(dim=2, keepdim=True)
        weight = open_ / (1 + (off / 0.05).square())
        background = (weight * before).sum(dim=1) / (weight.sum(dim=1) + 1e-6)
    return background, ((total - 0.3) / 0.7).clamp(0, 1)


def _filled(background: Frame, known: Map) -> tuple[Frame, Map]:
    """The background, continued over a few pixels from where it is known."""
    near = blurred(torch.cat([background * known, known], dim=1), 3.0)
    continued = near[:, :-1] / (near[:, -1:] + 1e-6)
    filled = known * background + (1 - known) * continued
    return filled, known.maximum((2 * near[:, -1:]).clamp(0, 1))


def _splatted(values: Float[Tensor, "b n h w"], places: Field) -> Float[Tensor, "b n h w"]:
    """Each value added to the four pixels around its place, by bilinear weights."""
    b, n, h, w = values.shape
    corner = places.floor()
    out, flat = values.new_zeros(b, n, h * w), values.flatten(2)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = corner[:, 0] + right, corner[:, 1] + down
        near = (1 - (places[:, 0] - column).abs()) * (1 - (places[:, 1] - row).abs())
        near = near * ((column >= 0) & (column < w) & (row >= 0) & (row < h))
        index = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
        index = index.long().flatten(1).unsqueeze(1).expand(b, n, h * w)
        out = out.scatter_add(2, index, flat * near.flatten(1).unsqueeze(1))
    return out.view(b, n, h, w)


def _cubic(frame: Frame, places: Field) -> Frame:
    """As `sampled`, by bicubic interpolation, within the frame's values."""
    h, w = frame.shape[-2:]
    grid = torch.stack([(2 * places[:, 0] + 1) / w - 1, (2 * places[:, 1] + 1) / h - 1], dim=-1)
    values = F.grid_sample(frame, grid, mode="bicubic", padding_mode="border", align_corners=False)
    low, high = frame.amin(dim=(2, 3), keepdim=True), frame.amax(dim=(2, 3), keepdim=True)
    return values.clamp(low, high)
