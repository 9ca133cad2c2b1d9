"""Forecasts at regular intervals along a recording."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from foreframe.base.progress import Progress, silent
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.forecast import history, starts_of, summary
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import (
    VALUES,
    check_output,
    paint_of,
    usual_fps,
    write_moving,
    write_values,
)
from foreframe.visuals import Paint
from foreframe.visuals.tables import Table


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
    _sums: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def units(self) -> str:
        return self.clip.units or self.forecaster.scaling.units

    @property
    def firsts(self) -> range:
        """The first frame of each forecast."""
        return starts_of(self.clip, self.options)

    @property
    def first(self) -> int:
        """Number of the first forecast frame."""
        return self.firsts[0]

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[Clip, Any, Clip]]:
        """Yield past, forecast and truth of each forecast; truth is NaN beyond the recording's end.
        For members the mean is scored.
        """
        options = self.options
        sums = dict.fromkeys(("forecast", "persistence"), torch.zeros(2, options.steps).double())
        for first in self.firsts:
            past, future = self.forecaster.forecast_from(
                self.clip, first, options.steps, options.past, options
            )
            mean = future.mean() if isinstance(future, Ensemble) else future
            truth = self.clip.truth_of(first, mean)
            # Pixels missing in the last frame are not scored: persistence has no value there.
            last = np.asarray(past.frames)[-1:].astype(np.float32)
            known = np.where(np.isfinite(last), np.asarray(truth.frames), np.nan)
            still = last.repeat(len(mean), axis=0)
            for name, frames in (("forecast", np.asarray(mean.frames)), ("persistence", still)):
                sums[name] = sums[name] + squared_errors(frames, known)
            yield past, future, truth
        self._sums.update(sums)

    @property
    def errors(self) -> dict[str, list[float]]:
        """Root mean squared error by lead time, in the data's units, of "forecast" and
        "persistence"; NaN without later frames. Computes the forecasts if they were not written
        before.
        """
        if not self._sums:
            for _ in self:
                pass
        return {name: (sums / n).sqrt().tolist() for name, (sums, n) in self._sums.items()}

    def write(self, path: str | Path, progress: Progress = silent) -> None:
        """Compute the forecasts and write them by the ending of `path`, as `Forecast.write`: their
        values, or pictures of each with its truth, on a common scale. Films play as fast as the
        recording.

        Args:
            progress: called after each forecast with the number done and the total.

        Raises:
            ValueError: unknown ending, or the file cannot be written; no partial file stays.
        """
        options = self.options

        def forecasts() -> Iterator[tuple[Clip, Any, Clip]]:
            progress(0, len(self))
            for number, clips in enumerate(self, 1):
                yield clips
                progress(number, len(self))

        if check_output(path, rolling=True) in VALUES:
            futures = [future for _, future, _ in forecasts()]
            write_values(path, futures, history(self.made_by, options))
        else:
            fps = options.fps or usual_fps(self.clip)
            write_moving(path, forecasts(), self._paint(), fps)

    def _paint(self) -> Paint:
        """Colours over the range of frames spread evenly, needed before the first picture."""
        clip, options = self.clip, self.options
        some = np.linspace(0, len(clip) - 1, min(len(clip), 32)).astype(int)
        frames = clip.without_inputs().frames
        scaling = self.forecaster.scaling.of(clip.frames.dtype)
        return paint_of(options.colours, scaling, self.units, (frames[k : k + 1] for k in some))

    def __repr__(self) -> str:
        start = f"one after every {self.options.every} from frame {self.firsts[0] - 1} on"
        return f"{plural(len(self), 'forecast')} of {summary(self.options)}, {start}"

    def table(self) -> str:
        """A table of errors by lead time, without lead times that have no truth."""
        errors = self.errors
        rows = {
            f"+{ahead}": [f"{rmse:.4g}", f"{still:.4g}"]
            for ahead, (rmse, still) in enumerate(zip(*errors.values(), strict=True), 1)
            if isfinite(still)
        }
        units = f" in {self.units}" if self.units else ""
        title = f"Root mean squared error{units} by lead time"
        return str(Table(title, [("", name) for name in errors], rows, []))


def squared_errors(
    forecast: Num[np.ndarray, "s c h w"], truth: Num[np.ndarray, "s c h w"]
) -> Float[Tensor, "2 s"]:
    """Return the sum of squared errors of each lead time and the number of values with a truth,
    float64. Values whose truth is NaN are not scored.
    """
    sums = []
    for made, came in zip(forecast, truth, strict=True):  # one at a time, to limit memory
        known = ~np.isnan(came)
        errors = np.where(known, np.subtract(made, came, dtype=np.float32), np.float32(0))
        sums.append((float(torch.from_numpy(errors).square().sum()), known.sum()))
    return torch.tensor(sums, dtype=torch.float64).T
