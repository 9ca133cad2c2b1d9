"""The accessor `foreframe` of xarray's Dataset and DataArray, registered by
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
    """The methods of `ds.foreframe`, for a Dataset or a DataArray (time, [channel,] y, x) in the
    data's units.

        import foreframe.addons.archives.xarray

        future = xr.open_dataset("rain.nc").foreframe.forecast("radar", steps=12)
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    def forecast(self, what: Any, **options: Any) -> Any:
        """Forecast the frames that follow.

        Args:
            what: a run, a forecaster, or an argument of `Forecaster.load`.
            options: the fields of `PredictOptions` by name, as in `foreframe.predict`.

        Returns:
            The Dataset of `foreframe.forecast_block`, with the coordinates and attributes of the
            data. If the data are in Dask's chunks, only coordinates are read at first. Dask later
            computes the forecast in one block, since it needs its whole past. It begins after the
            last frame, even if that has no values.

        Raises:
            ValueError: as `foreframe.forecast_block`; faults of frames in chunks are reported
                during the computation.
        """
        given = check_one(changed(PredictOptions(), options))
        if self._data.__dask_graph__() is None:
            return forecast_block(self._data, forecaster=what, options=given)
        return delayed_block(self._data, what, given)

    def evaluate(self, what: Any, **options: Any) -> Card:
        """Score a forecaster and the baselines, as `foreframe.evaluate` does.

        Args:
            what, options: as in `foreframe.evaluate`; the default is the last tenth of the data,
                `split="all"` scores all of them.

        Raises:
            ValueError: as `foreframe.evaluate`.
        """
        return evaluate(what, self._data, **options)


def delayed_block(data: Any, what: Any, options: PredictOptions) -> Any:
    """Return `forecast_block` as a Dataset of Dask's arrays."""
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
    # The `partial` hides the arrays from Dask, which would compute all of them; the block computes
    # only its input.
    block = delayed(partial(forecast_block, data, forecaster=what, options=options))()
    for name in of_starts(made):
        field = made[name]
        values = array.from_delayed(block[name].values, field.shape, field.dtype)
        made[name] = field.copy(data=values)
    return made
