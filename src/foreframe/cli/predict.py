"""foreframe predict"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from foreframe.base.files import check_source
from foreframe.base.memory import keep_memory
from foreframe.base.notes import warn
from foreframe.base.shipped import check_forecaster, name_of
from foreframe.base.wording import plural
from foreframe.cli.parser import Parser, ReadingAsTrained, call
from foreframe.cli.progress import progress
from foreframe.clips.data_options import GUIDE, LAST, Match, check_at_least
from foreframe.forecasting.precision import AUTO, Precision, choice_in_words

if TYPE_CHECKING:
    from foreframe.clips.clip import Clip
    from foreframe.clips.ensembles import Ensemble
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.visuals import Paint


def forecast_clip(
    run: str,
    input: str,
    *,
    output: str,
    steps: int = 0,
    past: int = 0,
    after: int | None = None,
    every: int = 0,
    recording: int | None = None,
    reading: ReadingAsTrained = None,
    tile: int | None = None,
    overlap: int | None = None,
    budget: float = 4.0,
    colours: str = "auto",
    fps: float = 0.0,
    device: str = "auto",
    precision: Precision = "32-true",
    match: Match | None = None,
    members: int | None = None,
    seed: int = 0,
    probability: float | None = None,
    at: str | None = None,
) -> None:
    """Forecast what follows: foreframe predict RUN INPUT -o OUTPUT

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights (moving-mnist,
            moving-mnist-ensemble, radar, radar-ensemble, scenes), or a baseline, such as
            optical_flow
        input: a film, GIF, folder of pictures, .npy, .npz, .pt, NetCDF or Zarr, in the data's own
            units
        output: .mp4, .gif, .png (past and forecast), a folder (pictures); .npy, .npz, .nc, .zarr
            (forecast alone); .csv (of one place)
        steps: frames to forecast, beyond the trained horizon too; 0 takes as many as it was trained
            to forecast
        past: how many frames to look at; 0 takes as many as it was trained with
        after: the last frame to look at, counted from 0; by default the last
        every: forecast anew after every so many frames, and score each by the frames that came
            later
        recording: which one, counted from 0, where the input holds several
        reading: how the input is read where not as in training
        tile: side of tiles for big frames; 0 takes them whole; by default tiles only where they are
            far bigger than in training
        overlap: of neighbouring tiles, in pixels; by default a quarter
        budget: GiB of memory that a forecast may take; a larger one is refused
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: of a film; by default the input's
        device: cpu, cuda, mps; auto takes cuda if it can
        precision: bf16-mixed rounds, and is often faster; auto times both
        match: last keeps the forecast's ranks and gives it, rank by rank, the values of the last
            frame; guide those of the model's guide: heavy rain does not fade; none is the plain
            forecast; by default what RUN says (radar and radar-ensemble: guide)
        members: so many possible futures, of a model that draws them; pictures and films show
            their mean and three of them, a .png also their spread
        seed: of the members
        probability: how many of the members reach this value, in the data's units, in place of
            their values
        at: one place alone, latitude,longitude, or row,column where the input has neither, as a
            chart (.png) or values (.csv)
    """
    from pathlib import Path

    check_forecaster(run)
    check_source(input)

    from foreframe.clips.ensembles import Ensemble
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.outputs import check_output, write_forecast, write_place
    from foreframe.forecasting.places import place_at
    from foreframe.visuals import paint_for

    kind = check_output(output, at is not None)
    paint_for(colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    if every and after is not None:
        raise ValueError("give after or every, not both")
    if every and at is not None:
        raise ValueError("--at is of one forecast: give --after, not --every")
    if every and kind == ".png":
        raise ValueError(
            "rolling forecasts do not fit one .png; choose .mp4, .gif, a folder, .npy, .npz, .nc "
            "or .zarr"
        )
    check_at_least(0, steps=steps, past=past, every=every, fps=fps, budget=budget)
    if Path(output).resolve() == Path(input).resolve():
        raise ValueError(f"output {output} is the input: name another file")
    forecaster = Forecaster.load(run, device)
    forecaster.budget = budget
    match = match or forecaster.match  # type: ignore[assignment]
    forecaster.check_match(match)
    forecaster.check_members(members)
    if probability is not None and members is None:
        raise ValueError("a probability is the share of members: give --members, such as 16")
    if note := forecaster.repeats(members):
        warn(note)
    clip = forecaster.open(input, recording, **(reading or {}))
    place = None if at is None else place_at(clip, at)
    seen, steps = past or forecaster.window.past, steps or forecaster.window.future
    side = tile if tile is not None else forecaster.usual_tile(clip.frames.shape[2:])
    if tile is None:
        side = forecaster.fitting_tile(side, (seen, *clip.frames.shape[1:]), steps, members)
    size = clip.frames.shape[2:]
    trained = forecaster.trained.frame
    if forecaster.model.reduces and trained is not None and tuple(trained) != size:
        print(
            f"frames are forecast as large as they are, {size[0]}x{size[1]}; the run was trained "
            f"and is scored at {trained[0]}x{trained[1]} (--reading.size)"
        )
    if 0 < side < max(clip.frames.shape[2:]):
        print(
            f"frames of {clip.frames.shape[2]}x{clip.frames.shape[3]} are forecast in tiles of "
            f"{side} pixels"
        )
    if precision == AUTO:
        forecaster.check_size((1, *clip.frames.shape[1:]), steps, side)
        print(choice_in_words(forecaster.speedup(clip.frames.shape, side)))
    if every:
        roll(
            forecaster,
            run,
            clip,
            output,
            steps,
            seen,
            every,
            side,
            overlap,
            colours,
            fps,
            precision,
            match,
            members,
            seed,
            probability,
        )
        return
    last = len(clip) - 1 if after is None else after
    if not 0 <= last < len(clip):
        raise ValueError(f"after {after}: {input} has frames 0 to {len(clip) - 1}")
    if clip.pictures and (reading or {}).get("cuts") is None:
        seen = within_scene(clip, last, seen, input)
    before, future = forecaster.forecast_from(
        clip, last + 1, steps, seen, side, overlap, precision, match, members, seed
    )
    some = future[0] if isinstance(future, Ensemble) else future
    truth = clip.truth_of(last + 1, some) if last + 1 < len(clip) else None
    note_alike(forecaster, future)
    paint, words = None, None
    if probability is not None:
        value = with_units(probability, some.units)
        paint = paint_of_probability(colours, value)
        words = words_of_probability(value, members or 1)
        before, future, truth = reaching(probability, before, future, truth)
    if place is not None:
        write_place(output, before, future, place, truth, words)
    else:
        said = history(run, match, members, seed)
        scaling = forecaster.scaling
        write_forecast(output, before, future, scaling, truth, colours, fps, said, paint)
    follow, lie = ("follows", "lies") if steps == 1 else ("follow", "lie")
    few = few_frames(len(before), seen)
    frames = in_words(steps, members, probability, some.units)
    where = "" if place is None else f" ({place.name})"
    print(f"{frames} that {follow} frame {last} of {input}{where} {lie} in {output}{few}")


def within_scene(clip: "Clip", last: int, seen: int, name: str) -> int:
    """How many frames to look at, where a film has changed its scene just before."""
    from foreframe.data.cuts import since_cut

    since = since_cut(clip.frames, last + 1, seen)
    if since >= min(seen, last + 1):
        return seen
    warn(
        f"{name}: another scene begins at frame {last + 1 - since}, and nothing before it is "
        "looked at; --reading.cuts false looks across"
    )
    return since


def note_alike(forecaster: "Forecaster", future: "Clip | Ensemble") -> None:
    """Tell where members do not differ: a model may have noise that does not move it."""
    import numpy as np

    from foreframe.clips.ensembles import Ensemble

    if not isinstance(future, Ensemble) or len(future) == 1:
        return
    scaling, (first, *others) = forecaster.scaling, future.frames
    little = ALIKE * (scaling.high - scaling.low)
    if all(np.allclose(first, of, rtol=0, atol=little, equal_nan=True) for of in others):
        warn(
            f"all {len(future)} members are alike here; a model learns to tell them apart by "
            "--loss crps, from --config quick"
        )


ALIKE = 1e-3  # of a model's range, a difference that is none


def reaching(
    threshold: float, past: "Clip", members: "Ensemble", truth: "Clip | None"
) -> "tuple[Clip, Clip, Clip | None]":
    """Past, probability and truth of reaching a threshold: what was measured has reached it or
    has not.
    """
    from foreframe.clips.ensembles import Ensemble

    measured = [
        None if of is None else Ensemble([of]).probability(threshold) for of in (past, truth)
    ]
    assert measured[0] is not None
    return measured[0], members.probability(threshold), measured[1]


def with_units(threshold: float, units: str) -> str:
    return f"{threshold:g} {units}".rstrip()


def paint_of_probability(colours: str, value: str) -> "Paint":
    """Colours from 0 to 1 under a heading that says of what."""
    from dataclasses import replace

    from foreframe.visuals import paint_for

    return replace(paint_for(colours, 0, 1, "1"), heading=(value, "or more,", "probability"))


def words_of_probability(value: str, members: int) -> tuple[str, str, str]:
    """What a chart of a place says of reaching a value: what was measured has reached it or not."""
    share = f"share of {plural(members, 'member')} that reach {value}"
    return f"measured: 1 where it reached {value}, else 0", share, "what came: 1 or 0 likewise"


def in_words(steps: int, members: int | None, probability: float | None, units: str) -> str:
    """What a forecast holds: "3 frames of 8 members"."""
    frames = plural(steps, "frame")
    if members is None:
        return frames
    of = plural(members, "member")
    if probability is None:
        return f"{frames} of {of}"
    return f"{frames} of probabilities ({with_units(probability, units)} or more, by {of})"


def history(
    run: str, match: Match | None = None, members: int | None = None, seed: int = 0
) -> dict[str, str]:
    """What a file with a forecast says of where it comes from."""
    from foreframe import __version__

    of_members = "" if members is None else f", {plural(members, 'member')} of seed {seed}"
    whose = {LAST: ", matched to the last frame", GUIDE: ", matched to its guide"}.get(
        match or "", ""
    )
    return {"history": f"foreframe {__version__}: forecast from {name_of(run)}{of_members}{whose}"}


def few_frames(n: int, wanted: int) -> str:
    """A note where the recording has fewer frames than a forecast looks at."""
    if n >= wanted:
        return ""
    return f" ({plural(n, 'frame')} {'is' if n == 1 else 'are'} fewer than the {wanted} to look at)"


def roll(
    forecaster: "Forecaster",
    run: str,
    clip: "Clip",
    output: str,
    steps: int,
    seen: int,
    every: int,
    tile: int,
    overlap: int | None,
    colours: str,
    fps: float,
    precision: Precision,
    match: Match | None,
    members: int | None,
    seed: int,
    probability: float | None,
) -> None:
    """A forecast after every `every` frames, each beside what came, and scored by it beside
    persistence.
    """
    from math import isfinite

    from foreframe.evaluation import rolling, rolling_scores
    from foreframe.forecasting.outputs import write_rolling

    firsts = range(min(seen, len(clip)), len(clip) + 1, every)
    scoring = rolling_scores(steps)
    how = tile, overlap, precision, match, members, seed
    rolled = rolling(forecaster, clip, firsts, steps, seen, scoring, *how)

    def forecasts() -> "Iterator[tuple[Clip, Any, Clip]]":
        with progress("forecasts") as tell:
            for number, (past, future, truth) in enumerate(rolled, 1):
                if probability is None:
                    yield past, future, truth
                else:
                    yield reaching(probability, past, future, truth)  # type: ignore[misc]
                tell(number, len(firsts))

    scaling, said = forecaster.scaling, history(run, match, members, seed)
    units = clip.units or scaling.units
    paint = None
    if probability is not None:
        paint = paint_of_probability(colours, with_units(probability, units))
    write_rolling(output, clip, firsts, steps, forecasts(), scaling, colours, fps, said, paint)
    few = few_frames(firsts[0], seen)
    what = f"{plural(len(firsts), 'forecast')} of {in_words(steps, members, probability, units)}"
    lie = "lie" if len(firsts) > 1 else "lies"
    start = f"one after every {every} from frame {firsts[0] - 1} on"
    print(f"{what}, {start}, {lie} in {output}{few}")
    print(
        f"{'frames ahead':<14}{'forecast':>12}{'persistence':>13}   root mean squared "
        f"error{f' in {units}' if units else ''}"
    )
    errors = {name: of["physical"]["rmse"]["per_lead"] for name, of in scoring.tables().items()}
    for ahead, (own, still) in enumerate(
        zip(errors["forecast"], errors["persistence"], strict=True), 1
    ):
        if isfinite(still):
            print(f"{f'+{ahead}':<14}{own:>12.4g}{still:>13.4g}")


def parser() -> Parser:
    return Parser("predict", forecast_clip)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    call(parser(), forecast_clip, arguments)
