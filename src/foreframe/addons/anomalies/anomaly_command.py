"""foreframe anomalies"""

import json
import signal
from dataclasses import asdict
from pathlib import Path

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.base.files import check_source
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def find_anomalies(
    input: str, *, weights: str = "scenes", output: str | None = None, options: AnomalyOptions
) -> None:
    """Find what is unusual in a recording: foreframe anomalies INPUT -o OUTPUT

    A frame's score is the error of its forecast, compared with what is usual at each place. For a
    live input a line of JSON is printed for each event, a second after it is over.

    Args:
        input: a film or other file, or a folder of pictures; or a live source: a camera
            (rtsp://...), - for standard input, or with --wait a folder that grows
        weights: what forecasts: published weights, a run, or a baseline, such as dense_motion
        output: .csv (a line for each frame), .json (the events), .png (scores and the highest
            events), .mp4 (the film with alarms framed)
    """
    normals = [options.normal] if isinstance(options.normal, str) else [*options.normal]
    check_source([*normals, input])
    check_forecaster(weights)

    from foreframe.addons.anomalies.anomaly_search import (
        anomalies,
        check_anomaly_file,
        is_live,
        watch,
    )

    if is_live(input) and (options.wait is not None or not Path(input).is_dir()):
        if output is not None:
            raise ValueError(f"{input} is live: its events are printed; leave out --output")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for event in watch(input, options, weights=weights):
            print(json.dumps(asdict(event)), flush=True)
        return
    if output is not None:
        check_anomaly_file(output)
    with progress("frames") as tell:
        found = anomalies(input, None, options, weights=weights, progress=tell)
    print(found)
    if output is not None:
        with progress("frames of the output") as tell:
            found.write(output, tell)
        print(f"wrote {output}")


def parser() -> Parser:
    common = "normal false_alarms lead wait reading device"
    return Parser("anomalies", find_anomalies, common=common)
