"""Forecasts many starts and recordings into one Zarr store, with several processes.

Contributes the verb `archive` with the call `foreframe.archive`, the call
`foreframe.forecast_block`, and xarray's accessor `foreframe`.
"""

from foreframe.base.verbs import Verb

ARCHIVE = Verb(
    "write forecasts of many starts or recordings to a Zarr store",
    "foreframe.addons.archives.archive_command",
    {
        "archive": "foreframe.addons.archives.archive:archive",
        "forecast_block": "foreframe.addons.archives.block:forecast_block",
    },
)
