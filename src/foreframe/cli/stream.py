"""foreframe stream"""

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from foreframe.base.files import check_source, check_writable
from foreframe.base.memory import keep_memory
from foreframe.base.notes import warn
from foreframe.base.shipped import check_forecaster
from foreframe.cli.parser import Parser, ReadingAsTrained, call
from foreframe.clips.data_options import Match, check_at_least
from foreframe.forecasting.precision import AUTO, Precision, choice_in_words

if TYPE_CHECKING:
    import numpy as np

    from foreframe.forecasting.streaming import Stream


def forecast_live(
    run: str,
    input: str,
    *,
    output: str | None = None,
    steps: int = 0,
    every: int = 1,
    state: str | None = None,
    wait: float = 5.0,
    reading: ReadingAsTrained = None,
    budget: float = 4.0,
    device: str = "auto",
    precision: Precision = "32-true",
    match: Match | None = None,
    members: int | None = None,
    seed: int = 0,
) -> None:
    """Forecast after every frame that comes: foreframe stream RUN INPUT

    Each forecast is a line of JSON: the frame it follows, and the root mean squared error, in the
    data's units, of earlier forecasts of this frame.

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights (moving-mnist,
            moving-mnist-ensemble, radar, radar-ensemble, scenes), or a baseline, such as
            optical_flow
        input: a film or other file; a folder that grows, of pictures or .npy; - is standard input,
            a film or .npy frames
        output: folder for the forecasts, frame-N.npy each (steps,C,H,W), or
            (members,steps,C,H,W); by default only scores are printed
        steps: frames to forecast; 0 takes as many as it was trained to forecast
        every: forecast after every so many frames; each frame is taken in
        state: a file to go on from if it exists, and to save to at the end and when stopped;
            keeps the place in INPUT too
        wait: seconds without a new frame after which a growing folder counts as finished
        reading: how frames are read where not as in training
        budget: GiB of memory that a forecast may take; a larger one is refused
        device: cpu, cuda, mps; auto takes cuda if it can
        precision: bf16-mixed rounds, and is often faster; auto times both
        match: last or guide gives the forecast their values, rank by rank, as in foreframe predict;
            none is the plain forecast
        members: so many possible futures of each, of a model that draws them
        seed: of the members
    """
    from pathlib import Path

    check_at_least(0, steps=steps, wait=wait, budget=budget)
    check_at_least(1, every=every)
    for folder in (output, None if state is None else Path(state).parent):
        if folder is not None:
            check_writable(folder)
    check_forecaster(run)
    check_source(input)

    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.incoming import live_frames, place_of

    forecaster = Forecaster.load(run, device)
    forecaster.budget = budget
    steps = steps or forecaster.window.future
    live = forecaster.stream(steps, precision, match, members, seed)
    if note := forecaster.repeats(members):
        warn(note)
    if state is not None and Path(state).exists():
        live.restore(state)
        print(f"going on after {live.seen} frames, from {state}", file=sys.stderr)
    at = place_of(live, input)
    before = live.seen
    # A service is stopped so: to us the same as Ctrl-C.
    old_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        frames = live_frames(forecaster, input, at, wait, **(reading or {}))
        follow(live, frames, every, output, at)
    finally:
        signal.signal(signal.SIGTERM, old_handler)
        if state is not None and live.seen:
            live.save(state)
            print(f"what {live.seen} frames have shown is kept in {state}", file=sys.stderr)
    if live.seen == before:
        if not (at.get("frames") or at.get("last")):
            raise ValueError(f"{input}: no frame came")
        print(f"{input}: no new frame came", file=sys.stderr)


def follow(
    live: "Stream",
    frames: "Iterator[np.ndarray]",
    every: int,
    output: str | None,
    at: dict[str, Any],
) -> None:
    """Print a line for each frame that comes, and write each forecast."""
    from pathlib import Path

    import numpy as np

    from foreframe.base.files import atomic_write
    from foreframe.evaluation import awaited

    before = live.seen
    for frame, forecast, errors in awaited(live, frames, every, at):
        if live.precision == AUTO and live.seen == before + 1:
            print(choice_in_words(live.forecaster.speedup(frame.shape)), file=sys.stderr)
        line: dict[str, Any] = {"frame": live.seen - 1}
        if forecast is not None and output is not None:
            path = Path(output) / f"frame-{live.seen - 1:06d}.npy"
            with atomic_write(path) as rough, rough.open("wb") as file:
                np.save(file, forecast)
            line["forecast"] = str(path)
        if errors:
            line["rmse"] = {f"+{ahead}": float(f"{of:.6g}") for ahead, of in errors.items()}
        print(json.dumps(line), flush=True)


def parser() -> Parser:
    return Parser("stream", forecast_live)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    call(parser(), forecast_live, arguments)
