"""Baselines: forecasts without training, which any model has to beat."""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.base.extras import registered
from foreframe.base.schema import choice
from foreframe.models.checks import within
from foreframe.models.interface import Future, Model, Past, State, pad_with_oldest, push_ring
from foreframe.models.registry import BASELINES

SCORED = ("black", "mean", "persistence", "linear_motion", "dense_motion")
"""Baselines of every scorecard: those that need neither a package nor a period."""


class _Baseline(Model):
    """A model without parameters, for any number of channels."""

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the last frame."""
        return {"frame": past[:, -1]}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        """The state's frame, again and again."""
        return state["frame"].unsqueeze(1), state


class Black(_Baseline):
    """Zero everywhere; on Moving MNIST this beats persistence."""

    def begin(self, state: State) -> State:
        return {"frame": torch.zeros_like(state["frame"])}


class Persistence(_Baseline):
    """The last frame, again and again."""


class Mean(_Baseline):
    """The mean of all past frames, pixel by pixel."""

    def encode(self, past: Past, state: State | None = None) -> State:
        total, count = past.sum(dim=1), past.new_full((past.shape[0],), past.shape[1])
        if state is not None:
            total, count = total + state["total"], count + state["count"]
        return {"total": total, "count": count}

    def begin(self, state: State) -> State:
        return {"frame": state["total"] / state["count"].view(-1, 1, 1, 1)}


class Cycle(_Baseline):
    """Each future frame is the one a period before it, such as the same hour yesterday; beyond a
    period the forecast repeats.

    The oldest frame is repeated if there are fewer than `period`.

    Args:
        period: in frames: 24 for a day of hourly frames, 12 for a year of monthly ones.

    Raises:
        ValueError: a period below 1, or above 10,000.
    """

    def __init__(self, period: int = 24) -> None:
        super().__init__()
        within(1, 10_000, period=period)  # frames that a state keeps
        self.period = period

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the last `period` frames."""
        return push_ring(past, state, self.period)

    def begin(self, state: State) -> State:
        return {"frames": pad_with_oldest(state)}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        return self.advance(state, 1)

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        """At once, without a copy of the period at each step."""
        frames = state["frames"]
        turn = torch.arange(steps, device=frames.device) % self.period
        return frames[:, turn], {"frames": frames.roll(-steps, dims=1)}


class LinearMotion(_Baseline):
    """The last frame, moved on by one shift for the whole frame (phase correlation, Kuglin & Hines
    1975).

    The normalised cross-power spectra of all neighbouring past frames are added up. The peak of
    their inverse transform is the shift from frame to frame. The centre of mass of its 3x3
    surroundings refines it to a fraction of a pixel. Pixels that move in from outside are zero.
    """

    def encode(self, past: Past, state: State | None = None) -> State:
        frames = past if state is None else torch.cat([state["frame"].unsqueeze(1), past], dim=1)
        correlate = _correlation_by_products if torch.compiler.is_exporting() else _correlation
        peaks = correlate(frames.float())
        return {
            "frame": past[:, -1],
            "correlation": peaks if state is None else state["correlation"] + peaks,
        }

    def begin(self, state: State) -> State:
        """`shift`: rows and columns a frame; `ahead`: lead times made so far."""
        shift = _peak(state["correlation"])
        return {"frame": state["frame"], "shift": shift, "ahead": shift.new_zeros(shift.shape[0])}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        frame, ahead = state["frame"], state["ahead"] + 1
        h, w = frame.shape[-2:]
        moved = state["shift"] * ahead[:, None]  # (b,2)
        # Where each pixel comes from, in the [-1,1] of grid_sample (pixel centres at (2k+1)/n - 1).
        rows = (2 * torch.arange(h, device=frame.device) + 1) / h - 1
        columns = (2 * torch.arange(w, device=frame.device) + 1) / w - 1
        y = (rows - 2 * moved[:, :1] / h)[:, :, None].expand(-1, h, w)
        x = (columns - 2 * moved[:, 1:] / w)[:, None, :].expand(-1, h, w)
        grid = torch.stack([x, y], dim=-1)
        carried = F.grid_sample(frame.float(), grid, align_corners=False)
        return carried.to(frame.dtype).unsqueeze(1), state | {"ahead": ahead}


def _correlation(frames: Past) -> Float[Tensor, "b h w"]:
    """The phase correlations of neighbouring frames, added up over time and channels."""
    spectra = torch.fft.rfft2(frames)
    cross = spectra[:, 1:] * spectra[:, :-1].conj()
    cross = (cross / (cross.abs() + 1e-9)).sum(dim=(1, 2))
    return torch.fft.irfft2(cross, s=frames.shape[-2:])


def _correlation_by_products(frames: Past) -> Float[Tensor, "b h w"]:
    """The same in real numbers and by matrix products, as runtimes have no Fourier transform of
    any size.
    """
    h, w = frames.shape[-2:]
    (C_h, S_h), (C_w, S_w) = (_waves(n, frames.device) for n in (h, w))
    x = frames.double()
    re, im = C_h @ x @ C_w - S_h @ x @ S_w, -(S_h @ x @ C_w + C_h @ x @ S_w)
    a, b, a_0, b_0 = re[:, 1:], im[:, 1:], re[:, :-1], im[:, :-1]
    re, im = a * a_0 + b * b_0, b * a_0 - a * b_0
    size = (re.square() + im.square()).sqrt() + 1e-9
    re, im = (re / size).sum(dim=(1, 2)), (im / size).sum(dim=(1, 2))
    waves = C_h @ re @ C_w - S_h @ re @ S_w - S_h @ im @ C_w - C_h @ im @ S_w
    return (waves / (h * w)).to(frames.dtype)


def _waves(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of 2π j k / n, (n,n)."""
    k = torch.arange(n, device=device, dtype=torch.float64)
    turns = k[:, None] * k / n
    angle = 2 * math.pi * (turns - turns.floor())
    return angle.cos(), angle.sin()


def _peak(correlation: Float[Tensor, "b h w"]) -> Float[Tensor, "b 2"]:
    """Return row and column of the maximum in pixels, up to half a frame in either direction. The
    centre of mass of its 3x3 surroundings, which wrap around, refines it.
    """
    b, h, w = correlation.shape
    best = correlation.flatten(1).argmax(dim=1)
    row = best // w
    column = best - row * w
    near = torch.arange(-1, 2, device=correlation.device)
    rows, columns = (row[:, None] + near) % h, (column[:, None] + near) % w
    batch = torch.arange(b, device=correlation.device)[:, None, None]
    mass = correlation[batch, rows[:, :, None], columns[:, None, :]].clamp(min=0)
    total = mass.sum(dim=(1, 2)).clamp(min=1e-9)
    fine_row = (mass.sum(dim=2) * near).sum(dim=1) / total
    fine_column = (mass.sum(dim=1) * near).sum(dim=1) / total
    signed_row = torch.where(row > h // 2, row - h, row)
    signed_column = torch.where(column > w // 2, column - w, column)
    return torch.stack([signed_row + fine_row, signed_column + fine_column], dim=1)


def guide_of(guide: str | Mapping[str, Any]) -> Model:
    """Build a baseline that guides a head.

    Args:
        guide: a name of `BASELINES`, or {name: its arguments}, such as {"cycle": {"period": 24}}.

    Raises:
        ValueError: an unknown name, arguments that it does not take.
    """
    name, args = choice(BASELINES, guide, "guide")
    return BASELINES[name](**args)


def baselines_here(units: str = "") -> tuple[str, ...]:
    """Return the baselines of a scorecard for data in these units: SCORED, optical_flow if OpenCV
    is installed, and the baselines of installed packages for these units. Rain in mm/h also has the
    mean of a lagged ensemble, since the origin of a forecast is soon uncertain.
    """
    flow = ("optical_flow",) if find_spec("cv2") else ()
    added = [name for name in registered("baselines") if BASELINES[name].made_for == units != ""]
    return (*SCORED, *flow, *added, *(("lagged",) if units == "mm/h" else ()))
