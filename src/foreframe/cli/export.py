"""foreframe export"""

from pathlib import Path

from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.models.names import check_forecaster


def export_run(run: str, options: ExportOptions, *, output: str) -> None:
    """Write a forecaster for runtimes other than torch: foreframe export RUN -o FOLDER

    Writes three graphs: encode a frame, begin a forecast, and step; and an example of their use.

    Args:
        run: as in foreframe predict
        output: new folder
    """
    check_forecaster(run)

    from foreframe.api import export

    with progress("the export"):
        parity = export(run, output, options)
    how = "card.md explains how to run it"
    if (Path(output) / "index.html").is_file():
        how = f"any static host serves it, here python -m http.server --directory {output}"
    print(f"wrote {run} to {output} as {options.format}: {how}")
    apart = ", ".join(f"{name} {value:.1e}" for name, value in parity.items())
    print(f"largest difference from foreframe, as a share of the values' range: {apart}")


def parser() -> Parser:
    return Parser("export", export_run)
