"""Forecasts over HTTP, and a page to try them: `foreframe serve` and its application."""

import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from foreframe.addons.serve.confinement import landlock_version
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.base.extras import needed
from foreframe.base.notes import warn
from foreframe.models.names import name_of


def serve(what: Sequence[str], options: ServeOptions) -> None:
    """Answer requests until the process is told to stop (SIGTERM or Ctrl-C).

    Args:
        what: runs, saved folders or names, as `Forecaster.load` takes them; the first is the
            default of a request.

    Raises:
        ValueError: as loading does; two of one name; a port that is taken; a package that is
            missing.
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
        warn("no Landlock here confines the reading of uploads: take them from people you know")
    with listening_on(options.host, options.port) as own:
        forecasters = {
            name: Forecaster.load(one, options.device)
            for name, one in zip(names, what, strict=True)
        }
        for forecaster in forecasters.values():
            forecaster.model.never_compile()  # it would keep everybody waiting
        host = f"[{options.host}]" if ":" in options.host else options.host
        config = uvicorn.Config(
            create_app(forecasters, options),
            log_level="warning",
            ws="none",
            timeout_graceful_shutdown=int(options.seconds) + 1,
        )
        # The server stops by it in good order, and then sends it once more.
        signal.signal(signal.SIGTERM, lambda *_: None)
        server = uvicorn.Server(config)
        started = server.startup

        async def startup(sockets: Any) -> None:
            await started(sockets)
            print(f"{', '.join(names)} at http://{host}:{own.getsockname()[1]}", flush=True)

        server.startup = startup
        server.run(sockets=[own])


def listening_on(host: str, port: int) -> socket.socket:
    """A socket for that address, so that a port that is taken is told before models are loaded.

    Raises:
        ValueError: it cannot be had.
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
