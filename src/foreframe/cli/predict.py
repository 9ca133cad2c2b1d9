"""foreframe predict"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from foreframe.cli.options import call
from foreframe.cli.progress import progress
from foreframe.memory import keep_memory
from foreframe.precision import AUTO, Precision, choice_in_words

if TYPE_CHECKING:
    import numpy as np

    from foreframe.clip import Clip
    from foreframe.forecaster import Forecaster


def forecast_clip(
    run: str,
    *,
    input: str,
    output: str,
    steps: int = 0,
    past: int = 0,
    after: int | None = None,
    every: int = 0,
    recording: int | None = None,
    variable: str | None = None,
    reading: dict | None = None,
    strict: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    budget: float = 4.0,
    colours: str = "auto",
    fps: float = 0.0,
    device: str = "auto",
    precision: Precision = "32-true",
) -> None:
    """Forecast what follows: foreframe predict RUN INPUT -o OUTPUT

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights: moving-mnist
        input: a film, GIF, folder of pictures, .npy, .npz, .pt, NetCDF or Zarr, in the data's own
            units
        output: .mp4, .gif, .png (past and forecast), a folder (pictures); .npy, .npz, .nc, .zarr
            (forecast alone)
        steps: frames to forecast, beyond the trained horizon too; 0 takes as many as it was trained
            to forecast
        past: how many frames to look at; 0 takes as many as it was trained with
        after: the last frame to look at, counted from 0; by default the last there is
        every: forecast anew after every so many frames, and score each by the frames that came
            later
        recording: which one, counted from 0, where the input holds several
        variable: which array or variable of the input; by default the run's
        reading: how it is read where not as in training, e.g. --reading.size [96,128]
        strict: refuse damaged frames and files cut short
        tile: side of tiles for big frames; 0 takes them whole; by default tiles only where they are
            far bigger than in training
        overlap: of neighbouring tiles, in pixels; by default a quarter
        budget: GiB of memory that a forecast may take; a larger one is refused
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: of a film; by default the input's
        device: cpu, cuda, mps; auto takes cuda where there is one
        precision: bf16-mixed rounds, and is often faster; auto times both
    """
    from pathlib import Path

    from foreframe.forecaster import Forecaster
    from foreframe.outputs import check_output, write_forecast
    from foreframe.visuals import paint_for

    kind = check_output(output)
    paint_for(colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    if every and after is not None:
        raise ValueError("give after or every, not both")
    if every and kind == ".png":
        raise ValueError(
            "rolling forecasts do not fit one .png; choose .mp4, .gif, a folder, .npy, .npz, .nc "
            "or .zarr"
        )
    for name, value, least in (
        ("steps", steps, 0),
        ("past", past, 0),
        ("every", every, 0),
        ("fps", fps, 0),
        ("budget", budget, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if Path(output).resolve() == Path(input).resolve():
        raise ValueError(f"output {output} is the input: name another file")
    forecaster = Forecaster.load(run, device)
    forecaster.budget = budget
    clip = opened(forecaster, input, recording, variable, reading, strict)
    seen, steps = past or forecaster.window.past, steps or forecaster.window.future
    side = tile if tile is not None else usual_tile(forecaster, clip)
    if 0 < side < max(clip.frames.shape[2:]):
        print(
            f"frames of {clip.frames.shape[2]}x{clip.frames.shape[3]} are forecast in tiles of "
            f"{side} pixels"
        )
    if precision == AUTO:
        forecaster.check_size(clip.frames.shape[1:], steps, side)
        print(choice_in_words(forecaster.speedup(clip.frames.shape, side)))
    if every:
        roll(
            forecaster,
            run,
            clip,
            input,
            output,
            steps,
            seen,
            every,
            side,
            overlap,
            colours,
            fps,
            precision,
        )
        return
    last = len(clip) - 1 if after is None else after
    if not 0 <= last < len(clip):
        raise ValueError(f"after {after}: {input} has frames 0 to {len(clip) - 1}")
    before, future = ahead(forecaster, clip, last + 1, seen, steps, side, overlap, precision)
    truth = what_came(clip, last + 1, future) if last + 1 < len(clip) else None
    write_forecast(output, before, future, forecaster.scaling, truth, colours, fps, history(run))
    what = f"{steps} frames that follow" if steps > 1 else "1 frame that follows"
    where = f"{'lie' if steps > 1 else 'lies'} in {output}{few_frames(len(before), seen)}"
    print(f"{what} frame {last} of {input} {where}")


def history(run: str) -> dict[str, str]:
    """What a file with a forecast says of where it comes from."""
    from foreframe import __version__

    return {"history": f"foreframe {__version__}: forecast from {run}"}


def ahead(
    forecaster: "Forecaster",
    clip: "Clip",
    first: int,
    seen: int,
    steps: int,
    tile: int,
    overlap: int | None,
    precision: Precision,
) -> "tuple[Clip, Clip]":
    """The last `seen` frames before frame `first`, and the forecast of `steps` frames from there
    on.
    """
    from dataclasses import replace

    before = clip[max(0, first - seen) : first]
    future = forecaster.predict(before, steps, tile, overlap, precision)
    return before, replace(future, times=times_from(clip, first, steps))


def times_from(clip: "Clip", first: int, steps: int) -> "np.ndarray | None":
    """The times of `steps` frames from frame `first` on, some of them beyond the recording's end;
    None without times.
    """
    import numpy as np

    if clip.times is None:
        return None
    known = clip.times[first : first + steps]
    beyond = clip.times_after(
        steps - len(known)
    )  # by all of the recording, since a single frame does not tell the time step
    return None if beyond is None else np.concatenate([known, beyond])


def what_came(clip: "Clip", first: int, future: "Clip") -> "Clip":
    """The frames from `first` on that a forecast was about, NaN where the recording has ended."""
    from dataclasses import replace

    import numpy as np

    truth = np.full(future.frames.shape, np.nan, np.float32)
    came = np.asarray(clip.frames[first : first + len(truth)])
    truth[: len(came)] = came
    return replace(future, frames=truth)


def few_frames(there: int, seen: int) -> str:
    return (
        f" ({there} frame{'s are' if there != 1 else ' is'} fewer than the {seen} it should look "
        "at)"
        if there < seen
        else ""
    )


def opened(
    forecaster: "Forecaster",
    source: Any,
    recording: int | None,
    variable: str | None,
    reading: dict[str, Any] | None,
    strict: bool,
) -> "Clip":
    """The recording to forecast, read as the forecaster's training data were, unless told
    otherwise.

    Raises:
        ValueError: what reading raises, several recordings and none chosen, other channels than the
            model's.
    """
    from foreframe.data import clips_from
    from foreframe.data.sources import on_scale, warn

    clips = clips_from(
        source,
        **trained_reading(forecaster, source, variable, reading)
        | ({"strict": True} if strict else {}),
    )
    if recording is None and len(clips) > 1:
        raise ValueError(
            f"{source} holds {len(clips)} recordings; choose one with --recording, 0 to "
            f"{len(clips) - 1}"
        )
    if recording is not None and not 0 <= recording < len(clips):
        raise ValueError(
            f"recording {recording} is not there: {source} holds {len(clips)}, counted from 0"
        )
    clip = on_scale(clips[recording or 0], forecaster.scaling)
    check_channels(forecaster, clip.frames.shape[1], source)
    for note in (*clip.notes, *doubts(forecaster, clip)):
        warn(f"{source}: {note}")
    return clip


def doubts(forecaster: "Forecaster", clip: "Clip") -> "Iterator[str]":
    """What speaks against a recording being of the kind that was trained on, where nothing proves
    it.
    """
    import numpy as np

    scaling = forecaster.scaling
    if scaling.units and not clip.units and clip.attributes:  # a grid, whose file could have said
        yield f"it tells no units, and is taken to be in {scaling.units}"
    if scaling.kind not in ("minmax", "standard"):
        return  # a fixed range refuses by itself: no frame is read for nothing
    last = np.asarray(clip.frames[len(clip) - 1 : len(clip)])
    known = last[np.isfinite(last)]
    if known.size and (known.min() > scaling.high or known.max() < scaling.low):
        yield (
            f"its last frame has values from {known.min():.4g} to {known.max():.4g}, all outside "
            f"{scaling.low:.4g} to {scaling.high:.4g}, which the model was trained on"
        )


def check_channels(forecaster: "Forecaster", c: int, source: Any) -> None:
    takes = forecaster.model.channels
    if takes not in (None, c):
        cure = {
            1: "; --reading.colour grey makes it one",
            3: "; --reading.colour rgb makes it three",
        }.get(takes or 0, "")
        raise ValueError(f"{source}: {c} channel{'s' * (c > 1)}, but the model takes {takes}{cure}")


def trained_reading(
    forecaster: "Forecaster", source: Any, variable: str | None, reading: dict[str, Any] | None
) -> dict[str, Any]:
    """Options of `foreframe.clips_from`: those of the run's own data, changed by what was given
    here.
    """
    options = {
        name: value for name, value in forecaster.trained.reading.items() if name != "budget"
    }  # that is the user's
    if str(source).lower().endswith((".npy", ".npz", ".pt", ".pth")):
        options.pop("variable", None)  # the name that a grid gave it
    return options | (reading or {}) | ({"variable": variable} if variable else {})


def usual_tile(forecaster: "Forecaster", clip: "Clip") -> int:
    """Tiles for frames of more than four times the area that was trained on; 0 where it is not
    known, or they are smaller.
    """
    trained = forecaster.trained.frame
    h, w = clip.frames.shape[2:]
    if not trained or h * w <= 4 * trained[0] * trained[1]:
        return 0
    return int(max(64, *trained))


def roll(
    forecaster: "Forecaster",
    run: str,
    clip: "Clip",
    source: str,
    output: str,
    steps: int,
    seen: int,
    every: int,
    tile: int,
    overlap: int | None,
    colours: str,
    fps: float,
    precision: Precision,
) -> None:
    """A forecast after every `every` frames, each beside what came, and scored by it beside
    persistence.
    """
    import numpy as np

    from foreframe.outputs import (
        TO_GO_ON_WITH,
        captions,
        check_output,
        paint_of,
        usual_fps,
        write_moving,
        write_values,
    )
    from foreframe.visuals import animation_frames, holds_nan

    kind = check_output(output)
    firsts = list(range(min(seen, len(clip)), len(clip) + 1, every))
    units = clip.units or forecaster.scaling.units
    square = np.zeros(
        (2, steps)
    )  # summed over pixels that are there: the forecast's, persistence's
    count = np.zeros(steps)

    def forecasts() -> "Iterator[tuple[Clip, Clip, Clip]]":
        with progress("forecasts") as tell:
            for number, first in enumerate(firsts, 1):
                before, future = ahead(
                    forecaster, clip, first, seen, steps, tile, overlap, precision
                )
                truth = what_came(clip, first, future)
                now = np.asarray(before.frames)[-1].astype(np.float64)
                for k, came in enumerate(np.asarray(truth.frames).astype(np.float64)):
                    there = np.isfinite(came) & np.isfinite(now)
                    for row, made in enumerate((np.asarray(future.frames)[k], now)):
                        square[row, k] += np.square(made - came)[there].sum()
                    count[k] += there.sum()
                yield before, future, truth
                tell(number, len(firsts))

    if kind in TO_GO_ON_WITH:
        write_values(output, [future for _, future, _ in forecasts()], history(run))
    else:
        # One scale and one size for the whole film, so both are known before its first picture.
        some = np.linspace(0, len(clip) - 1, min(len(clip), 32)).astype(
            int
        )  # their range is what the colours span
        paint = paint_of(
            colours, forecaster.scaling, units, (np.asarray(clip.frames[k : k + 1]) for k in some)
        )
        missing = paint.has_legend and (firsts[-1] + steps > len(clip) or holds_nan(clip.frames))
        labels = [
            captions(
                None if clip.times is None else clip.times[f - firsts[0] : f],
                times_from(clip, f, steps),
            )
            for f in firsts
        ]
        room = sorted({label for one in labels for label in one or ()})

        def pictures() -> Iterator[Any]:
            for times, (before, future, truth) in zip(labels, forecasts(), strict=True):
                shown = [np.asarray(one.frames) for one in (before, future, truth)]
                yield from animation_frames(
                    *shown, paint=paint, times=times, missing=missing, room=room
                )

        write_moving(output, kind, pictures(), fps or usual_fps(clip))
    few = few_frames(firsts[0], seen)
    several, plural = len(firsts) > 1, "s" * (steps > 1)
    what = f"{len(firsts)} forecast{'s' * several} of {steps} frame{plural}"
    print(
        f"{what}, one after every {every} from frame {firsts[0] - 1} on, "
        f"{'lie' if several else 'lies'} in {output}{few}"
    )
    print(
        f"{'frames ahead':<14}{'forecast':>12}{'persistence':>13}   root mean squared "
        f"error{f' in {units}' if units else ''}"
    )
    for k in range(steps):
        if count[k]:
            own, still = np.sqrt(square[:, k] / count[k])
            print(f"{f'+{k + 1}':<14}{own:>12.4g}{still:>13.4g}")


def main(arguments: Sequence[str]) -> None:
    """INPUT may stand behind RUN, without --input; -o is --output."""
    keep_memory()
    call("predict", forecast_clip, arguments, behind="input")
