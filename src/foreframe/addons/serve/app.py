"""The service as an application of FastAPI: models, forecasts, health, metrics and the page."""

import hmac
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from socket import gethostname
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.security.http import HTTPBase
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import HTTPConnection
from starlette.staticfiles import StaticFiles

from foreframe import __version__
from foreframe.addons.serve import problems
from foreframe.addons.serve.fields import ANSWERS, REQUEST
from foreframe.addons.serve.handling import RequestHandler
from foreframe.addons.serve.live import router as live
from foreframe.addons.serve.page import PAGE, metadata
from foreframe.addons.serve.problems import Problem
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.streams import Streams
from foreframe.addons.serve.worker import QUEUE, Worker
from foreframe.forecasting.forecaster import Forecaster

# The page loads nothing from other servers, and no other page can embed it.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "img-src 'self' blob: data:; media-src 'self' blob: data:; connect-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
BEGINNING = 2**18  # limit in bytes for the request that begins a stream: the event loop parses it
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def create_app(forecasters: Mapping[str, Forecaster], options: ServeOptions) -> FastAPI:
    """Build the service of some forecasters by name, the default first. Its lifespan starts and
    ends the thread that runs them, `app.state.worker`.
    """
    metrics = Metrics()
    worker = Worker(QUEUE, metrics.batch.observe)
    metrics.queue.set_function(lambda: worker.waiting)
    handler = RequestHandler(forecasters, worker, options)
    streams = Streams(forecasters, worker, options)
    metrics.streams.set_function(streams.expire)
    metrics.quiet.set_function(streams.quiet)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with handler.open():
            worker.start()
            try:
                yield
            finally:
                worker.stop()

    app = FastAPI(
        title="foreframe",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from another server
        redoc_url=None,
        responses=problems.ANSWERS,
    )
    app.state.worker, app.state.handler, app.state.streams = worker, handler, streams
    problems.install(app)
    app.add_middleware(Middleware, int(options.upload * 2**20), metrics)
    access = [Depends(Token(options.token) if options.token else OwnPages(options))]
    for router in (forecasts, live, metrics.router):
        app.include_router(router, dependencies=access)
    app.include_router(health)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


forecasts, health = APIRouter(), APIRouter()


@forecasts.get("/v1/models")
def models(request: Request) -> list[dict[str, Any]]:
    """The models, the default first."""
    return [metadata(*each) for each in request.app.state.handler.forecasters.items()]


@forecasts.post("/v1/forecast", response_class=Response, openapi_extra=REQUEST, responses=ANSWERS)
async def forecast(request: Request) -> Response:
    """Forecast a recording: a file, or frames as JSON."""
    return await request.app.state.handler.answer(request)


@health.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@health.get("/readyz")
def ready(request: Request) -> dict[str, str]:
    """Models are loaded, and the thread that runs them is alive."""
    if not request.app.state.worker.alive:
        raise Problem(503, "the models do not run", problems.AGAIN)
    return {"status": "ready"}


@health.get("/backend.js", include_in_schema=False)
def backend() -> FileResponse:
    """The part of the page that forecasts over HTTP."""
    return FileResponse(PAGE / "server.js")


class Token(HTTPBase):
    """A dependency of FastAPI that refuses requests without the token."""

    def __init__(self, token: str) -> None:
        super().__init__(scheme="bearer", scheme_name="token")
        self.token = token.encode()

    async def __call__(self, connection: HTTPConnection) -> None:
        sent = connection.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), self.token):
            cure = "this server requires its token: send Authorization: Bearer TOKEN"
            raise Problem(401, cure, {"WWW-Authenticate": "Bearer"})


class OwnPages:
    """A dependency of FastAPI that refuses requests from pages of other sites. Browsers send the
    origin of a page with its requests.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.hosts = {name.lower() for name in options.hosts}
        self.here = self.hosts | {"localhost", gethostname().lower(), options.host.lower()}

    async def __call__(self, request: Request) -> None:
        host = request.headers.get("host", "")
        # DNS of another site can point to this machine, but an address cannot be forged.
        if not (_name(host) in self.here or _is_address(_name(host))):
            cure = f"this server is not known as {host!r}; start it with --hosts of that name"
            raise Problem(403, cure)
        site = request.headers.get("origin", f"http://{host}").partition("://")[2]
        if site.lower() != host.lower() and _name(site) not in self.hosts:
            cure = "a page of another site sent this; start the server with --hosts of its name"
            raise Problem(403, cure)


def _name(host: str) -> str:
    """Remove the port, and the brackets of an address."""
    return re.sub(r":\d*$", "", host).strip("[]").lower()


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


class Metrics:
    """Counts for Prometheus, and their route."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        labels, sizes = ["route", "status"], (1, 2, 4, 8, 16, 32)
        self.requests = Counter("foreframe_requests", "Requests.", labels, registry=own)
        self.seconds = Histogram("foreframe_seconds", "Duration.", labels[:1], registry=own)
        self.queue = Gauge("foreframe_queue", "Tasks that wait for the model.", registry=own)
        self.streams = Gauge("foreframe_streams", "Live streams.", registry=own)
        quiet = "The longest time since a stream's last frame."
        self.quiet = Gauge("foreframe_streams_quiet_seconds", quiet, registry=own)
        self.batch = Histogram("foreframe_batch", "Tasks of a batch.", buckets=sizes, registry=own)
        self.router = APIRouter()

        @self.router.get("/metrics", response_class=Response)
        async def metrics() -> Response:
            """Counts of requests, and sizes of the queue and of batches, as Prometheus reads."""
            return Response(generate_latest(own), media_type="text/plain; version=0.0.4")


class Middleware:
    """Limits the body of every request, adds headers to its answer, and counts it.

    Args:
        limit: largest number of bytes of a body.
    """

    def __init__(self, app: Any, limit: int, metrics: Metrics) -> None:
        self.app, self.limit, self.metrics = app, limit, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, received = perf_counter(), 500, 0
        declared = int(dict(scope["headers"]).get(b"content-length", 0))
        limit = min(self.limit, BEGINNING) if scope["path"] == "/v1/streams" else self.limit

        async def limited() -> Any:
            nonlocal received
            # Refuse a body of a too large declared length before it is sent.
            message = await receive() if declared <= limit else {}
            received += len(message.get("body", b""))
            if max(received, declared) > limit:
                large = f"this request is at most {limit / 2**20:g} MiB here; send less"
                raise Problem(413, large, {"Connection": "close"})
            return message

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        try:
            await self.app(scope, limited, noted)
        finally:
            route = getattr(scope.get("route"), "path", "") or "other"
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(perf_counter() - begun)
