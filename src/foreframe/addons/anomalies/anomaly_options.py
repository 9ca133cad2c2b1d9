"""Options of anomaly detection. Loads no torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from foreframe.base.schema import PositiveFloat, Range
from foreframe.forecasting.forecast_options import DeviceOptions, ReadingOptions, WaitOptions


@dataclass(frozen=True)
class AnomalyOptions(DeviceOptions, ReadingOptions, WaitOptions):
    """Anomalies

    Args:
        normal: a recording of the same scene without anomalies; may be given several times; by
            default the first 5 minutes of the input, but at least 200 frames, and at most half of
            a recording
        false_alarms: expected number of false alarms an hour in normal footage
        lead: lead time of the forecasts that are compared with the frames, 40 frames at most
        wait: follow a growing folder until no new frame arrived for this many seconds; inf for ever

    Raises:
        ValueError: a value out of its range.
    """

    normal: str | Sequence[str] = ()
    false_alarms: PositiveFloat = 1.0
    lead: Annotated[int, Range(least=1, most=40)] = 1
