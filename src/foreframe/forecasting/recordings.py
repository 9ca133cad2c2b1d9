"""Recordings opened for a forecaster, with the read options of its training."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET, DataOptions, ReadOptions
from foreframe.data import holds_recordings
from foreframe.data.readers import read_clips
from foreframe.forecasting.trained import data_of

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster


def open_recording(
    forecaster: "Forecaster", source: Any, recording: int | None, reading: Mapping[str, Any]
) -> Clip:
    """See `Forecaster.open`."""
    # A film is a single recording, even if training was split by scenes.
    given = {"cuts": False, **reading}
    clips = read_clips(source, reading_as_trained(forecaster, source, given, whole=True))
    if recording is None and len(clips) > 1:
        raise ValueError(
            f"{source} holds {len(clips)} recordings; choose one with --recording, 0 to "
            f"{len(clips) - 1}"
        )
    if recording is not None and not 0 <= recording < len(clips):
        raise ValueError(
            f"there is no recording {recording}: {source} holds {len(clips)}, counted from 0"
        )
    clip = clips[recording or 0]
    check_channels(forecaster, clip.frames.shape[1], source, clip.frames.dtype)
    for note in (*clip.notes, *_doubts(forecaster, clip)):
        warn(f"{source}: {note}")
    return clip


def reading_as_trained(
    forecaster: "Forecaster", source: Any, given: Mapping[str, Any], whole: bool = False
) -> ReadOptions:
    """How a source is read: as in training, changed by `given`.

    Args:
        whole: read frames at full size for a model that reduces large frames itself, whatever size
            it was trained and scored at.

    Raises:
        ValueError: a name that is no field of `ReadOptions`, or a value that it cannot have.
    """
    trained = replace(forecaster.trained.reading, budget=BUDGET)  # a user's limit, not training's
    if whole and forecaster.model.reduces:
        trained = replace(trained, size=None)
    if str(source).lower().endswith((".npy", ".npz")):  # these names are of a grid's variables
        trained = replace(trained, variable=None, targets=None)
    return trained.changed(given)


def data_to_score(forecaster: "Forecaster", where: str, given: Mapping[str, Any]) -> DataOptions:
    """The data to score on: those of training, changed by the user's options; other recordings are
    read as those of training.

    Args:
        where: the user's name for this forecaster, for the message.
        given: from the user, fields of `DataOptions`.

    Raises:
        ValueError: as `data_of`.
    """
    options = data_of(forecaster.trained, where, given)
    reading = given.get("reading") or {}
    if "data" not in given:
        # The number of clips in an epoch is not the number to score.
        args = {name: value for name, value in options.data_args.items() if name != "clips"}
        return replace(options, data_args=args | (given.get("data_args") or {}))
    others = options.data != forecaster.trained.data
    if others and holds_recordings(options.data, reading.get("variable")):
        return replace(options, reading=reading_as_trained(forecaster, options.data, reading))
    return options


def check_channels(forecaster: "Forecaster", c: int, source: Any, dtype: Any) -> None:
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
    cure = {
        1: "; --reading.colour grey makes it one",
        3: "; --reading.colour rgb makes it three",
    }.get(takes or 0, "")
    raise ValueError(f"{source}: {plural(c, 'channel')}, but the model takes {takes}{cure}")


def _doubts(forecaster: "Forecaster", clip: Clip) -> Iterator[str]:
    """Reasons to suspect that a recording is of another kind than the training data."""
    scaling = forecaster.scaling
    if scaling.units and not clip.units and clip.attributes:  # a grid, which has attributes
        yield f"it tells no units, and is taken to be in {scaling.units}"
    if scaling.kind not in ("minmax", "standard"):
        return  # fixed ranges refuse or cut values outside: read no frame
    last = clip.frames[len(clip) - 1 : len(clip), : clip.channels]
    known = last[np.isfinite(last)]
    if known.size and (known.min() > scaling.high or known.max() < scaling.low):
        yield (
            f"its last frame has values from {known.min():.4g} to {known.max():.4g}, all "
            f"outside {scaling.low:.4g} to {scaling.high:.4g}, which the model was trained on"
        )
