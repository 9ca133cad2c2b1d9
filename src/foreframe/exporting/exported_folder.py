"""A forecaster, of whatever a user names, as an exported folder."""

from pathlib import Path
from typing import Any

from foreframe.base.files import atomic_folder, check_new
from foreframe.exporting.exported_graphs import export_to
from foreframe.exporting.exported_page import export_page
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.forecasting.loading import open_forecaster


def write_export(what: Any, folder: Path, options: ExportOptions, scores: str) -> dict[str, float]:
    """As `foreframe.export`, with the scores of the card as Markdown."""
    forecaster, name = open_forecaster(what)
    check_new(folder)
    forecaster.check_weights()
    with atomic_folder(folder) as rough:
        if options.format == "page":
            return export_page(rough, forecaster, options, scores, name)
        return export_to(rough, forecaster, options, scores)
