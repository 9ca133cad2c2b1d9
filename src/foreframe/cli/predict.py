"""foreframe predict"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from foreframe.cli.options import call

if TYPE_CHECKING:
    from foreframe.clip import Clip
    from foreframe.forecaster import Forecaster


def forecast_clip(
    run: str,
    *,
    input: str,
    output: str,
    steps: int = 10,
    past: int = 0,
    after: int | None = None,
    every: int = 0,
    recording: int | None = None,
    variable: str | None = None,
    reading: dict[str, Any] | None = None,
    strict: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    colours: str = "auto",
    fps: float = 0.0,
    device: str = "auto",
) -> None:
    """Forecast what follows: foreframe predict RUN INPUT -o OUTPUT

    Args:
        run: a run's folder, a saved folder or a checkpoint
        input: a film, GIF, folder of pictures, .npy, .npz, .pt, NetCDF or Zarr, in the data's own units
        output: .mp4, .gif, .png (past and forecast), a folder (pictures); .npy, .npz, .nc, .zarr (forecast alone)
        steps: frames to forecast, beyond the trained horizon too
        past: how many frames to look at; 0 takes as many as it was trained with
        after: the last frame to look at, counted from 0; by default the last there is
        every: forecast anew after every so many frames, and score each by the frames that came later
        recording: which one, counted from 0, where the input holds several
        variable: which array or variable of the input; by default the run's
        reading: how it is read where not as in training, e.g. --reading.size [96,128]
        strict: refuse damaged frames and files cut short
        tile: side of tiles for big frames; 0 takes them whole; by default only where they are much bigger than in training
        overlap: of neighbouring tiles, in pixels; by default a quarter
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: of a film; by default the input's
        device: cpu, cuda, mps; auto takes cuda where there is one
    """
    from foreframe.forecaster import Forecaster
    from foreframe.outputs import check_output, write_forecast

    check_output(output)
    for name, value, least in (("steps", steps, 1), ("past", past, 0), ("every", every, 0), ("fps", fps, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    forecaster = Forecaster.load(run, device)
    clip = opened(forecaster, input, recording, variable, reading, strict)
    seen = past or forecaster.window.past
    side = tile if tile is not None else usual_tile(forecaster, clip)
    if side:
        print(f"frames of {clip.frames.shape[2]}x{clip.frames.shape[3]} are forecast in tiles of {side} pixels")
    if every:
        if after is not None:
            raise ValueError("give after or every, not both")
        roll(forecaster, clip, input, output, steps, seen, every, side, overlap, colours, fps)
        return
    last = len(clip) - 1 if after is None else after
    if not 0 <= last < len(clip):
        raise ValueError(f"after {after}: {input} has frames 0 to {len(clip) - 1}")
    before = clip[max(0, last + 1 - seen) : last + 1]
    future = forecaster.predict(before, steps, side, overlap)
    truth = clip[last + 1 : last + 1 + steps] if last + steps < len(clip) else None
    write_forecast(output, before, future, forecaster.scaling, truth, colours, fps)
    few = f" ({len(before)} frames are fewer than the {seen} that it was trained with)" if len(before) < seen else ""
    print(f"{steps} frames that follow frame {last} of {input} lie in {output}{few}")


def opened(
    forecaster: "Forecaster",
    source: Any,
    recording: int | None,
    variable: str | None,
    reading: dict[str, Any] | None,
    strict: bool,
) -> "Clip":
    """The recording to forecast, read as the forecaster's training data were, unless told otherwise.

    Raises:
        ValueError: what reading raises, several recordings and none chosen, other channels than the model's.
    """
    from foreframe.data import clips_from

    clips = clips_from(source, **trained_reading(forecaster, source, variable, reading) | ({"strict": True} if strict else {}))
    if recording is None and len(clips) > 1:
        longest = f"0 to {len(clips) - 1}"
        raise ValueError(f"{source} holds {len(clips)} recordings; predict takes one: choose with --recording, {longest}")
    if recording is not None and not 0 <= recording < len(clips):
        raise ValueError(f"recording {recording} is not there: {source} holds {len(clips)}, counted from 0")
    clip = clips[recording or 0]
    c = clip.frames.shape[1]
    if forecaster.model.channels not in (None, c):
        cure = "; --reading.colour grey makes it one" if forecaster.model.channels == 1 and c == 3 else ""
        raise ValueError(f"{source}: {c} channels, but the model takes {forecaster.model.channels}{cure}")
    return clip


def trained_reading(forecaster: "Forecaster", source: Any, variable: str | None, reading: dict[str, Any] | None) -> dict[str, Any]:
    """Options of `foreframe.clips_from`: those of the run's own data, changed by what was given here."""
    from dataclasses import fields

    from foreframe.data import Reading

    trained = forecaster.about.get("data_args", {})
    options = {one.name: trained[one.name] for one in fields(Reading) if one.name in trained}
    if str(source).lower().endswith((".npy", ".npz", ".pt", ".pth")):
        options.pop("variable", None)  # the name that a grid gave it
    return options | (reading or {}) | ({"variable": variable} if variable else {})


def usual_tile(forecaster: "Forecaster", clip: "Clip") -> int:
    """Tiles for frames of more than four times the area that was trained on; 0 where it is not known, or they are smaller."""
    trained = forecaster.about.get("frame")
    h, w = clip.frames.shape[2:]
    if not trained or h * w <= 4 * trained[0] * trained[1]:
        return 0
    return int(max(64, *trained))


def roll(
    forecaster: "Forecaster",
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
) -> None:
    """A forecast after every `every` frames, each beside what came, and scored by it beside persistence."""
    import numpy as np

    from foreframe.outputs import TO_GO_ON_WITH, captions, check_output, paint_of, usual_fps, write_moving, write_values
    from foreframe.visuals import animation_frames

    kind = check_output(output)
    if kind == ".png":
        raise ValueError("rolling forecasts do not fit one .png; choose .mp4, .gif, a folder, .npy, .npz, .nc or .zarr")
    firsts = list(range(min(seen, len(clip)), len(clip) + 1, every))
    square = np.zeros((2, steps))  # summed over pixels that are there: the forecast's, persistence's
    count = np.zeros(steps)

    def forecasts() -> "Iterator[tuple[Clip, Clip, Clip]]":
        for first in firsts:
            before, came = clip[max(0, first - seen) : first], clip[first : first + steps]
            future = forecaster.predict(before, steps, tile, overlap)
            now = np.asarray(before.frames)[-1].astype(np.float64)
            for k, truth in enumerate(np.asarray(came.frames).astype(np.float64)):
                there = np.isfinite(truth) & np.isfinite(now)
                for row, made in enumerate((np.asarray(future.frames)[k], now)):
                    square[row, k] += np.square(made - truth)[there].sum()
                count[k] += there.sum()
            yield before, future, came

    if kind in TO_GO_ON_WITH:
        write_values(output, [future for _, future, _ in forecasts()])
    else:
        first = clip[0 : min(len(clip), seen)]
        paint = paint_of(colours, forecaster.scaling, clip.units or forecaster.scaling.units, [np.asarray(first.frames)])

        def pictures() -> Iterator[Any]:
            for before, future, came in forecasts():
                truth = np.full(future.frames.shape, np.nan, np.float32)
                truth[: len(came)] = np.asarray(came.frames)
                yield from animation_frames(
                    np.asarray(before.frames), np.asarray(future.frames), truth, paint=paint, times=captions(before, future)
                )

        write_moving(output, kind, pictures(), fps or usual_fps(clip))
    units = clip.units or forecaster.scaling.units
    print(f"{len(firsts)} forecasts of {steps} frames, one after every {every} from frame {firsts[0] - 1} on, lie in {output}")
    print(f"{'frames ahead':<14}{'forecast':>12}{'persistence':>13}   root mean squared error{f' in {units}' if units else ''}")
    for k in range(steps):
        if count[k]:
            own, still = np.sqrt(square[:, k] / count[k])
            print(f"{f'+{k + 1}':<14}{own:>12.4g}{still:>13.4g}")


def main(arguments: Sequence[str]) -> None:
    """INPUT may stand behind RUN, without --input; -o is --output."""
    call("predict", forecast_clip, arguments, behind="input")
