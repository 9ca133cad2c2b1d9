"""Amounts of rain: forecasts in mm/h, added up over the next minutes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from foreframe.addons.radar.areas import Area
from foreframe.addons.radar.calibration import Calibration, chances_of
from foreframe.addons.radar.places import Place
from foreframe.clips.clip import Clip, Variable, in_seconds
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.recordings import RAIN

LEVELS = (1, 5, 10, 20)  # mm, whose probabilities are stated
QUANTILES = {"median": 0.5, "from": 0.1, "to": 0.9}


@dataclass(frozen=True, eq=False)
class Amounts:
    """The rain of the next minutes, on a map or at one location.

    Args:
        minutes: length of the period.
        steps: number of its frames.
        values: members, or a single forecast, in mm.
        chances: the probability of each of `LEVELS`; none for a single forecast.
        names: of the channels, at a location.
    """

    minutes: int
    steps: int
    values: Float[np.ndarray, "m ..."]
    chances: Float[np.ndarray, "level ..."]
    names: Sequence[str] = ()

    def at(self, place: Place | Area, names: Sequence[str]) -> "Amounts":
        """Return the amounts at one location. Probabilities in an area are shares of members."""
        values, chances = place.values_in(self.values), place.values_in(self.chances)
        if isinstance(place, Area) and len(chances):
            chances = _chances(values[..., None, None], 0.0)[..., 0, 0]
        return replace(self, values=values, chances=chances, names=names)

    @property
    def _quantiles(self) -> Float[np.ndarray, "3 ..."]:
        return np.quantile(self.values, [*QUANTILES.values()], axis=0)

    def config(self) -> dict[str, Any]:
        """Return plain values at one location, None for NaN."""
        values = {
            name: dict(zip(QUANTILES, map(plain, own), strict=True))
            for name, own in zip(self.names, self._quantiles.T, strict=True)
        }
        chances = {str(k): plain(p[0]) for k, p in zip(LEVELS, self.chances, strict=False)}
        about = {"minutes": self.minutes, "units": "mm", "values": values}
        return about | {"probability": chances or None}

    def sentence(self) -> str:
        """Return the amount at one location in words; "" without values."""
        if np.isnan(self.values).any():
            return ""
        amounts, several = [], len(self.names) > 1
        for name, own in zip(self.names, self._quantiles.T, strict=True):
            middle, low, high = (f"{value:.1f}" for value in own)
            spread = "" if low == high else f" ({low} to {high} in 8 of 10 cases)"
            kind = f"{name.split()[-1]} " if several else ""  # of an area: maximum or mean
            amounts.append(f"{kind}{middle} mm{spread}")
        text = f"Amount in {self.minutes} min: {', '.join(amounts)}"
        shares = [f"{k} mm: {100 * p[0]:.0f} %" for k, p in zip(LEVELS, self.chances, strict=False)]
        if shares:
            text += f"; {'somewhere ' if several else ''}at least {', '.join(shares)}"
        return text + "."

    def as_clip(self, like: Clip) -> Clip:
        """Return a map of the median amount, its interval and probabilities.

        Args:
            like: the forecast, whose grid and times it has.
        """
        within = f"in {self.minutes} min"
        fields = [
            (f"amount_{key}", f"{share:.0%} quantile of rain {within}", "mm")
            for key, share in QUANTILES.items()
        ]
        for k in LEVELS[: len(self.chances)]:
            what = f"probability of {k} mm of rain or more {within}"
            fields.append((f"probability_{k}mm", what, "1"))
        kept = {"grid_mapping", "coordinates"} & {*like.attributes}
        place = {key: like.attributes[key] for key in kept}
        variables = tuple(Variable(n, u, place | {"long_name": what}) for n, what, u in fields)
        frames = np.concatenate([self._quantiles, self.chances])[None, :, 0].astype(np.float32)
        times = None if like.times is None else like.times[self.steps - 1 : self.steps]
        return replace(like, frames=frames, times=times, variables=variables)


def amounts_of(
    future: Clip | Ensemble, minutes: int | None, steps: int, known: Calibration | None
) -> Amounts | None:
    """Return the rain of the first frames of a forecast. Each frame counts for the step before it.

    Args:
        minutes: length of the period; None for no amounts.
        steps: as `steps_within`; 0 for no amounts.
        known: the calibration, whose neighbourhood probabilities have; None for the share of
            members.
    """
    if minutes is None or not steps:
        return None
    drawn = isinstance(future, Ensemble)
    rates = np.asarray(future.frames) if drawn else np.asarray(future.frames[0:steps])[None]
    values = rates[:, :steps].sum(axis=1) * np.float32(minutes / steps / 60)
    blur = known.blur * (steps + 1) / 2 if known else 0.0  # at the mean lead time
    return Amounts(minutes, steps, values, _chances(values, blur) if drawn else values[:0])


def _chances(values: np.ndarray, blur: float) -> np.ndarray:
    return np.stack([chances_of(values[:, None], level, blur).at[0] for level in LEVELS])


def steps_within(clip: Clip, minutes: int | None, steps: int, units: str) -> int:
    """Return the number of forecast frames within the next minutes; 0 for None.

    Args:
        steps: of the forecast.
        units: of the forecaster; "" for those of the clip.

    Raises:
        ValueError: no rain in mm/h, no times, a longer period than the forecast, or no multiple of
            the time step.
    """
    if minutes is None:
        return 0
    units = units or clip.units
    step = 0.0 if clip.step is None else in_seconds(clip.step) / 60
    if units != RAIN or clip.channels != 1 or step <= 0:
        raise ValueError(f"sum needs rain in mm/h, with times; the units are {units or 'unknown'}")
    n = round(minutes / step)
    if abs(n * step - minutes) > 0.01:
        raise ValueError(f"sum {minutes}: frames are {step:g} min apart; give a multiple of that")
    if n > steps:
        raise ValueError(
            f"sum {minutes}: the forecast ends at {steps * step:g} min; use --steps {n}"
        )
    return n


def plain(values: Any) -> Any:
    """Return numbers and lists of them, None for NaN."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [plain(value) for value in values]
    return None if np.isnan(values) else round(float(values), 6)
