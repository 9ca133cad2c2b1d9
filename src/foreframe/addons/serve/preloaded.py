"""What reading and writing load, once: in the process that those of requests are copies of."""

import gc
from contextlib import suppress
from importlib import import_module

MODULES = (
    "foreframe.addons.serve.uploads", "foreframe.forecasting.dispatch",
    "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PpmImagePlugin", "av.subtitles.stream",
    "cf_xarray", "dask.array", "distributed", "matplotlib.backends.backend_agg", "netCDF4", "pint",
    "xarray",
)  # fmt: skip

for name in MODULES:
    with suppress(ImportError):  # of an extra that is not installed
        import_module(name)
gc.collect()
gc.freeze()  # or the first collection in a copy would copy the memory of them all
