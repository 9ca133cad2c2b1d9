"""Calibration that follows the weather: forecasts of the frames just past show how far
probabilities are off today.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from foreframe.addons.radar.calibration import (
    Calibration,
    Chances,
    added,
    calibrated,
    calibration_of,
    chances_of,
    diagrams,
    fitted,
)
from foreframe.addons.radar.outlook_options import OutlookOptions
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster

PARTS = 3  # of the horizon: hindcasts begin so many, and so many ...
HINDCASTS = 4  # ... thirds of it before the forecast

Truth = Float[np.ndarray, "_ c h w"]


def calibrated_chances(
    forecaster: Forecaster, made: Forecast, options: OutlookOptions
) -> Chances | None:
    """Probabilities that a forecast's frames reach the options' threshold; None where there are
    no members, no threshold or no calibration, and the share of members stands for them.

    Raises:
        ValueError: as `Forecaster.predict`.
    """
    known = calibration_of(forecaster) if options.calibrated else None
    threshold, future = options.probability, made.future
    if threshold is None or known is None or not isinstance(future, Ensemble):
        return None
    chances = chances_of(future.frames, threshold, known.blur)
    past = [
        (chances_of(members.frames, threshold, known.blur), truth)
        for members, truth in hindcasts(forecaster, made.clip, made.last + 1, made.options)
    ]
    return corrected(known, chances, threshold, past)


def hindcasts(
    forecaster: Forecaster, clip: Clip, first: int, options: PredictOptions
) -> Iterator[tuple[Any, Truth]]:
    """Forecasts of frames just before `first`, as far as these are recorded, each with the observed
    frames. Each takes as long as the forecast itself.

    Args:
        options: all resolved, with members.

    Raises:
        ValueError: as `Forecaster.predict`.
    """
    for k in range(1, HINDCASTS + 1):
        start = first - k * apart(options.steps)
        if start >= options.past:
            ahead = min(options.steps, first - start)
            _, members = forecaster.forecast_from(clip, start, ahead, options.past, options)
            yield members, np.asarray(clip.without_inputs().frames[start : start + ahead])


def apart(steps: int) -> int:
    """Frames from one hindcast to the next."""
    return max(1, steps // PARTS)


def corrected(
    known: Calibration, chances: Chances, threshold: float, past: Sequence[tuple[Chances, Truth]]
) -> Chances:
    """Probabilities corrected by a calibration and by the outcome of hindcasts."""
    steps = len(chances.at)
    lines = known.prior(threshold, steps)
    if past:
        tried = added(diagrams(of, truth, threshold, steps) for of, truth in past)
        lines = fitted(tried, lines)
    return calibrated(chances, lines)


class LiveHindcasts:
    """The chances of a stream's forecasts, kept until it is known how they came true.

    Args:
        known: what was learnt; without it, or without a threshold, nothing is corrected.
        threshold: of the chances.
        steps: frames of each forecast.
    """

    def __init__(self, known: Calibration | None, threshold: float | None, steps: int) -> None:
        self.known, self.threshold, self.steps, self.seen = known, threshold, steps, 0
        self._frames = deque[tuple[int, np.ndarray]](maxlen=HINDCASTS * apart(steps) + steps)
        self._made = deque[tuple[int, Chances]](maxlen=HINDCASTS)

    def see(self, number: int, frame: Num[np.ndarray, "c h w"]) -> None:
        """Take a frame, NaN where nothing was measured; frames between it and the last are missing.

        Args:
            number: of the frame, counted from 1.
        """
        if self.known is None:
            return
        for missing in range(self.seen + 1, number) if self.seen else ():
            self._frames.append((missing, np.full_like(frame, np.nan)))
        self._frames.append((number, frame))
        self.seen = number

    def correct(self, members: Num[np.ndarray, "*m s c h w"]) -> Chances | None:
        """The chances of the forecast after the last frame; None without a calibration."""
        if self.known is None or self.threshold is None:
            return None
        chances = chances_of(members, self.threshold, self.known.blur)
        past = []
        for seen, of in self._made:
            came = [frame for number, frame in self._frames if seen < number <= seen + self.steps]
            if came and self._frames[0][0] <= seen + 1:  # its first frames are still there
                past.append((of, np.stack(came)))
        if not self._made or self.seen - self._made[-1][0] >= apart(self.steps):
            halves = (part.astype(np.float16) for part in chances)
            self._made.append((self.seen, Chances(*halves)))
        return corrected(self.known, chances, self.threshold, past)
