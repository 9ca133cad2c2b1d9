"""`foreframe.archive`."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from foreframe.addons.archives.archive_options import ArchiveOptions
from foreframe.api import Run, takes
from foreframe.forecasting.forecast_options import changed

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster


@takes(ArchiveOptions)
def archive(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: Any,
    output: str | os.PathLike[str],
    options: ArchiveOptions | None = None,
    *,
    progress: Callable[[int, int], Any] = lambda done, total: None,
    **changes: Any,
) -> Any:
    """Forecast many starts or recordings into one Zarr store, as `foreframe archive` does.

        foreframe.archive("radar", "rain.nc", "starts.zarr", every=100, steps=3)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: recordings, as in `foreframe.predict`. Other processes require paths.
        output: a new .zarr.
        options, changes: the fields of `ArchiveOptions` by name, or an object that they change.
        progress: called with the number of forecasts written and the total.

    Returns:
        The store, opened by xarray: a Dataset (start, [realization,] lead, [channel,] y, x).

    Raises:
        ValueError: as `foreframe.predict`; recordings of several grids; an output that exists, or
            belongs to another job; no Dask, or no scheduler at the address.
        KeyboardInterrupt: Ctrl-C; `continue_job` resumes the job.
    """
    options = changed(options or ArchiveOptions(), changes)
    from foreframe.addons.archives.archive import write_archive

    return write_archive(what, source, output, options, progress)
