"""Probabilities that values reach a threshold, from members and calibrated by observations."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float

from foreframe.base.files import atomic_write
from foreframe.base.notes import warn
from foreframe.base.schema import typed
from foreframe.base.wording import described
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.saving import fingerprint
from foreframe.models import Model
from foreframe.models.motion import blurred

FILE = "calibration.json"  # in the folder of the weights
LONGEST = 2**20  # bytes
MOST = 4.0  # pixels of blur

Members = Float[np.ndarray, "m s c h w"]
Frames = Float[np.ndarray, "s c h w"]
Line = tuple[float, float]  # a and b of logit(p') = a + b logit(p)
Lines = tuple[Line, ...]  # by lead time

# A reliability diagram in classes of the logit, from probabilities of .004 to .996.
EDGES = np.linspace(-5.5, 5.5, 56)
LEAST = 0.01  # lines are of probabilities from here to 1 - LEAST; 0 stays 0, and 1 stays 1
# Neighbouring pixels are far from independent. Hindcasts therefore count as at most CASES cases of
# the rarer outcome, and their a and b deviate from the learnt ones by about DEVIATIONS.
CASES = 1000.0
DEVIATIONS = (0.1, 0.05)


class Chances(NamedTuple):
    """Probabilities that a threshold is reached, NaN where nothing is known.

    Args:
        at: at each lead time.
        within: at that lead time or before.
    """

    at: Frames
    within: Frames


class Diagrams(NamedTuple):
    """Reliability diagrams, of `Chances.at` and of `within`, by lead time and class of EDGES.

    Args:
        cases: how many probabilities there were.
        summed: these probabilities, added up.
        came: how many of them came true.
    """

    cases: Float[np.ndarray, "2 s k"]
    summed: Float[np.ndarray, "2 s k"]
    came: Float[np.ndarray, "2 s k"]


@dataclass(frozen=True)
class Calibration:
    """The correction of probabilities from a forecaster's members.

    A probability p becomes 1 / (1 + exp(-a - b log(p / (1 - p)))), with a and b for each threshold
    and lead time: logistic regression, as Hamill et al. (2004, Monthly Weather Review 132,
    1434-1447) use it for ensembles.

    Args:
        blur: pixels a frame ahead, of `chances_of`.
        thresholds: in the data's units.
        at, within: a and b, by threshold and lead time, of `Chances`; later lead times take those
            of the last.
        weights: fingerprint of the weights that it was learnt with; other weights ignore it.

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
        """The lines of the nearest threshold."""
        k = min(range(len(self.thresholds)), key=lambda k: abs(self.thresholds[k] - threshold))
        both = (self.at[k], self.within[k])
        return np.array([[own[min(s, len(own) - 1)] for s in range(steps)] for own in both])


def calibration_of(forecaster: Forecaster) -> Calibration | None:
    """The calibration that `foreframe calibrate` wrote into a forecaster's folder; None without
    one, and with a note if it belongs to other weights.

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
    """The share of members that reach a threshold, in a neighbourhood: blurred by `blur` pixels a
    frame ahead, since members are more alike than they are right about places (Schwartz et al.
    2010, Weather and Forecasting 25, 263-280).
    """
    known = ~np.isnan(members).any(axis=0)
    reached = members >= threshold
    sofar = np.logical_or.accumulate(reached, axis=1)
    at, within = (
        _blurred(of.mean(axis=0, dtype=np.float32), known, blur) for of in (reached, sofar)
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


def diagrams(chances: Chances, truth: Frames, threshold: float, steps: int) -> Diagrams:
    """How chances came true, at as many of the first `steps` lead times as there are of the truth;
    the others have no cases, and NaN is none.
    """
    came = truth >= threshold
    sofar = np.logical_or.accumulate(came, axis=0)
    k = len(EDGES) + 1
    made = np.zeros((3, 2, steps, k))
    for kind, (p, o) in enumerate(zip(chances, (came, sofar), strict=True)):
        for s in range(min(steps, len(truth))):
            counted = ~np.isnan(p[s]) & ~np.isnan(truth[s])
            own = p[s][counted]
            classes = np.digitize(_logit(own, 1e-3), EDGES)
            for n, weights in enumerate((None, own, o[s][counted])):
                made[n, kind, s] = np.bincount(classes, weights, minlength=k)
    return Diagrams(*made)


def added(several: Iterable[Diagrams]) -> Diagrams:
    """The diagrams of all of them together."""
    return Diagrams(*map(sum, zip(*several, strict=True)))  # type: ignore[arg-type]


def calibrated(chances: Chances, lines: Float[np.ndarray, "2 s 2"]) -> Chances:
    """Chances on the lines; `within` is never below `at` nor what it was before, nor above the sum
    of `at` so far.
    """
    at, within = map(on_lines, chances, lines[..., None, None, None])
    within = np.minimum(within, np.cumsum(at, axis=0))
    within = np.maximum.accumulate(np.maximum(at, within), axis=0)
    return Chances(at.astype(np.float32), within.astype(np.float32))


def on_lines(p: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Probabilities (S,...) on lines (S,2,...); beyond LEAST straight on to 0 and 1."""
    a, b = lines[:, 0], lines[:, 1]
    made, low, high = (1 / (1 + np.exp(-a - b * _logit(x))) for x in (p, LEAST, 1 - LEAST))
    made = np.where(p < LEAST, p / LEAST * low, made)
    return np.where(p > 1 - LEAST, 1 - (1 - p) / LEAST * (1 - high), made)


def fitted(
    of: Diagrams,
    prior: Float[np.ndarray, "2 s 2"],
    deviations: Sequence[float] = DEVIATIONS,
    cases: float = CASES,
) -> Float[np.ndarray, "2 s 2"]:
    """The most probable lines, by Newton's method, where a and b are normal about the prior's.

    Args:
        deviations: of a and b from the prior.
        cases: as how many cases of the rarer outcome the diagrams count, at most.
    """
    made = prior.copy()
    weights = np.diag(1 / np.square(deviations))
    for kind in range(2):
        for s in range(prior.shape[1]):
            inner = of.summed[kind, s] >= LEAST * of.cases[kind, s]
            n, total, came = (part[kind, s] * inner for part in of)
            rarer = min(came.sum(), (n - came).sum())
            if not rarer:
                continue
            share = min(1.0, cases / rarer)
            x = np.stack([np.ones_like(n), _logit(total / np.maximum(n, 1))], axis=1)
            made[kind, s] = _line(x, share * n, share * came, prior[kind, s], weights)
    return made


def _line(
    x: Float[np.ndarray, "k 2"],
    n: Float[np.ndarray, " k"],
    came: Float[np.ndarray, " k"],
    prior: Float[np.ndarray, "2"],
    weights: Float[np.ndarray, "2 2"],
) -> Float[np.ndarray, "2"]:
    line = prior.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (came - n * p) - weights @ (line - prior)
        curvature = (x * (n * p * (1 - p))[:, None]).T @ x + weights
        step = np.linalg.solve(curvature, slope).clip(-1, 1)
        line = line + step
        if np.abs(step).max() < 1e-6:
            break
    return line


def _logit(p: Any, least: float = LEAST) -> Any:
    p = np.clip(p, least, 1 - least)
    return np.log(p / (1 - p))
