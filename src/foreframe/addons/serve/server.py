"""`foreframe serve`: its command, and the server."""

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from foreframe.addons.serve.confinement import landlock_version
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.base.extras import needed
from foreframe.base.notes import warn
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster, name_of


def parser() -> Parser:
    return Parser("serve", serve_models)


def serve_models(run: list[str], options: ServeOptions) -> None:
    """Answer forecasts over HTTP, and show a page to try them: foreframe serve RUN

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights, such as
            scenes, or a baseline, such as optical_flow; or several
    """
    for one in run:
        check_forecaster(one)
    serve(run, options)


def serve(what: Sequence[str], options: ServeOptions) -> None:
    """Answer requests until SIGTERM or Ctrl-C.

    Args:
        what: runs, saved folders or names, as in `Forecaster.load`. The first is the default of a
            request.

    Raises:
        ValueError: errors of loading; a name that occurs twice; a port in use; a missing package.
    """
    uvicorn = needed("uvicorn", "serve", "the service")
    for module in ("fastapi", "python_multipart", "prometheus_client"):
        needed(module, "serve", "the service")
    from foreframe.addons.serve.app import create_app
    from foreframe.forecasting.forecaster import Forecaster

    names = [name_of(one) for one in what]
    if len(set(names)) < len(names):
        raise ValueError(f"two of {', '.join(names)} have one name; rename a folder")
    options = replace(options, token=options.token or os.environ.get("FOREFRAME_TOKEN") or None)
    if not landlock_version():
        warn("no Landlock confines the reading of uploads: accept them only from people you know")
    with listening_on(options.host, options.port) as own, ExitStack() as starting:
        starting.enter_context(progress("the start"))
        forecasters = {
            name: Forecaster.load(one, options.device)
            for name, one in zip(names, what, strict=True)
        }
        for forecaster in forecasters.values():
            forecaster.model.never_compile()  # all clients would wait for it
        host = f"[{options.host}]" if ":" in options.host else options.host
        config = uvicorn.Config(
            create_app(forecasters, options),
            log_level="warning",
            ws="none",
            timeout_graceful_shutdown=int(options.seconds) + 1,
        )
        # The server shuts down on this signal and then sends it again.
        signal.signal(signal.SIGTERM, lambda *_: None)
        server = uvicorn.Server(config)
        started = server.startup

        async def startup(sockets: Any) -> None:
            await started(sockets)
            starting.close()
            print(f"{', '.join(names)} at http://{host}:{own.getsockname()[1]}", flush=True)

        server.startup = startup
        server.run(sockets=[own])


def listening_on(host: str, port: int) -> socket.socket:
    """Open a socket for an address, to report a port in use before models are loaded.

    Raises:
        ValueError: the address is not available.
    """
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((host, port))
    except OSError as error:
        own.close()
        why = error.strerror or error
        raise ValueError(f"cannot listen on {host}, port {port}: {why}") from None
    return own
