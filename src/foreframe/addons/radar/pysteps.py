"""A forecaster as a nowcasting method of pysteps (https://pysteps.github.io), by its interface.

pysteps itself reads the entry point of this module, `pysteps.plugins.nowcasts`, in no release yet
(its issue #394, pull request #418): until then `register` makes the method known to it.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from foreframe.api import predict
from foreframe.base.extras import needed
from foreframe.base.notes import warn
from foreframe.data.arrays import array_of
from foreframe.forecasting.forecast_options import TiledOptions, changed

WETTEST = 12.0  # mm/h, which the mean of wet pixels of a radar seldom reaches


def forecast(
    precip: Any,
    velocity: Any,
    timesteps: Any,
    *,
    weights: Any = "radar",
    n_ens_members: int | None = None,
    seed: int | None = None,
    timestep: float | None = None,
    kmperpixel: float | None = None,
    **options: Any,
) -> Float[np.ndarray, "*members steps m n"]:
    """Forecast rain as methods of pysteps do.

        future = foreframe.addons.radar.pysteps.forecast(precip, None, 12, timestep=5, kmperpixel=2)

    Args:
        precip: (t,m,n), rain in mm/h, as importers of pysteps and `conversion.to_rainrate` give it,
            not in dB, as values below 0 or a large mean are; the last frame is now, NaN is a
            missing value. The weights `radar` use ten frames; a note reports fewer.
        velocity: not used, and may be None: the weights `radar` find the motion themselves, in
            several ways.
        timesteps: how many frames, or a list of those that are wanted, counted from 1: [3, 6, 12].
        weights: a run, a forecaster of rain, or what `Forecaster.load` takes.
        n_ens_members: how many members; None is one forecast, without members.
        seed: of the members; equal seeds draw equal ones, and None is 0.
        timestep: minutes from frame to frame, and
        kmperpixel: kilometres from pixel to pixel: a note appears if they are missing or differ
            from those that the weights were scored at (5 and 2 for `radar`). They change no value.
        options: further fields of `TiledOptions` by name, such as match, tile and budget. Options
            of other methods, such as n_cascade_levels, are errors.

    Returns:
        (timesteps,m,n), or with members (n_ens_members,timesteps,m,n), mm/h, float32, NaN where no
        past frame has a value.

    Raises:
        ValueError: other axes, values below 0 (dB), fractions of a frame, an option that does not
            exist; as `foreframe.predict`.
    """
    members = {"members": n_ens_members, "seed": seed or 0}
    how = asdict(changed(TiledOptions(), members | options))
    frames, leads = array_of(np.asanyarray(precip)), whole_frames(timesteps)
    if frames.ndim != 3:
        raise ValueError(f"precip is (t,m,n), frames of the past, not of shape {frames.shape}")
    if (frames < 0).any():
        raise ValueError("precip is below 0, as dB is: pysteps' conversion.to_rainrate gives mm/h")
    wet = frames[frames >= 0.1]
    if wet.size and wet.mean() > WETTEST:
        cure = "pysteps' conversion.to_rainrate converts that to mm/h"
        warn(f"precip has a mean of {wet.mean():.3g} mm/h where it is wet, as dBZ would: {cure}")
    t, m, _ = frames.shape
    places: dict[str, Any] = {}
    if timestep:
        places["time"] = ("time", timestep * np.arange(t), {"units": "minutes"})
    if kmperpixel:
        places["y"] = ("y", -1000 * kmperpixel * np.arange(m), {"units": "m"})
    rain = xr.DataArray(frames, places, ("time", "y", "x"), "precip", {"units": "mm/h"})
    # pysteps expects the grid of its input. Compiled cells would change the last bits after some
    # forecasts.
    how |= {"reading": {"coarsen": 1}, "compile": False}
    made: Any = predict(weights, rain, steps=int(leads.max()), **how)
    return np.take(made.frames[..., 0, :, :], leads - 1, axis=-3)


def whole_frames(timesteps: Any) -> np.ndarray:
    """Which frames ahead are meant by a number of them, or by a list, counted from 1."""
    leads = np.atleast_1d(timesteps)
    if leads.dtype.kind not in "iuf" or not leads.size or (leads < 1).any() or (leads % 1).any():
        raise ValueError(f"timesteps are whole frames, 12 or [3, 6, 12], not {timesteps!r}")
    return leads.astype(int) if np.ndim(timesteps) else np.arange(1, int(leads[0]) + 1)


def register() -> None:
    """Make `pysteps.nowcasts.get_method("foreframe")` give `forecast`, and so pysteps' own blending
    and scripts that name a method.

    Raises:
        ValueError: no pysteps, or one that keeps its methods elsewhere.
    """
    interface = needed("pysteps.nowcasts.interface", "pysteps", "a method of pysteps")
    methods = getattr(interface, "_nowcast_methods", None)
    if not isinstance(methods, dict):
        raise ValueError("this pysteps has no table of methods: call `forecast` itself")
    methods["foreframe"] = forecast
