"""foreframe stream"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from foreframe.cli.options import call

if TYPE_CHECKING:
    import io

    import numpy as np

    from foreframe.forecaster import Forecaster


def forecast_live(
    run: str,
    *,
    source: str,
    output: str | None = None,
    steps: int = 10,
    every: int = 1,
    state: str | None = None,
    wait: float = 5.0,
    variable: str | None = None,
    reading: dict[str, Any] | None = None,
    device: str = "auto",
) -> None:
    """Forecast after every frame that comes: foreframe stream RUN SOURCE

    Args:
        run: a run's folder, a saved folder or a checkpoint
        source: a film or other file; a folder that grows, of pictures or .npy frames; - is standard input, a film or .npy frames
        output: folder for the forecasts, frame-N.npy each (steps,C,H,W); by default only scores are printed
        steps: frames to forecast
        every: forecast after every so many frames; each frame is taken in
        state: a file to go on from where it is there, and to save to at the end and at Ctrl-C
        wait: seconds without a new frame after which a growing folder counts as finished
        variable: which array or variable of a file
        reading: how it is read where not as in training, e.g. --reading.size [96,128]
        device: cpu, cuda, mps; auto takes cuda where there is one

    Each forecast is a line of JSON: the frame it follows, and the root mean squared error, in the data's units, of the forecasts
    that this frame was awaited by.
    """
    from pathlib import Path

    from foreframe.forecaster import Forecaster

    for name, value in (("steps", steps), ("every", every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if output is not None:
        from foreframe.files import writable_folder

        writable_folder(output)
    forecaster = Forecaster.load(run, device)
    live = forecaster.stream(steps)
    if state is not None and Path(state).exists():
        live.restore(state)
        print(f"going on after {live.seen} frames, from {state}", file=sys.stderr)
    try:
        follow(forecaster, live, frames_of(forecaster, source, variable, reading, wait), every, output, sys.stdout)
    finally:
        if state is not None and live.seen:
            live.save(state)
            print(f"what {live.seen} frames have shown is kept in {state}", file=sys.stderr)


def follow(forecaster: "Forecaster", live: Any, frames: "Iterator[np.ndarray]", every: int, output: str | None, to: TextIO) -> None:
    """Push frames as they come; hold no more than the forecasts that are still awaiting their frames."""
    from collections import deque
    from pathlib import Path

    import numpy as np

    from foreframe.files import whole_file

    awaiting: deque[tuple[int, Any]] = deque(maxlen=-(-live.steps // every))  # (frame that they follow, forecast)
    for frame in frames:
        live.take(frame)
        now = live.seen - 1
        errors = {
            f"+{now - made_at}": round(float(np.sqrt(np.nanmean(np.square(made[now - made_at - 1] - frame)))), 6)
            for made_at, made in awaiting
            if 1 <= now - made_at <= live.steps and not np.isnan(frame).all()
        }
        line: dict[str, Any] = {"frame": now}
        if live.seen % every == 0:
            made = live.forecast(like=frame)
            awaiting.append((now, made))
            if output is not None:
                path = Path(output) / f"frame-{now:06d}.npy"
                with whole_file(path) as rough, rough.open("wb") as file:
                    np.save(file, made)
                line["forecast"] = str(path)
        if errors:
            line["rmse"] = errors
        print(json.dumps(line), file=to, flush=True)


def frames_of(
    forecaster: "Forecaster", source: str, variable: str | None, reading: dict[str, Any] | None, wait: float
) -> "Iterator[np.ndarray]":
    """Frames (C,H,W), read as in training, one at a time, from a file, a folder that grows, or standard input."""
    from pathlib import Path

    from foreframe.cli.predict import trained_reading
    from foreframe.data.sources import IMAGES, one_by_one, read_clips, reading_from

    how = reading_from(trained_reading(forecaster, source, variable, reading))
    if source == "-":
        yield from one_by_one(from_stdin(), how)
        return
    path = Path(source)
    inside = [p for p in path.iterdir() if p.suffix.lower() in (*IMAGES, ".npy")] if path.is_dir() else []
    if path.is_dir() and (inside or not any(path.iterdir())):
        yield from one_by_one(from_growing(path, wait), how)
        return
    for clip in read_clips(source, how):
        for k in range(len(clip)):
            yield clip.frames[k : k + 1][0]


def from_growing(folder: Any, wait: float) -> "Iterator[np.ndarray]":
    """Pictures and .npy frames in a folder, in the order of their names, as they arrive.

    A file counts as arrived when its size has stood still for a tenth of a second; one with a name before the last one taken is
    too late, and left out.
    """
    import numpy as np

    from foreframe.data.images import read_images
    from foreframe.data.sources import IMAGES, natural, warn

    last: Any = None
    since = time.monotonic()
    while time.monotonic() - since < wait:
        names = sorted((p for p in folder.iterdir() if p.suffix.lower() in (*IMAGES, ".npy") and p.name[0] != "."), key=natural)
        fresh = [p for p in names if last is None or natural(p) > natural(last)]
        for path in fresh:
            size = path.stat().st_size
            time.sleep(0.1 if path == fresh[-1] else 0)  # only the newest can still be growing
            if path.stat().st_size != size or not size:
                break
            last, since = path, time.monotonic()
            try:
                if path.suffix.lower() == ".npy":
                    frame = np.load(path, allow_pickle=False)
                    yield frame[None] if frame.ndim == 2 else frame
                else:
                    yield read_images([path], strict=True).frames[0:1][0]
            except ValueError as error:
                warn(f"{path} is left out: {error}")
        if not fresh:
            time.sleep(0.1)


def from_stdin() -> "Iterator[np.ndarray]":
    """A film, or .npy frames one after the other, from standard input."""
    import numpy as np

    from foreframe.data.video import film_stream

    pipe = cast("io.BufferedReader", sys.stdin.buffer)  # peek looks without taking
    if not pipe.peek(6)[:6].startswith(b"\x93NUMPY"):
        yield from film_stream(pipe)
        return
    while pipe.peek(1):
        try:
            frame = np.lib.format.read_array(pipe, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError("standard input ends within a .npy frame, or holds something else") from error
        yield frame[None] if frame.ndim == 2 else frame


def main(arguments: Sequence[str]) -> None:
    """SOURCE may stand behind RUN; -o is --output."""
    call("stream", forecast_live, arguments, behind="source")
