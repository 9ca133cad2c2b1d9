"""Baselines: forecasts without training, which any model has to beat."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.base.schema import choice
from foreframe.base.shipped import FREE
from foreframe.models.interface import Model, State
from foreframe.models.motion import DenseMotion
from foreframe.models.optical_flow import OpticalFlow

Past = Float[Tensor, "b t c h w"]
Future = Float[Tensor, "b steps c h w"]


class _Baseline(Model):
    """A model without parameters, for any number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.args = {}
        self.channels = None  # any

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the last frame."""
        return {"frame": past[:, -1]}


class Black(_Baseline):
    """Zero everywhere; on Moving MNIST this beats persistence."""

    def decode(self, state: State, steps: int) -> Future:
        return torch.zeros_like(state["frame"]).unsqueeze(1).repeat(1, steps, 1, 1, 1)


class Persistence(_Baseline):
    """The last frame, again and again."""

    def decode(self, state: State, steps: int) -> Future:
        return state["frame"].unsqueeze(1).repeat(1, steps, 1, 1, 1)


class Mean(_Baseline):
    """The mean of all past frames, pixel by pixel."""

    def encode(self, past: Past, state: State | None = None) -> State:
        total, count = past.sum(dim=1), past.new_full((past.shape[0],), past.shape[1])
        if state is not None:
            total, count = total + state["total"], count + state["count"]
        return {"total": total, "count": count}

    def decode(self, state: State, steps: int) -> Future:
        mean = state["total"] / state["count"].view(-1, 1, 1, 1)
        return mean.unsqueeze(1).repeat(1, steps, 1, 1, 1)


class Cycle(_Baseline):
    """Each future frame is the one a period before it, such as the same hour yesterday; beyond a
    period the forecast repeats.

    Where fewer than `period` frames were seen, the oldest is repeated before them.

    Args:
        period: in frames: 24 for a day of hourly frames, 12 for a year of monthly ones.

    Raises:
        ValueError: a period below 1, or above 10,000.
    """

    def __init__(self, period: int = 24) -> None:
        super().__init__()
        if not 1 <= period <= 10_000:  # frames that a state keeps
            raise ValueError(
                f"cycle needs a period of at least 1 frame, and 10,000 at most, not {period}"
            )
        self.period = period
        self.args = {"period": period}

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the last `period` frames."""
        first = past[:, :1].repeat(1, self.period, 1, 1, 1)
        before = first if state is None else state["frames"]
        return {"frames": torch.cat([before, past], dim=1)[:, -self.period :]}

    def decode(self, state: State, steps: int) -> Future:
        return state["frames"][:, torch.arange(steps) % self.period]


class LinearMotion(_Baseline):
    """The last frame, moved on by one shift for the whole frame (phase correlation, Kuglin & Hines
    1975).

    The normalised cross-power spectra of all neighbouring past frames are added up. The peak of
    their inverse transform is the shift from frame to frame, refined to a fraction of a pixel by
    the centre of mass of its 3x3 surroundings. What moves in from outside is zero.
    """

    def encode(self, past: Past, state: State | None = None) -> State:
        frames = past if state is None else torch.cat([state["frame"].unsqueeze(1), past], dim=1)
        spectra = torch.fft.rfft2(frames.float())
        cross = spectra[:, 1:] * spectra[:, :-1].conj()
        cross = (cross / (cross.abs() + 1e-9)).sum(dim=(1, 2))  # over time and channels
        peaks = torch.fft.irfft2(cross, s=past.shape[-2:])
        return {
            "frame": past[:, -1],
            "correlation": peaks if state is None else state["correlation"] + peaks,
        }

    def decode(self, state: State, steps: int) -> Future:
        frame = state["frame"]
        b, c, h, w = frame.shape
        shift = _peak(state["correlation"])  # (b,2): rows, columns a frame
        ahead = torch.arange(1, steps + 1, device=frame.device, dtype=torch.float32)
        moved = shift.unsqueeze(1) * ahead.view(1, -1, 1)  # (b,steps,2)
        # Where each pixel comes from, in the [-1,1] of grid_sample (pixel centres at (2k+1)/n - 1).
        rows = (2 * torch.arange(h, device=frame.device) + 1) / h - 1
        columns = (2 * torch.arange(w, device=frame.device) + 1) / w - 1
        y = rows.view(1, 1, h, 1) - 2 * moved[..., 0, None, None] / h
        x = columns.view(1, 1, 1, w) - 2 * moved[..., 1, None, None] / w
        grid = torch.stack([x.expand(b, steps, h, w), y.expand(b, steps, h, w)], dim=-1)
        source = frame.float().repeat_interleave(steps, dim=0)
        carried = F.grid_sample(source, grid.flatten(0, 1), align_corners=False)
        return carried.unflatten(0, (b, steps)).to(frame.dtype)


def _peak(correlation: Float[Tensor, "b h w"]) -> Float[Tensor, "b 2"]:
    """Row and column of the maximum in pixels, up to half a frame in either direction, refined by
    the centre of mass of its 3x3 surroundings, which wrap around.
    """
    b, h, w = correlation.shape
    best = correlation.flatten(1).argmax(dim=1)
    row, column = best // w, best % w
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


_KINDS = (Black, Mean, Persistence, LinearMotion, DenseMotion, OpticalFlow, Cycle)
BASELINES: dict[str, type[Model]] = dict(zip(FREE, _KINDS, strict=True))
"""Every baseline by its name; any may guide a head."""


def guide_of(guide: str | Mapping[str, Any]) -> Model:
    """Build a baseline that guides a head.

    Args:
        guide: a name of `BASELINES`, or {name: its arguments}, such as {"cycle": {"period": 24}}.

    Raises:
        ValueError: an unknown name, arguments that it does not take.
    """
    name, args = choice(BASELINES, guide, "guide")
    return BASELINES[name](**args)


SCORED = tuple(name for name, kind in BASELINES.items() if kind not in (OpticalFlow, Cycle))
"""Baselines of every scorecard: those that need neither a package nor a period."""

STILL = ("black", "mean", "persistence")
"""Baselines whose forecast is the same at each lead time."""


def baselines_here() -> tuple[str, ...]:
    """SCORED, and optical_flow where OpenCV is installed; it is not imported."""
    return (*SCORED, "optical_flow") if find_spec("cv2") else SCORED
