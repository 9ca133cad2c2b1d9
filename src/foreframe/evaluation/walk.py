"""Scores of forecasts along a recording: of those that roll through it, and of live ones."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from foreframe.forecasting.forecast import history, in_words, paint_of_probability, reaching
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import write_rolling
from foreframe.forecasting.streaming import Stream

RMSE: Scores = {"physical": {"rmse": SCORES["physical"]["rmse"]}}


@dataclass(frozen=True, eq=False)
class Rolling:
    """Forecasts that roll through a recording, one after every so many frames, each scored by what
    came. They are made when they are written, or walked through, and none is kept.

    Args:
        forecaster: that makes them.
        clip: the recording.
        made_by: the forecaster's name, for files.
        options: of each forecast, with nothing left open.
        notes: what its user should know.
    """

    forecaster: Forecaster
    clip: Clip
    made_by: str
    options: PredictOptions
    notes: tuple[str, ...] = ()
    _scoring: list[Scoring] = field(default_factory=list, repr=False)

    @property
    def firsts(self) -> range:
        """The first frame of each forecast."""
        n = len(self.clip)
        return range(min(self.options.past, n), n + 1, self.options.every)

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[Clip, Any, Clip]]:
        """The frames that were looked at, the forecast, and what came, NaN where the recording has
        ended. Of members the mean is scored.
        """
        steps = self.options.steps
        scoring = Scoring(steps, {"forecast": RMSE, "persistence": RMSE})
        for first in self.firsts:
            past, future = self.forecaster.forecast_from(
                self.clip, first, steps, self.options.past, self.options
            )
            forecast = future.mean() if isinstance(future, Ensemble) else future
            truth = self.clip.truth_of(first, forecast)
            # Pixels that the last frame does not know count for neither: persistence says nothing.
            now = np.asarray(past.frames)[-1:].astype(np.float32)
            came = np.where(np.isfinite(now), np.asarray(truth.frames), np.nan)
            still = now.repeat(steps, axis=0)
            rows = {"forecast": np.asarray(forecast.frames), "persistence": still}
            scoring.add(((name, _batched(row)) for name, row in rows.items()), _batched(came))
            yield past, future, truth
        self._scoring[:] = [scoring]

    @property
    def errors(self) -> dict[str, list[float]]:
        """The root mean squared error by lead time, in the data's units, of "forecast" and of
        "persistence"; NaN where nothing came. Without a walk before, they are made for it.
        """
        if not self._scoring:
            for _ in self:
                pass
        tables = self._scoring[0].tables()
        return {name: table["physical"]["rmse"]["per_lead"] for name, table in tables.items()}

    def write(
        self, path: str | Path, progress: Callable[[int, int], Any] = lambda done, total: None
    ) -> None:
        """Make the forecasts, and write them by the ending of `path`: see `write_rolling`.

        Args:
            progress: called after each forecast with how many are done, and how many there are.

        Raises:
            ValueError: unknown ending, or what cannot be written; no half file stays.
        """
        options, units = self.options, self.clip.units or self.forecaster.scaling.units

        def forecasts() -> Iterator[tuple[Clip, Any, Clip]]:
            for number, (past, future, truth) in enumerate(self, 1):
                if options.probability is None:
                    yield past, future, truth
                else:
                    yield reaching(options.probability, past, future, truth)  # type: ignore[misc]
                progress(number, len(self))

        write_rolling(
            path,
            self.clip,
            self.firsts,
            options.steps,
            forecasts(),
            self.forecaster.scaling,
            options.colours,
            options.fps,
            history(self.made_by, options),
            paint_of_probability(options, units),
        )

    def __str__(self) -> str:
        units = self.clip.units or self.forecaster.scaling.units
        start = f"one after every {self.options.every} from frame {self.firsts[0] - 1} on"
        return f"{plural(len(self), 'forecast')} of {in_words(self.options, units)}, {start}"

    def table(self) -> str:
        """Errors by lead time, a line each."""
        units = self.clip.units or self.forecaster.scaling.units
        error = f"root mean squared error{f' in {units}' if units else ''}"
        lines = [f"{'frames ahead':<14}{'forecast':>12}{'persistence':>13}   {error}"]
        errors = self.errors
        pairs = zip(errors["forecast"], errors["persistence"], strict=True)
        for ahead, (own, still) in enumerate(pairs, 1):
            if isfinite(still):
                lines.append(f"{f'+{ahead}':<14}{own:>12.4g}{still:>13.4g}")
        return "\n".join(lines)


def score_live(
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
            of_members = live.options.members is not None
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
