"""foreframe stream"""

import json
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from foreframe.base.files import check_source, check_writable
from foreframe.base.schema import check_above_0
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

    Each frame gives a line of JSON: its number, the root mean squared errors, in the data's units,
    of earlier forecasts of this frame.

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights, such as
            scenes, or a baseline, such as optical_flow
        input: a film or other file; a folder that grows, of pictures, .npy or files of grids, or a
            pattern of its files; - for standard input, a film or .npy frames
        output: folder for the forecasts: frame-N.nc with times and grid, of frames without dates
            frame-N.npy, and the last one as latest.nc or .npy too; by default only scores are
            printed
        keep: hours after which forecasts in the folder are removed, by the times of their frames;
            by default they all stay
    """
    check_above_0(keep=keep)
    if keep is not None and output is None:
        raise ValueError("--keep is of the files of forecasts: give --output")
    for folder in (output, None if options.state is None else Path(options.state).parent):
        if folder is not None:
            check_writable(folder)
    check_forecaster(run)
    check_source(input)

    from foreframe.api import stream
    from foreframe.forecasting.live_forecasts import check_folder, write_live

    if output is not None:
        check_folder(Path(output), input, options.state)
    # Service managers stop a program by SIGTERM: it ends well, and its state is saved.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with closing(stream(run, input, options)) as lives:
        for live in lives:
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
