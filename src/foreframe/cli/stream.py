"""foreframe stream"""

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from foreframe.cli.options import call
from foreframe.memory import keep_memory
from foreframe.precision import AUTO, Precision, choice_in_words

if TYPE_CHECKING:
    import io
    from pathlib import Path

    import numpy as np

    from foreframe.clip import Clip
    from foreframe.forecaster import Forecaster, Stream


def forecast_live(
    run: str,
    *,
    source: str,
    output: str | None = None,
    steps: int = 0,
    every: int = 1,
    state: str | None = None,
    wait: float = 5.0,
    variable: str | None = None,
    reading: dict | None = None,
    budget: float = 4.0,
    device: str = "auto",
    precision: Precision = "32-true",
) -> None:
    """Forecast after every frame that comes: foreframe stream RUN SOURCE

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights: moving-mnist
        source: a film or other file; a folder that grows, of pictures or .npy; - is standard input,
            a film or .npy frames
        output: folder for the forecasts, frame-N.npy each (steps,C,H,W); by default only scores are
            printed
        steps: frames to forecast; 0 takes as many as it was trained to forecast
        every: forecast after every so many frames; each frame is taken in
        state: a file to go on from where it is there, and to save to at the end and when stopped;
            keeps the place in SOURCE too
        wait: seconds without a new frame after which a growing folder counts as finished
        variable: which array or variable of a file
        reading: how it is read where not as in training, e.g. --reading.size [96,128]
        budget: GiB of memory that a forecast may take; a larger one is refused
        device: cpu, cuda, mps; auto takes cuda where there is one
        precision: bf16-mixed rounds, and is often faster; auto times both

    Each forecast is a line of JSON: the frame it follows, and the root mean squared error, in the
    data's units, of the forecasts that this frame was awaited by.
    """
    from pathlib import Path

    from foreframe.files import check_writable
    from foreframe.forecaster import Forecaster

    for name, value, least in (
        ("steps", steps, 0),
        ("every", every, 1),
        ("wait", wait, 0),
        ("budget", budget, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    for folder in (output, None if state is None else Path(state).parent):
        if folder is not None:
            check_writable(folder)
    forecaster = Forecaster.load(run, device)
    forecaster.budget = budget
    live = forecaster.stream(steps or forecaster.window.future, precision)
    if state is not None and Path(state).exists():
        live.restore(state)
        print(f"going on after {live.seen} frames, from {state}", file=sys.stderr)
    at = begin(live, source)
    before = live.seen
    old_handler = signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # a service is stopped so: to us the same as Ctrl-C
    try:
        follow(live, frames_of(forecaster, source, variable, reading, wait, at), every, output, at)
    finally:
        signal.signal(signal.SIGTERM, old_handler)
        if state is not None and live.seen:
            live.save(state)
            print(f"what {live.seen} frames have shown is kept in {state}", file=sys.stderr)
    if live.seen == before:
        if not (at.get("frames") or at.get("last")):
            raise ValueError(f"{source}: no frame came")
        print(f"{source}: no new frame came", file=sys.stderr)


def begin(live: "Stream", source: str) -> dict[str, Any]:
    """How far the source was read: its beginning, unless this stream comes from a saved one of the
    same file or folder.
    """
    from pathlib import Path

    path = source if source == "-" or "://" in source else str(Path(source).resolve())
    return dict(live.source) if live.source.get("path") == path and path != "-" else {"path": path}


def follow(
    live: "Stream",
    frames: "Iterator[np.ndarray]",
    every: int,
    output: str | None,
    at: dict[str, Any],
) -> None:
    """Push frames as they come; hold no more than the forecasts that are still awaiting their
    frames.
    """
    from collections import deque
    from pathlib import Path

    import numpy as np

    from foreframe.files import atomic_write

    before = live.seen
    awaiting: deque[tuple[int, Any]] = deque(
        maxlen=-(-live.steps // every)
    )  # (frame that they follow, forecast)
    for frame in frames:
        live.take(frame)
        live.source = dict(at)
        if live.precision == AUTO and live.seen == before + 1:
            print(choice_in_words(live.forecaster.speedup(frame.shape)), file=sys.stderr)
        now = live.seen - 1
        errors = {}
        for made_at, made in reversed(awaiting):  # the latest forecast, made for +1, first
            if now - made_at <= live.steps:
                squares = np.square(made[now - made_at - 1].astype(np.float64) - frame)
                if np.isfinite(squares).any():
                    errors[f"+{now - made_at}"] = float(f"{np.sqrt(np.nanmean(squares)):.6g}")
        line: dict[str, Any] = {"frame": now}
        if live.seen % every == 0:
            made = live.forecast(like=frame)
            awaiting.append((now, made))
            if output is not None:
                path = Path(output) / f"frame-{now:06d}.npy"
                with atomic_write(path) as rough, rough.open("wb") as file:
                    np.save(file, made)
                line["forecast"] = str(path)
        if errors:
            line["rmse"] = errors
        print(json.dumps(line), flush=True)


def frames_of(
    forecaster: "Forecaster",
    source: str,
    variable: str | None,
    reading: dict[str, Any] | None,
    wait: float,
    at: dict[str, Any],
) -> "Iterator[np.ndarray]":
    """Frames (C,H,W), read as in training, one at a time, from a file, a folder that grows, or
    standard input.

    Args:
        at: how far the source was read; goes on from there, and is kept up to date: `frames` of a
            file, or the name of the `last` file of a folder.

    Raises:
        ValueError: what reading raises, or other channels than the model's.
    """
    from pathlib import Path

    from foreframe.cli.predict import check_channels, trained_reading
    from foreframe.data.sources import IMAGES, one_by_one, read_clips, reading_from, warn
    from foreframe.units import check_units

    how = reading_from(trained_reading(forecaster, source, variable, reading))
    path = Path(source)
    if source == "-":
        frames = one_by_one(from_stdin(how.budget), how)
    elif path.is_dir() and (
        not any(path.iterdir())
        or any(p.suffix.lower() in (*IMAGES, ".npy") for p in path.iterdir())
    ):
        frames = one_by_one(from_growing(path, wait, at, how.budget), how)
    else:
        clips = read_clips(source, how)
        for clip in clips:
            check_units(clip.units, forecaster.scaling.units, clip.name)
        for note in dict.fromkeys(note for clip in clips for note in clip.notes):
            warn(f"{source}: {note}")
        if len(clips) > 1:
            warn(
                f"{source} holds {len(clips)} recordings: they are taken one after the other, as "
                "if they were one"
            )
        frames = from_clips(clips, at)
    for frame in frames:
        check_channels(forecaster, frame.shape[0], source)
        yield forecaster.scaling.from_pictures(frame)


def from_clips(clips: "Sequence[Clip]", at: dict[str, Any]) -> "Iterator[np.ndarray]":
    """The frames of recordings, one at a time, without those that `at` says were taken before."""
    begun, start = at.get("frames", 0), 0
    for clip in clips:
        for k in range(max(0, begun - start), len(clip)):
            at["frames"] = start + k + 1
            yield clip.frames[k : k + 1][0]
        start += len(clip)


def from_growing(
    folder: "Path", wait: float, at: dict[str, Any], budget: float
) -> "Iterator[np.ndarray]":
    """Pictures and .npy frames in a folder, in the order of their names, as they arrive.

    A file that cannot be read may still be on its way: as long as it is the newest it is waited
    for, and else left out with a note. One with a name before the last one taken is too late, and
    never looked at.
    """
    from pathlib import Path

    from foreframe.data.sources import IMAGES, natural, warn

    last = natural(Path(at["last"])) if at.get("last") else None
    quiet = time.monotonic()  # since when nothing has come
    while True:
        over = time.monotonic() - quiet >= wait
        names = sorted(
            (
                p
                for p in folder.iterdir()
                if p.suffix.lower() in (*IMAGES, ".npy") and p.name[0] != "."
            ),
            key=natural,
        )
        fresh = [p for p in names if last is None or natural(p) > last]
        for path in fresh:
            frame = _arrived(path, budget)
            if frame is None and path == fresh[-1] and not over:
                break
            last, at["last"] = natural(path), path.name
            if frame is None:
                warn(f"{path.name} cannot be read, and is left out")
                continue
            yield _one_frame(frame, path.name)
            quiet = time.monotonic()  # the forecast took its time: that is no silence of the folder
        if over and time.monotonic() - quiet >= wait:
            return
        time.sleep(0.05)


def _arrived(path: "Path", budget: float) -> "np.ndarray | None":
    """The array in a file, or None where it is not whole."""
    from foreframe.data.images import read_images
    from foreframe.data.npy import read_one

    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return read_one(file, budget)
        return read_images([path], strict=True, budget=budget).frames[0:1][0]
    except (OSError, EOFError, ValueError):
        return None


def _one_frame(frame: "np.ndarray", where: str) -> "np.ndarray":
    if frame.ndim not in (2, 3):
        raise ValueError(
            f"{where}: an array of shape {frame.shape} is no frame; send (H,W) or (C,H,W) one at a "
            "time"
        )
    return frame[None] if frame.ndim == 2 else frame


def from_stdin(budget: float) -> "Iterator[np.ndarray]":
    """A film, or .npy frames one after the other, from standard input; none may take more than
    `budget` GiB.
    """
    from types import SimpleNamespace

    from foreframe.budget import OverBudgetError
    from foreframe.data.npy import read_one
    from foreframe.data.video import film_stream

    pipe = cast("io.BufferedReader", sys.stdin.buffer)  # peek looks without taking
    if not pipe.peek(6)[:6].startswith(b"\x93NUMPY"):
        yield from film_stream(pipe, budget)
        return
    plain: Any = SimpleNamespace(
        read=pipe.read
    )  # numpy would ask a file that it knows where it stands, which a pipe cannot tell
    while pipe.peek(1):
        try:
            frame = read_one(plain, budget)
        except OverBudgetError:
            raise
        except (ValueError, EOFError) as error:
            raise ValueError(
                "standard input ends within a .npy frame, or holds something else"
            ) from error
        yield _one_frame(frame, "standard input")


def main(arguments: Sequence[str]) -> None:
    """SOURCE may stand behind RUN; -o is --output."""
    keep_memory()
    call("stream", forecast_live, arguments, behind="source")
