"""foreframe stream"""

import json
import signal
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from foreframe.base.files import check_source, check_writable
from foreframe.base.progress import progress
from foreframe.base.schema import Range
from foreframe.cli.parser import Parser
from foreframe.forecasting.forecast_options import StreamOptions
from foreframe.models.names import check_forecaster


def forecast_live(
    run: str,
    input: str,
    *,
    options: StreamOptions,
    output: str | None = None,
    keep: float | None = None,
) -> None:
    """Forecast after every incoming frame: foreframe stream RUN INPUT

    Each frame prints a line of JSON: its number, and the root mean squared errors of earlier
    forecasts of this frame, in the data's units.

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights, such as
            scenes, or a baseline, such as optical_flow
        input: a film or other file; a growing folder of pictures, .npy or files of grids, or a
            pattern of its files; - for standard input, a film or .npy frames
        output: folder for the forecasts: frame-N.nc with times and grid, or frame-N.npy for frames
            without dates; the last forecast is also latest.nc or .npy; by default only scores are
            printed
        keep: hours after which forecasts in the folder are removed, by the times of their frames;
            by default none is removed
    """
    if keep is not None:
        Range(above=0).check("keep", keep)
        if output is None:
            raise ValueError("--keep requires --output")
    for folder in (output, None if options.state is None else Path(options.state).parent):
        if folder is not None:
            check_writable(folder)
    check_forecaster(run)
    check_source(input)

    from foreframe.api import stream
    from foreframe.forecasting.live_forecasts import check_folder, write_live

    if output is not None:
        check_folder(Path(output), input, options.state)
    # Service managers stop a program by SIGTERM, which must save the state.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as start, closing(stream(run, input, options)) as lives:
        if Path(input).is_file():  # frames of others may come in hours
            start.enter_context(progress("the first frame"))
        for live in lives:
            start.close()
            line: dict[str, Any] = {"frame": live.frame}
            if live.made is not None and output is not None:
                path = write_live(live.made, live.frame, Path(output), keep)
                if path is not None:
                    line["forecast"] = str(path)
            if live.errors:
                line["rmse"] = {f"+{k}": float(f"{e:.6g}") for k, e in live.errors.items()}
            print(json.dumps(line), flush=True)


def parser() -> Parser:
    common = (
        "steps every state wait keep reading members seed match device compile precision budget"
    )
    return Parser("stream", forecast_live, common=common)
