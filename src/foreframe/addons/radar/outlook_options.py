"""Options of the verbs `outlook` and `calibrate`. Loads no torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foreframe.base.schema import check_at_least
from foreframe.data.data_options import ReadingAsTrained
from foreframe.forecasting.forecast_options import ComputeOptions, DeviceOptions, PredictOptions


@dataclass(frozen=True)
class OutlookOptions(PredictOptions):
    """Locations, threshold and live input of an outlook.

    Args:
        at: a location, latitude,longitude, or row,column if the input has neither, or a .csv that
            lists locations by name; may be given several times
        probability: threshold in the data's units; without --at it makes a map and needs
            --members; for rain at locations 0.2 mm/h by default
        calibrated: correct probabilities by forecasts of the frames just seen, if the weights have
            been calibrated
        wait: seconds without a new frame after which a growing folder counts as finished, inf for
            never

    Raises:
        ValueError: a value out of its range.
    """

    at: str | Sequence[str] = ()
    probability: float | None = None
    calibrated: bool = True
    wait: float | Literal["inf"] | None = None

    def check(self) -> None:
        """Raise ValueError unless something to compute is named."""
        if self.probability is None and not self.at:
            raise ValueError(
                "give a location, --at 47.4,8.5, or for a map --members 16 --probability 1"
            )
        if self.probability is not None and self.members is None and not self.at:
            raise ValueError("a probability is the share of members: give --members, such as 16")


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ComputeOptions, DeviceOptions):
    """Clips and members of a calibration.

    Args:
        data: recordings to learn from; by default the run's own data
        reading: read options that differ from training
        members: number of members whose share is corrected
        seed: seed of the members
        thresholds: values, in the data's units, whose probabilities are corrected
        clips: validation clips to learn from, and test clips to score afterwards

    Raises:
        ValueError: a value out of its range.
    """

    data: Any = None
    reading: ReadingAsTrained = None
    members: int = 16
    seed: int = 0
    thresholds: Sequence[float] = (1.0,)
    clips: int = 64
    budget: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, members=self.members, clips=self.clips)
        if not self.thresholds:
            raise ValueError("calibrate needs --thresholds, such as [1]")
