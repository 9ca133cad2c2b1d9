"""Probabilities that values reach a threshold, from members. They are calibrated by past events and
by hindcasts: forecasts of the latest frames, which show the errors of today's probabilities.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float, Num

from foreframe.base.files import atomic_write
from foreframe.base.notes import warn
from foreframe.base.schema import typed
from foreframe.base.wording import described
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.saving import fingerprint
from foreframe.models import Model
from foreframe.models.motion import blurred

FILE = "calibration.json"  # in the folder of the weights
LONGEST = 2**20  # bytes
MOST = 4.0  # pixels of blur
HINDCASTS = 4  # at most
PARTS = 3  # hindcasts are a third of the horizon apart

Members = Float[np.ndarray, "m s c h w"]
Frames = Float[np.ndarray, "s c h w"]
Truth = Float[np.ndarray, "_ c h w"]  # fewer frames if later ones are unknown
Lines = tuple[tuple[float, float], ...]  # by lead time, a and b of logit(p') = a + b logit(p)
# Reliability diagrams of `Chances.at` and of `within`, by lead time and class of EDGES: the number
# of cases, the sum of their probabilities, and the number of hits.
Diagrams = Float[np.ndarray, "3 2 lead class"]

EDGES = np.linspace(-5.5, 5.5, 56)  # classes of the logit, from probabilities of .004 to .996
LEAST = 0.01  # lines apply to probabilities from here to 1 - LEAST; 0 stays 0, and 1 stays 1
# Neighbouring pixels are correlated. Hindcasts therefore count as at most CASES cases of the rarer
# outcome, and their a and b deviate from the learnt ones by about DEVIATIONS.
CASES = 1000.0
DEVIATIONS = (0.1, 0.05)


class Chances(NamedTuple):
    """Probabilities that a threshold is reached, NaN without values.

    Args:
        at: at each lead time.
        within: at that lead time or before.
    """

    at: Frames
    within: Frames


@dataclass(frozen=True)
class Calibration:
    """The correction of probabilities from a forecaster's members.

    A probability p becomes 1 / (1 + exp(-a - b log(p / (1 - p)))), with a and b for each threshold
    and lead time: logistic regression, as Hamill et al. (2004, Monthly Weather Review 132,
    1434-1447) use it for ensembles.

    Args:
        blur: in pixels per frame of lead time, as in `chances_of`.
        thresholds: in the data's units.
        at, within: a and b by threshold and lead time, for `Chances`; the last ones also apply to
            later lead times.
        weights: fingerprint of its weights; other weights ignore it.

    Raises:
        ValueError: no lines for a threshold or lead time; a blur out of its range.
    """

    blur: float
    thresholds: tuple[float, ...]
    at: tuple[Lines, ...]
    within: tuple[Lines, ...]
    weights: str = ""

    def __post_init__(self) -> None:
        n = len(self.thresholds)
        whole = len(self.at) == len(self.within) == n > 0 and all((*self.at, *self.within))
        if not (whole and 0 <= self.blur <= MOST):
            raise ValueError(f"lines for each threshold, and a blur of 0 to {MOST:g} pixels")

    def prior(self, threshold: float, steps: int) -> Float[np.ndarray, "2 s 2"]:
        """Return the lines of the nearest threshold."""
        k = min(range(len(self.thresholds)), key=lambda k: abs(self.thresholds[k] - threshold))
        kinds = (self.at[k], self.within[k])
        return np.array([[line[min(s, len(line) - 1)] for s in range(steps)] for line in kinds])


def calibration_of(forecaster: Forecaster) -> Calibration | None:
    """Return the calibration in a forecaster's folder; None without one, and with a note if it
    belongs to other weights.

    Raises:
        ValueError: it is damaged.
    """
    folder, model = forecaster.folder, forecaster.model
    if folder is None:
        return None
    cure = "learn it again with foreframe calibrate, or remove it"
    try:
        with (folder / FILE).open("rb") as file:
            found = typed(Calibration, msgspec.json.decode(file.read(LONGEST)), "")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / FILE} is damaged ({described(error)}); {cure}") from None
    if found.weights == fingerprint(model):
        return found
    warn(f"{folder / FILE} belongs to other weights and is ignored: {cure}")
    return None


def write_calibration(folder: Path, calibration: Calibration, model: Model) -> None:
    """Write it into the folder of a model's weights (ValueError: it cannot be written)."""
    calibration = replace(calibration, weights=fingerprint(model))
    with atomic_write(folder / FILE) as rough:
        rough.write_text(json.dumps(asdict(calibration)) + "\n", encoding="utf-8")


def chances_of(members: Members, threshold: float, blur: float = 0.0) -> Chances:
    """Return the share of members that reach a threshold, blurred by `blur` pixels per frame of
    lead time, since members are overconfident about places (Schwartz et al. 2010, Weather and
    Forecasting 25, 263-280).
    """
    known = ~np.isnan(members).any(axis=0)
    reached = members >= threshold
    sofar = np.logical_or.accumulate(reached, axis=1)
    at, within = (
        _blurred(part.mean(axis=0, dtype=np.float32), known, blur) for part in (reached, sofar)
    )
    return Chances(at, np.maximum.accumulate(within, axis=0))


def _blurred(shares: Frames, known: Bool[np.ndarray, "s c h w"], blur: float) -> Frames:
    made = np.where(known, shares, np.nan)
    for k, (share, there) in enumerate(zip(shares, known, strict=True)):
        if not blur:
            break
        weight = torch.from_numpy(there).float()
        both = torch.stack([torch.from_numpy(share) * weight, weight])
        total, weights = blurred(both, blur * (k + 1)).numpy()
        made[k] = np.where(there, total / np.maximum(weights, 1e-6), np.nan)
    return made.clip(0, 1)


def diagrams(chances: Chances, truth: Truth, threshold: float, steps: int) -> Diagrams:
    """Return the reliability of chances at the first `steps` lead times; lead times without truth
    have no cases, and NaN is ignored.
    """
    reached = truth >= threshold
    sofar = np.logical_or.accumulate(reached, axis=0)
    k = len(EDGES) + 1
    made = np.zeros((3, 2, steps, k))
    for kind, (p, hits) in enumerate(zip(chances, (reached, sofar), strict=True)):
        for s in range(min(steps, len(truth))):
            known = ~np.isnan(p[s]) & ~np.isnan(truth[s])
            chance = p[s][known]
            classes = np.digitize(_logit(chance, 1e-3), EDGES)
            for n, weights in enumerate((None, chance, hits[s][known])):
                made[n, kind, s] = np.bincount(classes, weights, minlength=k)
    return made


def calibrated(chances: Chances, lines: Float[np.ndarray, "2 s 2"]) -> Chances:
    """Return chances on the lines. `within` never decreases, and lies between `at` and the sum of
    `at` so far.
    """
    at, within = map(on_lines, chances, lines[..., None, None, None])
    within = np.minimum(within, np.cumsum(at, axis=0))
    within = np.maximum.accumulate(np.maximum(at, within), axis=0)
    return Chances(at.astype(np.float32), within.astype(np.float32))


def on_lines(p: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return probabilities (S,...) on lines (S,2,...), with straight ends to 0 and 1."""
    a, b = lines[:, 0], lines[:, 1]
    made, low, high = (1 / (1 + np.exp(-a - b * _logit(x))) for x in (p, LEAST, 1 - LEAST))
    made = np.where(p < LEAST, p / LEAST * low, made)
    return np.where(p > 1 - LEAST, 1 - (1 - p) / LEAST * (1 - high), made)


def fitted(
    made: Diagrams,
    prior: Float[np.ndarray, "2 s 2"],
    deviations: Sequence[float] = DEVIATIONS,
    cases: float = CASES,
) -> Float[np.ndarray, "2 s 2"]:
    """Return the most probable lines by Newton's method, with normal a and b around the prior's.

    Args:
        deviations: standard deviations of a and b from the prior.
        cases: the weight of the diagrams, in cases of the rarer outcome, at most.
    """
    lines = prior.copy()
    weights = np.diag(1 / np.square(deviations))
    for kind in range(2):
        for s in range(prior.shape[1]):
            n, total, hits = made[:, kind, s] * (made[1, kind, s] >= LEAST * made[0, kind, s])
            rarer = min(hits.sum(), (n - hits).sum())
            if not rarer:
                continue
            share = min(1.0, cases / rarer)
            x = np.stack([np.ones_like(n), _logit(total / np.maximum(n, 1))], axis=1)
            lines[kind, s] = _line(x, share * n, share * hits, prior[kind, s], weights)
    return lines


def _line(
    x: Float[np.ndarray, "k 2"],
    n: Float[np.ndarray, " k"],
    hits: Float[np.ndarray, " k"],
    prior: Float[np.ndarray, "2"],
    weights: Float[np.ndarray, "2 2"],
) -> Float[np.ndarray, "2"]:
    line = prior.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (hits - n * p) - weights @ (line - prior)
        curvature = (x * (n * p * (1 - p))[:, None]).T @ x + weights
        step = np.linalg.solve(curvature, slope).clip(-1, 1)
        line = line + step
        if np.abs(step).max() < 1e-6:
            break
    return line


def _logit(p: Any, least: float = LEAST) -> Any:
    p = np.clip(p, least, 1 - least)
    return np.log(p / (1 - p))


def calibrated_chances(
    known: Calibration | None, forecaster: Forecaster, made: Forecast, threshold: float | None
) -> Chances | None:
    """Return the probabilities that a forecast's frames reach a threshold; None without
    members, threshold or calibration.

    Raises:
        ValueError: as `Forecaster.predict`.
    """
    future = made.future
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
    """Yield forecasts of the recorded frames before `first`, each with the observed frames. Each
    takes as long as the forecast itself.

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
    """Return the number of frames between hindcasts."""
    return max(1, steps // PARTS)


def corrected(
    known: Calibration, chances: Chances, threshold: float, past: Sequence[tuple[Chances, Truth]]
) -> Chances:
    """Return probabilities corrected by a calibration and by hindcasts with their truth."""
    steps = len(chances.at)
    lines = known.prior(threshold, steps)
    if past:
        tried = [diagrams(*pair, threshold, steps) for pair in past]
        lines = fitted(np.sum(tried, axis=0), lines)
    return calibrated(chances, lines)


class LiveHindcasts:
    """Keeps the chances of a stream's forecasts until their truth is known.

    Args:
        known: the calibration; without it, or without a threshold, nothing is corrected.
        threshold: in the data's units.
        steps: frames of each forecast.
    """

    def __init__(self, known: Calibration | None, threshold: float | None, steps: int) -> None:
        self.known, self.threshold, self.steps, self.seen = known, threshold, steps, 0
        self._frames = deque[tuple[int, np.ndarray]](maxlen=HINDCASTS * apart(steps) + steps)
        self._made = deque[tuple[int, Chances]](maxlen=HINDCASTS)

    def see(self, number: int, frame: Num[np.ndarray, "c h w"]) -> None:
        """Add a frame, with NaN for missing values.

        Args:
            number: its number, counted from 1; the numbers left out are missing frames.
        """
        if self.known is None:
            return
        for missing in range(self.seen + 1, number) if self.seen else ():
            self._frames.append((missing, np.full_like(frame, np.nan)))
        self._frames.append((number, frame))
        self.seen = number

    def correct(self, members: Num[np.ndarray, "*m s c h w"]) -> Chances | None:
        """Return the chances of the forecast after the last frame; None without a calibration."""
        if self.known is None or self.threshold is None:
            return None
        chances = chances_of(members, self.threshold, self.known.blur)
        past = []
        for last, earlier in self._made:
            truth = [frame for number, frame in self._frames if last < number <= last + self.steps]
            if truth and self._frames[0][0] <= last + 1:  # its first frames are still there
                past.append((earlier, np.stack(truth)))
        if not self._made or self.seen - self._made[-1][0] >= apart(self.steps):
            halves = (part.astype(np.float16) for part in chances)
            self._made.append((self.seen, Chances(*halves)))
        return corrected(self.known, chances, self.threshold, past)
