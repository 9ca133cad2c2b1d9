"""Recordings opened for a forecaster, with the read options of its training."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET, ReadOptions
from foreframe.data.readers import reader_of

DIGITS = "moving_mnist"  # the generated data of that name

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster


def reading_as_trained(
    forecaster: "Forecaster", source: Any, given: Mapping[str, Any], whole: bool = False
) -> ReadOptions:
    """How a source is read: as in training, changed by `given`. A model of one channel without
    units sees the brightness of films.

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
        trained = replace(trained, variable=None)
    if forecaster.model.takes == 1 and not forecaster.scaling.units and _is_film(source):
        trained = replace(trained, colour="grey")
    return trained.changed(given)


def _is_film(source: Any) -> bool:
    reader = reader_of(Path(source)) if isinstance(source, str | Path) else None
    return reader is not None and reader.pictures


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
    colour = {1: "grey", 3: "rgb"}.get(takes or 0)
    cure = f"; --reading.colour {colour} changes that" if colour else ""
    raise ValueError(f"{source}: {plural(c, 'channel')}, but the model takes {takes}{cure}")


def doubts(forecaster: "Forecaster", clip: Clip) -> list[str]:
    """Reasons to suspect that a recording is of another kind than the training data."""
    scaling, trained = forecaster.scaling, forecaster.trained
    h, w = clip.frames.shape[-2:]
    if trained.data == DIGITS and trained.frame not in (None, (h, w)):
        return [f"frames of {h}x{w}, but the model knows only digits that move: scenes knows films"]
    if scaling.kind not in ("minmax", "standard"):
        return []  # fixed ranges refuse or cut values outside: read no frame
    last = clip.frames[len(clip) - 1 : len(clip), : clip.channels]
    known = last[np.isfinite(last)]
    if not known.size or (known.min() <= scaling.high and known.max() >= scaling.low):
        return []
    return [
        f"its last frame has values from {known.min():.4g} to {known.max():.4g}, all outside "
        f"{scaling.low:.4g} to {scaling.high:.4g} {scaling.units}, which the model was trained on"
    ]
