"""Scores of forecasts along a recording: rolling forecasts and live ones."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.evaluation.metrics import SCORES, Scores
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecast import (
    history,
    in_words,
    paint_of_probability,
    reaching,
    starts_of,
)
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import write_rolling
from foreframe.forecasting.streaming import Stream
from foreframe.visuals.tables import Table

RMSE: Scores = {"physical": {"rmse": SCORES["physical"]["rmse"]}}


@dataclass(frozen=True, eq=False)
class Rolling:
    """Rolling forecasts of a recording, at regular intervals, scored by the frames that followed.
    They are computed when written or iterated over, and not kept.

    Args:
        forecaster: computes the forecasts.
        clip: the recording.
        made_by: the forecaster's name, for files.
        options: options of each forecast, all resolved.
        notes: notes for the user.
    """

    forecaster: Forecaster
    clip: Clip
    made_by: str
    options: PredictOptions
    notes: tuple[str, ...] = ()
    _scoring: list[Scoring] = field(default_factory=list, repr=False)

    @property
    def units(self) -> str:
        return self.clip.units or self.forecaster.scaling.units

    @property
    def firsts(self) -> range:
        """The first frame of each forecast."""
        return starts_of(self.clip, self.options)

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[Clip, Any, Clip]]:
        """Yield past, forecast and truth of each forecast; truth is NaN beyond the recording's end.
        For members the mean is scored.
        """
        steps = self.options.steps
        scoring = scoring_of_starts(steps)
        for first in self.firsts:
            past, future = self.forecaster.forecast_from(
                self.clip, first, steps, self.options.past, self.options
            )
            yield past, future, score_start(scoring, self.clip, first, past, future)
        self._scoring[:] = [scoring]

    @property
    def errors(self) -> dict[str, list[float]]:
        """Root mean squared error by lead time, in the data's units, of "forecast" and
        "persistence"; NaN without later frames. Computes the forecasts if they were not written
        before.
        """
        if not self._scoring:
            for _ in self:
                pass
        return errors_by_lead(self._scoring[0])

    def write(
        self, path: str | Path, progress: Callable[[int, int], Any] = lambda done, total: None
    ) -> None:
        """Compute the forecasts and write them by the ending of `path` (see `write_rolling`).

        Args:
            progress: called after each forecast with the number done and the total.

        Raises:
            ValueError: unknown ending, or the file cannot be written; no partial file stays.
        """
        options = self.options

        def forecasts() -> Iterator[tuple[Clip, Any, Clip]]:
            for number, clips in enumerate(self, 1):
                above = options.probability
                yield clips if above is None else reaching(above, *clips)  # type: ignore[misc]
                progress(number, len(self))

        write_rolling(
            path,
            self.clip,
            forecasts(),
            self.forecaster.scaling,
            options.colours,
            options.fps,
            history(self.made_by, options),
            paint_of_probability(options, self.units),
        )

    def __repr__(self) -> str:
        start = f"one after every {self.options.every} from frame {self.firsts[0] - 1} on"
        return f"{plural(len(self), 'forecast')} of {in_words(self.options, self.units)}, {start}"

    def table(self) -> str:
        """A table of errors by lead time."""
        return table_of_errors(self.errors, self.units)


def scoring_of_starts(steps: int) -> Scoring:
    """Errors of forecasts along recordings, and of persistence."""
    return Scoring(steps, {"forecast": RMSE, "persistence": RMSE})


def score_start(
    scoring: Scoring, clip: Clip, first: int, past: Clip, future: Clip | Ensemble
) -> Clip:
    """Score a forecast of frames `first` and after, of members their mean; returns the truth, NaN
    beyond the recording's end.
    """
    forecast = future.mean() if isinstance(future, Ensemble) else future
    truth = clip.truth_of(first, forecast)
    # Pixels missing in the last frame are not scored, since persistence has no value there.
    now = np.asarray(past.frames)[-1:].astype(np.float32)
    came = np.where(np.isfinite(now), np.asarray(truth.frames), np.nan)
    still = now.repeat(len(forecast), axis=0)
    rows = {"forecast": np.asarray(forecast.frames), "persistence": still}
    scoring.add(((name, _batched(row)) for name, row in rows.items()), _batched(came))
    return truth


def errors_by_lead(scoring: Scoring) -> dict[str, list[float]]:
    """The root mean squared errors of `scoring_of_starts`, by name and lead time."""
    tables = scoring.tables()
    return {name: table["physical"]["rmse"]["per_lead"] for name, table in tables.items()}


def table_of_errors(errors: Mapping[str, Sequence[float]], units: str) -> str:
    """These errors as a table, without lead times that have no truth."""
    rows = {
        f"+{ahead}": [f"{rmse:.4g}", f"{still:.4g}"]
        for ahead, (rmse, still) in enumerate(zip(*errors.values(), strict=True), 1)
        if isfinite(still)
    }
    title = f"Root mean squared error{f' in {units}' if units else ''} by lead time"
    return str(Table(title, [("", name) for name in errors], rows, []))


def score_live(
    live: Stream,
    frames: Iterable[np.ndarray],
    every: int = 1,
    place: Mapping[str, Any] | None = None,
) -> Iterator[tuple[np.ndarray, Any, dict[int, float]]]:
    """Forecast after every so many incoming frames, and score earlier forecasts. Only forecasts
    whose frames are still to come are kept.

    Args:
        live: the stream; it takes all frames.
        frames: (C,H,W) each, in the data's units.
        place: position in the source of frames, updated by its reader; the stream keeps a copy.

    Yields:
        The frame; the forecast after it, (S,C,H,W) or (M,S,C,H,W), or None; and the root mean
        squared errors of earlier forecasts of this frame (for members of their mean) by lead time,
        the shortest first. Missing values are not scored.
    """
    waiting: deque[tuple[int, np.ndarray]] = deque(maxlen=-(-live.steps // every))
    for frame in frames:
        live.take(frame)
        live.source = dict(place or {})
        earlier = {
            live.seen - seen: forecast[live.seen - seen - 1]
            for seen, forecast in reversed(waiting)
            if live.seen - seen <= live.steps
        }
        errors = _errors_of(frame[: live.forecaster.model.channels], earlier)
        forecast = None
        if live.seen % every == 0:
            forecast = live.forecast(like=frame)
            mean = forecast if live.options.members is None else forecast.mean(axis=0)
            waiting.append((live.seen, mean))
        yield frame, forecast, errors


def _errors_of(frame: np.ndarray, forecasts: Mapping[int, np.ndarray]) -> dict[int, float]:
    """Root mean squared errors of forecasts (C,H,W) of a frame, by lead time."""
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
