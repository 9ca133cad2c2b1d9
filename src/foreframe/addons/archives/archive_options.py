"""Options of an archive. Loads no torch, so that `--help` is fast."""

from dataclasses import dataclass

from foreframe.base.schema import PositiveInt
from foreframe.forecasting.forecast_options import RollingOptions


@dataclass(frozen=True)
class ArchiveOptions(RollingOptions):
    """Starts, forecasts and processes of an archive

    Args:
        every: forecast again after every N frames; 0 = one forecast, after the last frame
        workers: number of processes on this machine, which share its cores; by default this process
            alone
        scheduler: address of a Dask scheduler, tcp://HOST:8786, whose workers compute the forecasts
        continue_job: resume an interrupted job

    Raises:
        ValueError: a value out of its range; both workers and a scheduler.
    """

    workers: PositiveInt | None = None
    scheduler: str | None = None
    continue_job: bool = False

    def check(self) -> None:
        if self.workers and self.scheduler:
            raise ValueError("give --workers, of this machine, or --scheduler, not both")
