"""Forecasts at regular intervals along a recording."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.forecasting.errors import LeadErrors, table_of_errors
from foreframe.forecasting.forecast import (
    exceedance,
    history,
    paint_of_probability,
    starts_of,
    summary,
)
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import write_rolling


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
                yield clips if above is None else exceedance(above, *clips)  # type: ignore[misc]
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
        return f"{plural(len(self), 'forecast')} of {summary(self.options, self.units)}, {start}"

    def table(self) -> str:
        """A table of errors by lead time."""
        return table_of_errors(self.errors, self.units)
