"""A forecaster, of whatever a user names, as an exported folder."""

from copy import copy, deepcopy
from pathlib import Path
from typing import Any

from foreframe.base.files import atomic_folder, check_new
from foreframe.exporting.exported_graphs import export_to
from foreframe.exporting.exported_page import export_page
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.loading import open_forecaster


def write_export(what: Any, folder: Path, options: ExportOptions, scores: str) -> dict[str, float]:
    """As `foreframe.export`, with the scores of the card as Markdown."""
    forecaster, name = open_forecaster(what)
    check_new(folder)
    forecaster.check_weights()
    if options.half:
        forecaster = rounded(forecaster)
    with atomic_folder(folder) as rough:
        if options.format == "page":
            return export_page(rough, forecaster, options, scores, name)
        return export_to(rough, forecaster, options, scores)


def rounded(forecaster: Forecaster) -> Forecaster:
    """A copy whose weights are the nearest that float16 holds.

    Raises:
        ValueError: one is beyond its range.
    """
    half = copy(forecaster)
    half.model = deepcopy(forecaster.model).half().float()
    if not all(weight.isfinite().all() for weight in half.model.state_dict().values()):
        raise ValueError("a weight is beyond the range of float16: export without half")
    return half
