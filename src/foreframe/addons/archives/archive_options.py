"""Options of an archive. Loads no torch, so that `--help` is fast."""

from dataclasses import dataclass

from foreframe.base.schema import PositiveInt
from foreframe.forecasting.forecast_options import RollingOptions


@dataclass(frozen=True)
class ArchiveOptions(RollingOptions):
    """Archive

    Args:
        every: forecast again after every N frames; 0 = one forecast, after the last frame
        workers: number of processes on this machine, which share its cores, or the address of a
            Dask scheduler, tcp://HOST:8786; by default this process alone

    Raises:
        ValueError: a value out of its range.
    """

    workers: PositiveInt | str | None = None
