"""An accessor `foreframe` of xarray's Dataset and DataArray, by
`import foreframe.addons.archives.xarray`.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from foreframe.addons.archives.block import (
    absolute,
    cached_forecaster,
    check_one,
    forecast_block,
)
from foreframe.api import evaluate
from foreframe.data.cf import of_starts
from foreframe.forecasting.forecast import Forecast, starts_of
from foreframe.forecasting.forecast_options import PredictOptions, changed
from foreframe.forecasting.recordings import number_of
from foreframe.visuals import Card


@xr.register_dataset_accessor("foreframe")
@xr.register_dataarray_accessor("foreframe")
class Accessor:
    """What `ds.foreframe` offers of a Dataset or a DataArray (time, [channel,] y, x), in the data's
    units.

        import foreframe.addons.archives.xarray

        future = xr.open_dataset("rain.nc").foreframe.forecast("radar", steps=12)
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    def forecast(self, what: Any, **options: Any) -> Any:
        """Forecast what follows it.

        Args:
            what: a run, a forecaster, or what `Forecaster.load` takes.
            options: the fields of `PredictOptions` by name, as of `foreframe.predict`.

        Returns:
            A Dataset as of `foreframe.forecast_block`, with the coordinates and attributes of the
            data. Of data in Dask's chunks nothing but coordinates is read before it is computed,
            in one block, since a forecast needs its whole past; it begins after the last frame,
            even one without values.

        Raises:
            ValueError: as `foreframe.forecast_block`; what is wrong with frames in chunks is told
                as they are computed.
        """
        given = check_one(changed(PredictOptions(), options))
        if self._data.__dask_graph__() is None:
            return forecast_block(self._data, forecaster=what, options=given)
        return delayed_block(self._data, what, given)

    def evaluate(self, what: Any, **options: Any) -> Card:
        """Score a forecaster on it beside the baselines, as `foreframe.evaluate` does.

        Args:
            what, options: as of `foreframe.evaluate`; by default its last tenth is scored, and with
                `split="all"` the whole of it.

        Raises:
            ValueError: as `foreframe.evaluate`.
        """
        return evaluate(what, self._data, **options)


def delayed_block(data: Any, what: Any, options: PredictOptions) -> Any:
    """`forecast_block` of Dask's arrays, as a Dataset of such arrays."""
    from dask import array, delayed

    what = absolute(what)  # workers may run in another folder
    forecaster, made_by = cached_forecaster(what, options.device)
    clips = forecaster.recordings(data, **(options.reading or {}))
    clip = clips[number_of(clips, clips[0].name, options.recording)]
    last = len(clip) - 1 if options.after is None else options.after
    steps = options.steps or forecaster.window.future
    options = forecaster.options(replace(options, after=last, steps=steps))
    first = starts_of(clip, options)[0]
    past = clip.part(0, first).without_inputs()
    members = [options.members] if options.members else []
    nothing = np.broadcast_to(np.float32(0), (*members, steps, *past.frames.shape[1:]))
    future = forecaster.as_clip(nothing, past, clip.times_from(first, steps))
    about = last, forecaster.scaling, made_by, options
    made = Forecast(clip, past, future, None, *about).to_dataset()
    # Within a `partial` Dask sees no arrays, of which it would compute all: the block takes what it
    # looks at.
    block = delayed(partial(forecast_block, data, forecaster=what, options=options))()
    for name in of_starts(made):
        field = made[name]
        values = array.from_delayed(block[name].values, field.shape, field.dtype)
        made[name] = field.copy(data=values)
    return made
