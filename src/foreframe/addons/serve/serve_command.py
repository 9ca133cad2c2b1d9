"""foreframe serve"""

from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.server import serve
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def serve_models(run: list[str], options: ServeOptions) -> None:
    """Answer forecasts over HTTP, and show a page to try them: foreframe serve RUN

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights, such as
            scenes, or a baseline, such as optical_flow; or several
    """
    for one in run:
        check_forecaster(one)
    serve(run, options)


def parser() -> Parser:
    return Parser("serve", serve_models)
