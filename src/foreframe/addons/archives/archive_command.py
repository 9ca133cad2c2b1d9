"""foreframe archive"""

from foreframe.addons.archives.archive_options import ArchiveOptions
from foreframe.base.files import check_source
from foreframe.base.progress import progress
from foreframe.base.wording import plural
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def write_store(run: str, input: list[str], *, output: str, options: ArchiveOptions) -> None:
    """Forecast many starts or recordings: foreframe archive RUN INPUT -o OUTPUT

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights (moving-mnist, radar,
            scenes), or a baseline, such as optical_flow
        input: recordings as in foreframe predict: one, several, or a pattern such as 'rain/*.nc'
        output: a new .zarr, with all forecasts along start; the recordings share a grid
    """
    check_forecaster(run)
    check_source(input)

    from foreframe.addons.archives.archive import archive

    with progress("forecasts") as tell:
        made = archive(run, input, output, options, progress=tell)
    print(f"{plural(made.sizes['start'], 'forecast')} written to {output}")


def parser() -> Parser:
    common = "every steps past reading members seed device workers"
    return Parser("archive", write_store, common=common)
