"""Scores of forecasts along a recording: of those that roll through it, and of live ones."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.evaluation.metrics import SCORES, Scores
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.precision import EXACT
from foreframe.forecasting.streaming import Stream

RMSE: Scores = {"physical": {"rmse": SCORES["physical"]["rmse"]}}


def rolling_scores(steps: int) -> Scoring:
    """What `rolling` fills: the root mean squared error of its forecasts and of persistence, in the
    data's units.
    """
    return Scoring(steps, {"forecast": RMSE, "persistence": RMSE})


def rolling(
    forecaster: Forecaster,
    clip: Clip,
    firsts: Sequence[int],
    steps: int,
    past: int,
    scoring: Scoring,
    tile: int = 0,
    overlap: int | None = None,
    precision: str = EXACT,
    match: str | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[Clip, Any, Clip]]:
    """A forecast from each of several frames of a recording on, scored by what came.

    Args:
        firsts: the first frame to forecast, of each.
        steps: frames of each forecast.
        past: how many frames before it are looked at.
        scoring: from `rolling_scores`; errors are added to it. Pixels that the last frame does not
            know count for neither, since persistence has nothing to say of them.
        tile, overlap, precision, match, members, seed: as in `Forecaster.predict`. Of members the
            mean is scored.

    Yields:
        The frames that were looked at, the forecast, and what came, NaN where the recording has
        ended.
    """
    how = tile, overlap, precision, match, members, seed
    for first in firsts:
        seen, future = forecaster.forecast_from(clip, first, steps, past, *how)
        forecast = future.mean() if isinstance(future, Ensemble) else future
        truth = clip.truth_of(first, forecast)
        now = np.asarray(seen.frames)[-1:].astype(np.float32)
        came = np.where(np.isfinite(now), np.asarray(truth.frames), np.nan)
        still = now.repeat(steps, axis=0)
        forecasts = {"forecast": np.asarray(forecast.frames), "persistence": still}
        scoring.add(((name, _batched(of)) for name, of in forecasts.items()), _batched(came))
        yield seen, future, truth


def awaited(
    live: Stream,
    frames: Iterable[np.ndarray],
    every: int = 1,
    place: Mapping[str, Any] | None = None,
) -> Iterator[tuple[np.ndarray, Any, dict[int, float]]]:
    """Take frames as they come, and forecast after every so many of them. No more is kept than the
    forecasts that still await their frames.

    Args:
        live: the stream; afterwards it has seen them all.
        frames: (C,H,W) each, in the data's own units.
        place: how far their source was read, kept up to date by whoever reads it; the stream notes
            it with each frame.

    Yields:
        The frame, the forecast (S,C,H,W) that follows it, or None, and of earlier forecasts of this
        frame the root mean squared error, by how many frames ahead it was, the latest one first; of
        members (M,S,C,H,W) that of their mean.
        Where a forecast says nothing, or the frame, nothing counts.
    """
    waiting: deque[tuple[int, np.ndarray]] = deque(maxlen=-(-live.steps // every))
    for frame in frames:
        live.take(frame)
        live.source = dict(place or {})
        errors = _errors_of(
            frame[: live.forecaster.model.channels],
            {live.seen - at: of for at, of in reversed(waiting)},
        )
        forecast = None
        if live.seen % every == 0:
            forecast = live.forecast(like=frame)
            of_members = live.drawn is not None
            waiting.append((live.seen, forecast.mean(axis=0) if of_members else forecast))
        yield frame, forecast, errors


def _errors_of(frame: np.ndarray, earlier: Mapping[int, np.ndarray]) -> dict[int, float]:
    """The root mean squared errors of forecasts of one frame, which were made so many frames
    before.
    """
    forecasts = {ahead: of[ahead - 1] for ahead, of in earlier.items() if ahead <= len(of)}
    if not forecasts:
        return {}
    forecast = np.stack(list(forecasts.values()))
    scoring = Scoring(len(forecasts), {"forecast": RMSE})
    truth = np.where(np.isnan(forecast), np.nan, frame[None])
    scoring.add([("forecast", _batched(forecast))], _batched(truth))
    errors = scoring.tables()["forecast"]["physical"]["rmse"]["per_lead"]
    return {ahead: e for ahead, e in zip(forecasts, errors, strict=True) if isfinite(e)}


def _batched(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32)).unsqueeze(0)
