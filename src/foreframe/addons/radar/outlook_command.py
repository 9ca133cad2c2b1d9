"""foreframe outlook"""

import json
import signal
import sys
from contextlib import closing

from foreframe.addons.radar.outlook_options import OutlookOptions
from foreframe.base.files import check_source
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def show_outlook(
    run: str, input: list[str], *, options: OutlookOptions, output: str | None = None
) -> None:
    """Forecast what is likely at locations or on a map: foreframe outlook RUN INPUT --at LAT,LON

    Prints a table and a sentence for each location. With --wait it follows a growing folder: each
    frame prints a line of JSON, or in a terminal the sentences.

    Args:
        run: published weights (radar), a run's folder, a saved folder or a baseline
        input: a recording, several, or a pattern such as 'rain/*.nc'; or a live input: a folder
            that grows, or - for standard input
        output: file of the locations (.csv, .json, .geojson) or of the map (.nc, .png, .mp4, ...);
            of a live input it holds the last outlook
    """
    if output is None and not options.local:
        raise ValueError("missing: --output, or --at for the outlook at a location")
    check_forecaster(run)
    check_source(input)

    from foreframe.addons.radar.outlook import outlook, outlooks

    if options.wait is None and input != ["-"]:
        with progress("the outlook"):
            found = outlook(run, input if len(input) > 1 else input[0], output, options)
        if options.local:
            print(found)
        if output is not None:
            print(f"wrote {output}" if options.local else f"{found}, written to {output}")
        return
    if len(input) > 1:
        raise ValueError("give one live INPUT: a folder that grows, or -")
    # Service managers stop a program by SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with closing(outlooks(run, input[0], options)) as found_live:
        for found in found_live:
            if output is not None:
                found.write(output)
            if not sys.stdout.isatty():
                print(json.dumps(found.config()), flush=True)
            for one in found.points if sys.stdout.isatty() else []:
                when, words = one.outlook()["time"], one.sentence()
                print(f"{when}, {one.place.name}: {words}" if words else one, flush=True)


def parser() -> Parser:
    common = (
        "at area probability sum steps past after members seed calibrated wait reading match "
        "colours device budget"
    )
    return Parser("outlook", show_outlook, common=common)
