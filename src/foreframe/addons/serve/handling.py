"""A request's path: a folder, a separate process, the thread of models, and the answer."""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import msgspec
import numpy as np
import torch
from fastapi import Request, Response

from foreframe.addons.serve.fields import TYPES
from foreframe.addons.serve.problems import AGAIN, Problem
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.uploads import (
    BODY,
    Answer,
    AskFootprint,
    AskForecast,
    Message,
    respond,
    without_weights,
)
from foreframe.addons.serve.worker import QUEUE, FullError, Job, Worker
from foreframe.base.budget import GIB
from foreframe.base.files import temporary
from foreframe.clips.clip import check_frames
from foreframe.forecasting.forecaster import Forecaster

BUSY = Problem(503, "the server is busy; ask again in a moment", AGAIN)
# Loaded once, in the process that the processes of requests are copies of.
PRELOADED = [
    "foreframe.addons.serve.uploads", "foreframe.forecasting.dispatch",
    "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PpmImagePlugin", "av.subtitles.stream",
    "cf_xarray", "dask.array", "distributed", "matplotlib.backends.backend_agg", "netCDF4", "pint",
    "xarray",
]  # fmt: skip


def forecast_together(
    forecaster: Forecaster, asked: AskForecast, requests: list[list[np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Forecast the pasts of several requests as one batch.

    Args:
        asked: the arguments that all requests share.
        requests: the past (1,T,C,H,W) of each and, if known, inputs of the future.

    Returns:
        The forecast (n,S,C,H,W) of each request, and the forecast of its guide.

    Raises:
        ValueError: the model does not accept a past, or a forecast exceeds the budget.
    """
    options = asked.options
    arrays = (np.concatenate(each) for each in zip(*requests, strict=True))
    past, *known = (torch.from_numpy(array).to(forecaster.device) for array in arrays)
    check_frames(past, channels=forecaster.model.takes, low=-math.inf, high=math.inf)
    forecaster.check_size(past.shape, asked.steps, options, options.tile or 0)
    more = asked.steps, known[0] if known else None, options, asked.bounds, asked.pace
    future, guide = forecaster.compute.forecast(past, *more)
    n = len(requests)
    futures = np.split(future.cpu().numpy(), n)
    guides = [None] * n if guide is None else np.split(guide.cpu().numpy(), n)
    return [*zip(futures, guides, strict=True)]


class RequestHandler:
    """Answers requests while it is open.

    Args:
        forecasters: by name, the default first.
        worker: runs them.
    """

    def __init__(
        self, forecasters: Mapping[str, Forecaster], worker: Worker, options: ServeOptions
    ) -> None:
        self.forecasters, self.worker, self.options = forecasters, worker, options
        self.models = {name: without_weights(each) for name, each in forecasters.items()}
        self.context = get_context("forkserver")
        self.present = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        self.context.set_forkserver_preload(PRELOADED)
        threads = ThreadPoolExecutor(QUEUE + 1)  # one starts the next process
        place = Path(gettempdir())
        private = temporary(place, f"to the folder {place}", create=lambda path: path.mkdir(0o700))
        with private as self.folder, threads as self.pool:
            self.next = self.pool.submit(RequestProcess, self)
            self.next.result()  # starts the process that others are copies of
            try:
                yield
            finally:
                self.next.result().close()

    async def answer(self, request: Request) -> Response:
        """Receive a request and answer it.

        Raises:
            Problem: the request is invalid or takes too long, or there are too many others.
        """
        kind = request.headers.get("content-type", "")
        if not kind.startswith(("multipart/form-data", "application/json")):
            raise Problem(415, "send multipart/form-data with a file, or application/json")
        if self.present >= QUEUE:
            raise BUSY
        self.present += 1
        started, self.next = self.next, self.pool.submit(RequestProcess, self)
        try:
            process = await asyncio.wrap_future(started)
            try:
                await self._receive(request, process.body)
            except BaseException:
                process.close()
                raise
            return await self._answered(request, process, kind)
        finally:
            self.present -= 1

    async def _receive(self, request: Request, body: Path) -> None:
        """Write the body of a request to a file."""
        try:
            async with asyncio.timeout(self.options.seconds):
                with body.open("wb") as file:
                    async for chunk in request.stream():
                        file.write(chunk)
        except TimeoutError:
            late = f"the request took more than {self.options.seconds:g} s to arrive"
            raise Problem(408, late) from None

    async def _answered(self, request: Request, process: "RequestProcess", kind: str) -> Response:
        """Wait for the answer of a process. End it if its client leaves or time is up."""
        work = asyncio.get_running_loop().run_in_executor(self.pool, process.answer, kind)
        left = asyncio.ensure_future(_disconnected(request))
        first: set[asyncio.Future[Any]] = {work, left}
        # Mark an exception as retrieved, even if the client has left.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            seconds = self.options.seconds
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise Problem(504, f"a request may take {seconds:g} s here; ask for less")
        finally:
            left.cancel()
            process.stop()


class RequestProcess:
    """A request's folder, its process, started in advance, and its forecast in the queue."""

    def __init__(self, handler: RequestHandler) -> None:
        self.handler = handler
        self.job: Job | None = None
        self.folder = TemporaryDirectory(dir=handler.folder, ignore_cleanup_errors=True)
        self.body = Path(self.folder.name) / BODY
        self.connection, theirs = handler.context.Pipe()
        arguments = theirs, self.body.parent, handler.models, handler.options
        self.process = handler.context.Process(target=respond, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        """End the process and its forecast."""
        if self.job is not None:
            self.job.cancel()
        if self.process.is_alive():  # otherwise another process may have its number
            self.process.kill()

    def close(self) -> None:
        """End everything. The thread that waits for the process, if any, calls this itself."""
        self.stop()
        self.connection.close()
        self.process.join()
        self.folder.cleanup()

    def answer(self, kind: str) -> Response:
        """Have the process answer the request, whose body has arrived, and end it.

        Args:
            kind: the Content-Type of the request.

        Raises:
            Problem: the error of the process, or it ended without an answer.
        """
        times, batch, content = [time.monotonic()], 0, b""
        try:
            self.connection.send(kind)
            while not isinstance(message := self._message(), Answer):
                if isinstance(message, AskFootprint):
                    size = message.past, message.frame, message.steps
                    compute = self.handler.forecasters[message.model].compute
                    self.connection.send(compute.footprint(*size, message.draws, message.match))
                else:
                    queued, job = time.monotonic(), self._forecast(message)
                    self.connection.send(job.result())
                    times[1:], batch = [queued, job.started, time.monotonic()], job.batch
            if message.status == 200:
                content = self._content()
        except (EOFError, OSError):
            seconds = self.handler.options.seconds
            used_up = f"it takes more than {seconds:g} s, or more memory than it may; send less"
            raise Problem(422, used_up) from None
        finally:
            self.close()
        if message.status != 200:
            raise Problem(message.status, message.detail)
        headers = _headers(times, batch)
        if message.output != "json":
            headers["Content-Disposition"] = f'attachment; filename="forecast.{message.output}"'
        return Response(content, 200, headers, TYPES[message.output])

    def _message(self) -> Message:
        return msgspec.msgpack.decode(self.connection.recv_bytes(2**20), type=Message)

    def _content(self) -> bytes:
        """Receive bytes, at most as many as the memory of a forecast."""
        return self.connection.recv_bytes(int(self.handler.options.budget * GIB))

    def _forecast(self, asked: AskForecast) -> Job:
        """Run the network in the thread of models, and wait for it."""
        options = self.handler.options
        arrays = [np.frombuffer(self._content(), np.float32).reshape(s) for s in asked.shapes]
        fixed = replace(asked.options, budget=options.budget, precision=options.precision)
        asked = msgspec.structs.replace(asked, options=fixed)
        do = partial(forecast_together, self.handler.forecasters[asked.model], asked)
        try:
            self.job = self.handler.worker.submit(do, arrays, msgspec.msgpack.encode(asked))
            self.job.result()
            return self.job
        except ValueError as error:
            raise Problem(422, str(error)) from None
        except (FullError, CancelledError):
            raise BUSY from None


def _headers(times: list[float], batch: int) -> dict[str, str]:
    """Report the milliseconds of each part of a request, and the size of its batch."""
    spent = np.diff([*times, time.monotonic()]) * 1000
    parts = zip(("read", "queue", "forecast", "write"), spent, strict=True)
    timing = ", ".join(f"{name};dur={part:.1f}" for name, part in parts)
    return {"Server-Timing": timing, "X-Foreframe-Batch": str(batch)}


async def _disconnected(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
