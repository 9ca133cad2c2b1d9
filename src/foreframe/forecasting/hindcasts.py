"""Calibration that goes with the weather: forecasts of the frames just past say how far off
probabilities are today.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.calibration import (
    Calibration,
    Chances,
    Members,
    added,
    calibrated,
    chances_of,
    diagrams,
    fitted,
)
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster

PARTS = 3  # of the horizon: hindcasts begin so many, and so many ...
HINDCASTS = 4  # ... thirds of it before the forecast

Hindcast = tuple[Float[np.ndarray, "m t c h w"], Float[np.ndarray, "t c h w"]]  # members, truth


def hindcasts(
    forecaster: Forecaster, clip: Clip, first: int, options: PredictOptions
) -> list[Hindcast]:
    """Forecasts of frames just before `first`, as far as these are recorded, each with the frames
    that came. Each takes as long as the forecast itself.

    Args:
        options: all resolved, with members.

    Raises:
        ValueError: as `Forecaster.predict`.
    """
    made = []
    for start in hindcast_starts(first, options.steps):
        if start >= options.past:
            ahead = min(options.steps, first - start)
            _, members = forecaster.forecast_from(clip, start, ahead, options.past, options)
            truth = np.asarray(clip.without_inputs().frames[start : start + ahead])
            made.append((members.frames, truth))
    return made


def hindcast_starts(first: int, steps: int) -> list[int]:
    """First frames of the hindcasts of a forecast from `first` on, the latest first."""
    apart = max(1, steps // PARTS)
    return [first - apart * k for k in range(1, HINDCASTS + 1)]


def corrected(
    known: Calibration, members: Members, threshold: float, past: Sequence[Hindcast]
) -> Chances:
    """Probabilities by what a calibration knows, and by how hindcasts came true."""
    steps = members.shape[1]
    lines = known.prior(threshold, steps)
    if past:
        own = ((chances_of(m, threshold, known.blur), truth) for m, truth in past)
        lines = fitted(added(diagrams(p, truth, threshold, steps) for p, truth in own), lines)
    return calibrated(chances_of(members, threshold, known.blur), lines)


def calibrated_chances(
    forecaster: Forecaster,
    clip: Clip,
    first: int,
    future: Clip | Ensemble,
    options: PredictOptions,
) -> Chances | None:
    """Probabilities that frames from `first` on reach the options' threshold; None where there are
    no members, no threshold or no calibration, and the share of members stands for them.

    Args:
        future: the forecast from `first` on.
        options: all resolved.

    Raises:
        ValueError: as `Forecaster.predict`.
    """
    known = forecaster.calibration if options.calibrated else None
    if options.probability is None or known is None or not isinstance(future, Ensemble):
        return None
    past = hindcasts(forecaster, clip, first, options)
    return corrected(known, future.frames, options.probability, past)
