"""Options of the verbs `outlook` and `calibrate`. Loads no torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foreframe.base.schema import PositiveFloat, PositiveInt
from foreframe.forecasting.forecast_options import (
    DeviceOptions,
    MemberOptions,
    PredictOptions,
    ReadingOptions,
    WaitOptions,
)


@dataclass(frozen=True)
class OutlookOptions(PredictOptions, WaitOptions):
    """Outlook

    Args:
        at: a location, latitude,longitude, or row,column if the input has neither, or a .csv that
            lists locations by name; may be given several times
        area: west,south,east,north in degrees, or a .geojson file with areas: their maximum and
            mean, and the probability that the threshold is reached somewhere; may be given several
            times
        probability: threshold in the data's units; without --at it makes a map and needs
            --members; for rain at locations 0.2 mm/h by default
        sum: minutes whose rain is added up: the amount in mm and the probabilities of 1, 5, 10 and
            20 mm; without --at it makes a map
        calibrated: correct probabilities by forecasts of the latest frames, if the weights have
            been calibrated

    Raises:
        ValueError: a value out of its range.
    """

    at: str | Sequence[str] = ()
    area: str | Sequence[str] = ()
    probability: float | None = None
    sum: PositiveInt | None = None
    calibrated: bool = True

    @property
    def local(self) -> bool:
        """True for locations and areas, False for a map."""
        return bool(self.at or self.area)

    def check_target(self) -> None:
        """Check that a location or a map is named.

        Raises:
            ValueError: neither is.
        """
        if self.grid == "source":
            raise ValueError("grid source is for foreframe predict, not for outlook")
        if self.local:
            return
        if (self.probability is None) == (self.sum is None):
            raise ValueError("give --at 47.4,8.5, or for a map either --sum 60 or --probability 1")
        if self.sum is None and self.members is None:
            raise ValueError("a probability is the share of members: give --members, such as 16")


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(MemberOptions, DeviceOptions, ReadingOptions):
    """Calibration

    Args:
        data: recordings to learn from; by default the run's own data
        members: number of members whose share is corrected
        thresholds: values, in the data's units, whose probabilities are corrected
        clips: number of validation clips to learn from, and of test clips to score afterwards

    Raises:
        ValueError: a value out of its range.
    """

    data: Any = None
    members: PositiveInt = 16
    thresholds: Sequence[float] = (1.0,)
    clips: PositiveInt = 64
    budget: PositiveFloat = 4.0

    def check(self) -> None:
        if not self.thresholds:
            raise ValueError("calibrate needs --thresholds, such as [1]")
