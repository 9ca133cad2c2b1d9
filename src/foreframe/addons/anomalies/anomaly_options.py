"""Options of anomaly detection. Loads no torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foreframe.base.schema import check_above_0, check_at_least
from foreframe.data.data_options import ReadingAsTrained
from foreframe.forecasting.forecast_options import DeviceOptions


@dataclass(frozen=True)
class AnomalyOptions(DeviceOptions):
    """What is normal, and how many false alarms there may be.

    Args:
        normal: a recording of the same scene in which nothing unusual happens; may be given several
            times; by default the first 5 minutes of the input, but at least 200 frames, and at most
            half of a recording
        false_alarms: alarms an hour that there may be where all is normal
        lead: lead time of the forecasts that are compared with the frames, 40 frames at most
        wait: follow a folder that grows until no new frame came for so many seconds, inf for ever
        reading: read options that differ from training, e.g. --reading.size [96,128]

    Raises:
        ValueError: a value out of its range.
    """

    normal: str | Sequence[str] = ()
    false_alarms: float = 1.0
    lead: int = 1
    wait: float | Literal["inf"] | None = None
    reading: ReadingAsTrained = None

    def __post_init__(self) -> None:
        check_above_0(false_alarms=self.false_alarms)
        check_at_least(1, lead=self.lead)
        if self.lead > 40:
            raise ValueError(f"lead must be at most 40 frames, not {self.lead}")
