"""foreframe serve"""

from collections.abc import Sequence

from foreframe.base.memory import keep_memory
from foreframe.base.schema import typed
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster
from foreframe.serve import serve
from foreframe.serve.serve_options import ServeOptions


def serve_models(run: list[str]) -> None:
    """Answer forecasts over HTTP, and show a page to try them: foreframe serve RUN

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights (moving-mnist, radar,
            scenes), or a baseline, such as optical_flow; or several
    """


def parser() -> Parser:
    return Parser("serve", serve_models, ServeOptions)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    values = parser().values(arguments)
    runs = values.pop("run")
    options = typed(ServeOptions, values, "")
    for run in runs:
        check_forecaster(run)
    serve(runs, options)
