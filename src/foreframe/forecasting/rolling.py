"""Forecasts at regular intervals along a recording."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.forecasting.errors import LeadErrors, table_of_errors
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
    _errors: list[LeadErrors] = field(default_factory=list, repr=False)

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
        errors = LeadErrors(steps)
        for first in self.firsts:
            past, future = self.forecaster.forecast_from(
                self.clip, first, steps, self.options.past, self.options
            )
            yield past, future, errors.add_start(self.clip, first, past, future)
        self._errors[:] = [errors]

    @property
    def errors(self) -> dict[str, list[float]]:
        """Root mean squared error by lead time, in the data's units, of "forecast" and
        "persistence"; NaN without later frames. Computes the forecasts if they were not written
        before.
        """
        if not self._errors:
            for _ in self:
                pass
        return self._errors[0].by_lead()

    def write(
        self, path: str | Path, progress: Callable[[int, int], Any] = lambda done, total: None
    ) -> None:
        """Compute the forecasts and write them by the ending of `path`, as `Forecast.write`: their
        values, or pictures of each beside the truth, on a common scale. Films play as fast as the
        recording.

        Args:
            progress: called after each forecast with the number done and the total.

        Raises:
            ValueError: unknown ending, or the file cannot be written; no partial file stays.
        """
        options = self.options

        def forecasts() -> Iterator[tuple[Clip, Any, Clip]]:
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
        """A table of errors by lead time."""
        return table_of_errors(self.errors, self.units)
