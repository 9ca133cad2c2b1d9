"""Recordings opened for a forecaster, with the read options of its training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.base.notes import warn
from foreframe.base.untrusted import IN_MEMORY
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, format_step
from foreframe.data.data_options import BUDGET, ReadOptions
from foreframe.data.maps import row_spacing
from foreframe.data.readers import one_after_another, reader_of
from foreframe.data.reading import apply_options, with_missing
from foreframe.forecasting.network import NO_RAIN, ScaledNetwork

DIGITS = "moving_mnist"  # the generated data of that name


def reading_as_trained(
    forecaster: ScaledNetwork, source: Any, given: Mapping[str, Any], whole: bool = False
) -> ReadOptions:
    """How a source is read: as in training, changed by `given`. A model of one channel without
    units sees the brightness of films.

    Args:
        whole: read frames at full size for a model that reduces large frames itself, whatever size
            it was trained and scored at.

    Raises:
        ValueError: a name that is no field of `ReadOptions`, or a value that it cannot have.
    """
    source = source[0] if isinstance(source, list) else source  # of several of a kind
    trained = replace(forecaster.trained.reading, budget=BUDGET)  # a user's limit, not training's
    if whole and forecaster.model.reduces:
        trained = replace(trained, size=None)
    if str(source).lower().endswith((".npy", ".npz")):  # these names are of a grid's variables
        trained = replace(trained, variable=None)
    if forecaster.model.takes == 1 and not forecaster.scaling.units and _is_film(source):
        trained = replace(trained, colour="grey")
    return trained.changed(given)


def _is_film(source: Any) -> bool:
    reader = reader_of(Path(source)) if isinstance(source, str | Path) else None
    return reader is not None and reader.pictures


def on_known_grid(forecaster: ScaledNetwork, clip: Clip, given: Mapping[str, Any]) -> Clip:
    """Return a clip on a finer grid than in training, by a factor of 1.5 or more, as means of
    blocks of values, with a note. A size that the user chose stays.
    """
    known, spacing = forecaster.trained.spacing, row_spacing(clip)
    if not known or not spacing or {"coarsen", "size"} & given.keys():
        return clip
    blocks = round(known[0] / spacing)
    if not 1 < blocks <= min(clip.frames.shape[2:]):
        return clip
    coarse = apply_options(clip, ReadOptions(coarsen=blocks), None)
    note = (
        f"its rows are {spacing / 1000:.3g} km apart; means of {blocks}x{blocks} values are "
        "forecast, on the grid that the model knows; --reading.coarsen 1 keeps its own grid"
    )
    return replace(coarse, notes=(*clip.notes, note))


def at_known_pace(forecaster: ScaledNetwork, clip: Clip, given: Mapping[str, Any]) -> Clip:
    """Every n-th frame up to the last, with a note, if the time step is shorter than in training by
    a factor of 1.5 or more. A pace that the user chose stays.
    """
    every = int(1 / forecaster.trained.pace(clip.step) + 0.5)
    if "every" in given or not 1 < every < len(clip):
        return clip
    known = np.timedelta64(forecaster.trained.step, "s")
    thinned = clip[(len(clip) - 1) % every : len(clip)]
    thinned = apply_options(thinned, ReadOptions(every=every), None)
    note = (
        f"it has a frame every {format_step(clip.step)}; one in {every} is read, as the model "
        f"knows {format_step(known)}; --reading.every 1 reads all"
    )
    return replace(thinned, notes=(*clip.notes, note))


def number_of(clips: Sequence[Clip], name: str, number: int | None) -> int:
    """Which of the recordings of a source is meant; of stretches of one series the last.

    Warns:
        Note: a gap in a series: what lies before it is not looked at.

    Raises:
        ValueError: several recordings and no number, or one that there is not.
    """
    if number is None and one_after_another(clips):
        number = len(clips) - 1
        if number:
            before, after = (np.asarray(clip.times).astype(str) for clip in clips[-2:])
            gap = f"nothing is there between {before[-1][:19]} and {after[0][:19]}"
            warn(f"{name}: {gap}: the forecast looks at what came since then")
    if number is None and len(clips) == 1:
        number = 0
    if number is None or not 0 <= number < len(clips):
        raise ValueError(
            f"{name} holds {plural(len(clips), 'recording')}; choose one with --recording, 0 "
            f"to {len(clips) - 1}"
        )
    return number


def check_channels(forecaster: ScaledNetwork, c: int, source: Any, dtype: Any) -> None:
    """Refuse frames of `c` channels if the model takes another number, and 8-bit colours if the
    model takes any number but was trained on values with units.

    Raises:
        ValueError: names the read option that cures it, if any.
    """
    takes, scaling = forecaster.model.takes, forecaster.scaling
    has_units = scaling.units and (scaling.low, scaling.high) != (0.0, 255.0)
    if takes is None and has_units and c == 3 and dtype == np.uint8:
        raise ValueError(
            f"{source}: its 3 channels are colours, but the model was trained on "
            f"{scaling.units}; where brightness stands for that: --reading.colour grey"
        )
    if takes in (None, c):
        return
    colour = {1: "grey", 3: "rgb"}.get(takes or 0)
    cure = f"; --reading.colour {colour} changes that" if colour else ""
    raise ValueError(f"{source}: {plural(c, 'channel')}, but the model takes {takes}{cure}")


RAIN = "mm/h"
# Values that mark no data in files that do not declare them. Radars also have negative rain, such
# as -3, or the largest number that they can write.
FILLS = (-99, -999, -9999, -99999, -32768)
TOO_MUCH = 50.0  # mm/h


def without_fills(forecaster: ScaledNetwork, clip: Clip) -> Clip:
    """The clip with undeclared fill values as missing values, and a note that names them."""
    fills, below, words = _fills(forecaster, clip)
    if not words:
        return clip
    notes = (*clip.notes, f"{words}, taken as no data")
    return replace(with_missing(clip, fills, below), notes=notes)


def _fills(forecaster: ScaledNetwork, clip: Clip) -> tuple[list[float], float, str]:
    """Undeclared fill values, the bound up to which values mark no data, and what a note says of
    them, "" without any. They are negative rain; heavy rain that is the same in three of the last
    frames on 1 % of the pixels; one of FILLS, far below all other values.
    """
    n = len(clip)
    if clip.frames.dtype.kind not in "fi" or not n:
        return [], -np.inf, ""
    rain = forecaster.scaling.kind == "log" or RAIN in (clip.units, forecaster.scaling.units)
    first = max(0, n - forecaster.window.past)  # no more is read than a forecast looks at
    numbers = sorted({first, (first + n) // 2, n - 1}) if rain else [n - 1]
    some = np.concatenate([clip.frames[k : k + 1, : clip.channels] for k in numbers])
    known = some[np.isfinite(some)]
    low, high = known.min(initial=np.inf), known.max(initial=-np.inf)
    others = known[known > low]
    fills = set()
    if low in FILLS and (not others.size or low < 2 * others.min() - high):
        fills.add(float(low))
    if rain and len(some) == 3:
        same = some[0][(some == some[0]).all(axis=0) & (some[0] > TOO_MUCH)]
        values, counts = np.unique(same, return_counts=True)
        fills.update(map(float, values[counts >= 0.01 * some[0].size]))
    below = NO_RAIN if rain else -np.inf
    absent = np.isin(known, list(fills)) | (known <= below)
    if not absent.any():
        return [], -np.inf, ""
    names = " and ".join(f"{value:g}" for value in np.unique(known[absent])[:3])
    return sorted(fills), below, f"{absent.sum() / some.size:.0%} of its values are {names}"


def doubts(forecaster: ScaledNetwork, clip: Clip) -> list[str]:
    """Return the assumptions about metadata that a recording lacks, and signs that it is of another
    kind than the data of training.
    """
    return [*_assumed(forecaster, clip), *_odd_values(forecaster, clip)]


def knows_other_digits(forecaster: ScaledNetwork, clip: Clip) -> bool:
    """Return whether the model was trained only on moving digits, in frames of another size."""
    trained = forecaster.trained
    return trained.data == DIGITS and trained.frame not in (None, clip.frames.shape[-2:])


def _assumed(forecaster: ScaledNetwork, clip: Clip) -> Iterator[str]:
    trained, (h, w) = forecaster.trained, clip.frames.shape[-2:]
    if knows_other_digits(forecaster, clip):
        yield f"frames of {h}x{w}, but the model knows only digits that move: scenes knows films"
    if clip.name.startswith(IN_MEMORY) and not any(clip.dims):
        return  # an array, which cannot say: it is in the data's units by contract
    step, spacing = clip.step, row_spacing(clip)
    pace = trained.step and format_step(np.timedelta64(trained.step, "s"))
    low, high = trained.spacing or (0.0, 0.0)
    both = dict.fromkeys(f"{side / 1000:g}" for side in (low, high))
    grid = trained.spacing and f"{' to '.join(both)} km"
    units = (clip.units, forecaster.scaling.units)
    facts = {"units": units, "time step": (step, pace), "grid spacing": (spacing, grid)}
    unsaid = {what: usual for what, (own, usual) in facts.items() if usual and not own}
    if unsaid:
        yield f"it does not say its {', '.join(unsaid)}: {', '.join(unsaid.values())} is assumed"
    if not 0.9 < trained.pace(step) < 1.1:
        yield f"it has a frame every {format_step(step)}; the model was scored at {pace}"
    if grid and spacing and not 0.8 * low < spacing < 1.2 * high:
        blocks = round(low / spacing)
        cure = f"; --reading.coarsen {blocks} averages to that" if blocks > 1 else ""
        apart = f"its rows are {spacing / 1000:.3g} km apart"
        yield f"{apart}; the model was scored on grids of {grid}{cure}"


def _odd_values(forecaster: ScaledNetwork, clip: Clip) -> Iterator[str]:
    scaling, bounded = forecaster.scaling, forecaster.scaling.kind in ("minmax", "standard")
    if clip.frames.dtype.kind not in "fi" and not bounded:
        return  # fixed ranges refuse or cut values outside: read no frame
    last = clip.frames[len(clip) - 1 : len(clip), : clip.channels]
    known = last[np.isfinite(last)]
    if not known.size:
        return
    low, high = known.min(), known.max()
    *_, fills = _fills(forecaster, clip)
    if fills:
        yield f"{fills}, taken as values; --reading.missing reads a number as no data"
    elif bounded and (low > scaling.high or high < scaling.low):
        yield (
            f"its last frame has values from {low:.4g} to {high:.4g}, all outside "
            f"{scaling.low:.4g} to {scaling.high:.4g} {scaling.units}, which the model was trained "
            "on"
        )
