"""The accessor `foreframe` of xarray's Dataset and DataArray, registered by
`import foreframe.addons.archives.xarray`.
"""

from typing import Any

import xarray as xr

from foreframe.addons.archives.block import forecast_block
from foreframe.api import evaluate
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
            data.

        Raises:
            ValueError: as `foreframe.forecast_block`.
        """
        return forecast_block(self._data, forecaster=what, **options)

    def evaluate(self, what: Any, **options: Any) -> Card:
        """Score a forecaster and the baselines, as `foreframe.evaluate` does.

        Args:
            what, options: as in `foreframe.evaluate`; the default is the last tenth of the data,
                `split="all"` scores all of them.

        Raises:
            ValueError: as `foreframe.evaluate`.
        """
        return evaluate(what, self._data, **options)
