"""Options of an archive. Loads no torch, so that `--help` is fast."""

from dataclasses import asdict, dataclass

from foreframe.base.schema import check_at_least
from foreframe.data.data_options import ReadingAsTrained
from foreframe.forecasting.forecast_options import PredictOptions, TiledOptions


@dataclass(frozen=True)
class ArchiveOptions(TiledOptions):
    """Starts, forecasts and processes of an archive

    Args:
        every: forecast again after every so many frames; 0 forecasts once, after the last frame
        steps, past, reading: see `PredictOptions`
        device: cpu, cuda, mps; auto takes cuda if available
        workers: number of processes on this machine, which share its cores; by default this one
            alone
        scheduler: address of a Dask scheduler, tcp://HOST:8786, whose workers compute the forecasts
        continue_job: resume an interrupted job

    Raises:
        ValueError: a value out of its range; both workers and a scheduler.
    """

    every: int = 0
    steps: int = 0
    past: int = 0
    reading: ReadingAsTrained = None
    device: str = "auto"
    workers: int | None = None
    scheduler: str | None = None
    continue_job: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, workers=self.workers)
        if self.workers and self.scheduler:
            raise ValueError("give --workers, of this machine, or --scheduler, not both")
        self.of_predict()

    def of_predict(self) -> PredictOptions:
        """Return the options of the forecasts, checked."""
        other = ("workers", "scheduler", "continue_job")
        return PredictOptions(**{k: v for k, v in asdict(self).items() if k not in other})
