"""The nowcasts of pysteps as forecasters (Pulkkinen et al. 2019, Geoscientific Model Development
12, 4185-4219), for comparisons of rain forecasts. The calls follow its user guide.
"""

import io
from contextlib import redirect_stdout
from copy import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.extras import needed
from foreframe.base.notes import warn
from foreframe.base.wording import in_one_line
from foreframe.clips.scaling import Scaling
from foreframe.models.interface import Future, Model, State, push_ring

Rain = Float[np.ndarray, "_ h w"]  # mm/h

DRY, DRY_DB = 0.1, -15.0  # mm/h below which it is dry, and what that is in dB
MEMBERS = 24  # of the mean of STEPS


class Nowcast(Model):
    """Rain moved along the motion of Lucas & Kanade between the last three frames, both by pysteps.
    A subclass adds growth and decay.

    It computes in mm/h, so it needs the scaling of its frames (`in_units`). A dry frame stays dry
    and a single frame is repeated; with fewer frames than a method needs it extrapolates. Pixels
    that move in from outside, without a value of pysteps, get the nearest value. All steps are
    computed before the first one, and no further steps can follow. It has no parameters and no
    gradient.

    Raises:
        ValueError: pysteps is missing, or rejects its input, such as a frame that is too small for
            its cascade; units other than mm/h.
    """

    needs = 3  # frames

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.scaling = 1, Scaling()

    def in_units(self, scaling: Scaling) -> "Nowcast":
        if scaling.units not in ("", "mm/h"):
            raise ValueError(f"pysteps' nowcasts are of rain in mm/h, not of {scaling.units}")
        other = copy(self)
        other.scaling = scaling
        return other

    def encode(self, past: Float[Tensor, "b t 1 h w"], state: State | None = None) -> State:
        """Keep the last frames and their number."""
        return push_ring(past, state, self.needs)

    def exogenous(self, state: State, steps: int) -> State:
        """Return all steps of the forecast, or of a member for each key in the state."""
        frames, seen = state["frames"], state["frames_seen"].long().tolist()
        rain = self.scaling.to_units(frames[:, :, 0].float()).clamp(min=0).cpu().numpy()
        keys = state["key"].tolist() if "key" in state else [None] * len(seen)
        clips = zip(rain, seen, keys, strict=True)
        made = [self.forecast(clip[-n:], steps, key) for clip, n, key in clips]
        forecast = torch.from_numpy(np.stack(made)).to(frames).unsqueeze(2)
        return {"forecast": self.scaling.to_network(forecast)}

    def begin(self, state: State) -> State:
        return {"forecast": state["forecast"]}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        forecast = state["forecast"]
        if not forecast.shape[1]:
            raise ValueError("pysteps' nowcasts make the requested steps, and no more")
        return forecast[:, :1], {"forecast": forecast[:, 1:]}

    def forecast(self, rain: Rain, steps: int, key: int | None) -> Rain:
        """Return the next frames, without missing values."""
        with redirect_stdout(io.StringIO()):  # pysteps prints its settings and its progress
            needed("pysteps", "pysteps", "a nowcast of pysteps")
            needed("cv2", "pysteps", "the motion of pysteps' nowcasts")
            if len(rain) == 1 or rain[-1].max() < DRY:
                return np.repeat(rain[-1:], steps, axis=0)
            method = self if len(rain) >= self.needs else Nowcast()
            with in_one_line("pysteps cannot forecast this"):
                from pysteps import motion

                V = motion.get_method("lucaskanade")(in_db(rain[-3:]))
                made = method.moved(rain, V, steps, key)
        return filled(made.astype(np.float32), rain[-1])

    def moved(self, rain: Rain, V: np.ndarray, steps: int, key: int | None) -> Rain:
        """Return the next frames, NaN for missing values; V (2,h,w) is the motion, in pixels."""
        from pysteps.nowcasts import extrapolation

        return np.asarray(extrapolation.forecast(rain[-1], V, steps))


class SProg(Nowcast):
    """S-PROG (Seed 2003, Journal of Applied Meteorology 42, 381-388): small features fade first,
    because they are the least predictable. It approximates the mean of possible futures.
    """

    def moved(self, rain: Rain, V: np.ndarray, steps: int, key: int | None) -> Rain:
        from pysteps.nowcasts import sprog

        how: dict[str, Any] = {"precip_thr": -10.0, "probmatching_method": "mean"}
        levels = cascade_levels(rain)
        return in_mm_h(sprog.forecast(in_db(rain), V, steps, n_cascade_levels=levels, **how))


class Anvil(Nowcast):
    """ANVIL (Pulkkinen et al. 2020, Monthly Weather Review 148, 3489-3507): growth and decay by
    scale and place.
    """

    needs = 4

    def moved(self, rain: Rain, V: np.ndarray, steps: int, key: int | None) -> Rain:
        from pysteps.nowcasts import anvil

        return np.asarray(anvil.forecast(rain, V, steps, ar_window_radius=50, ar_order=2))


class Steps(Nowcast):
    """STEPS (Bowler et al. 2006, Quarterly Journal 132, 2127-2155): S-PROG with noise where
    features fade, and perturbed motion. The forecast without members is the mean of 24.

    Args:
        spacing: km from pixel to pixel.
        interval: minutes from frame to frame. The uncertainty of the motion depends on both; those
            of recordings replace them (`on_grid`).
    """

    draws = True

    def __init__(self, spacing: float = 2.0, interval: float = 5.0) -> None:
        super().__init__()
        self.spacing, self.interval = spacing, interval

    def on_grid(self, spacing: float | None, step: float | None) -> "Steps":
        other = copy(self)
        other.spacing = spacing / 1000 if spacing else self.spacing
        other.interval = step / 60 if step else self.interval
        if not (spacing and step):
            grid = f"{other.spacing:g} km from row to row, {other.interval:g} min between frames"
            warn(f"pysteps/steps assumes {grid}: the data do not say both")
        return other

    def moved(self, rain: Rain, V: np.ndarray, steps: int, key: int | None) -> Rain:
        from pysteps.nowcasts import steps as pysteps_steps

        made = pysteps_steps.forecast(
            in_db(rain), V, steps,
            n_ens_members=MEMBERS if key is None else 1,
            n_cascade_levels=cascade_levels(rain), precip_thr=-10.0,
            kmperpixel=self.spacing, timestep=self.interval,
            noise_method="nonparametric", vel_pert_method="bps", mask_method="incremental",
            seed=0 if key is None else key % 2**32,
        )  # fmt: skip
        return np.asarray(in_mm_h(made).mean(axis=0))


def in_db(rain: Rain) -> Rain:
    from pysteps.utils.transformation import dB_transform

    return np.asarray(dB_transform(rain, threshold=DRY, zerovalue=DRY_DB)[0])


def in_mm_h(db: np.ndarray) -> np.ndarray:
    from pysteps.utils.transformation import dB_transform

    return np.asarray(dB_transform(db, threshold=-10.0, inverse=True)[0])


def cascade_levels(rain: Rain) -> int:
    """Return the levels of the cascade of scales: 6, fewer for frames below 128 pixels."""
    return int(min(6, max(2, np.log2(min(rain.shape[1:])) - 1)))


def filled(forecast: Rain, last: Float[np.ndarray, "h w"]) -> Rain:
    """Replace missing values by the nearest value, or by the last frame if all are missing."""
    from scipy.ndimage import distance_transform_edt

    for frame in forecast:
        missing = ~np.isfinite(frame)
        if missing.all():
            frame[:] = last
        elif missing.any():
            nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
            frame[:] = frame[tuple(nearest)]
    return forecast
