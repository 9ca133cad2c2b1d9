"""The way of a request: to a folder, a process of its own, the thread of models, and back."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from fastapi import Request, Response

from foreframe.addons.serve.fields import TYPES
from foreframe.addons.serve.pipe import Answer, AskFootprint, AskForecast, receive
from foreframe.addons.serve.problems import AGAIN, Problem
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.uploads import BODY, respond, without_weights
from foreframe.addons.serve.worker import FullError, Job, Worker
from foreframe.base.budget import GIB
from foreframe.base.files import temporary_folder
from foreframe.clips.clip import check_frames
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models.footprint import UnmeasuredError

BUSY = Problem(503, "the server is busy; ask again in a moment", AGAIN)


class Result(NamedTuple):
    """A forecast (n,S,C,H,W) and its guide's, how many requests were computed at once, and when."""

    future: np.ndarray
    guide: np.ndarray | None
    batch: int
    started: float
    ended: float


def forecast_together(
    forecaster: Forecaster, asked: AskForecast, requests: list[list[np.ndarray]]
) -> list[Result]:
    """Forecast the pasts of several requests as one batch.

    Args:
        asked: what all of them ask.
        requests: of each the past (1,T,C,H,W) and, if some are known, inputs of the future.

    Raises:
        ValueError: a past that the model does not take; more memory than the budget.
    """
    started, options = time.monotonic(), asked.options
    arrays = (np.concatenate(each) for each in zip(*requests, strict=True))
    past, *known = (torch.from_numpy(array).to(forecaster.device) for array in arrays)
    check_frames(past, channels=forecaster.model.takes, low=-math.inf, high=math.inf)
    forecaster.check_size(past.shape, asked.steps, options, options.tile or 0)
    given = asked.steps, known[0] if known else None, options, asked.bounds
    future, guide = forecaster.compute.forecast(past, *given)
    n = len(requests)
    futures = np.split(future.cpu().numpy(), n)
    guides = [None] * n if guide is None else np.split(guide.cpu().numpy(), n)
    ended = time.monotonic()
    return [Result(*each, n, started, ended) for each in zip(futures, guides, strict=True)]


class RequestHandler:
    """Takes requests and answers them, while it is open.

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
        self.context.set_forkserver_preload(["foreframe.addons.serve.preloaded"])
        threads = ThreadPoolExecutor(self.options.queue + 1)  # and the next process's start
        with temporary_folder() as self.folder, threads as self.pool:
            self.next = self.pool.submit(RequestProcess, self)
            self.next.result()  # it starts what the others are copies of
            try:
                yield
            finally:
                self.next.result().close()

    async def answer(self, request: Request) -> Response:
        """Take a request and answer it.

        Raises:
            Problem: it cannot be answered; it takes too long; too many others are here.
        """
        kind = request.headers.get("content-type", "")
        if not kind.startswith(("multipart/form-data", "application/json")):
            raise Problem(415, "send multipart/form-data with a file, or application/json")
        if self.present >= self.options.queue:
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
        """Write what a client sends to a file."""
        try:
            async with asyncio.timeout(self.options.seconds):
                with body.open("wb") as file:
                    async for chunk in request.stream():
                        file.write(chunk)
        except TimeoutError:
            told = f"the request took more than {self.options.seconds:g} s to arrive"
            raise Problem(408, told) from None

    async def _answered(self, request: Request, process: "RequestProcess", kind: str) -> Response:
        """The answer of a process, which ends early if its client leaves or time is up."""
        work = asyncio.get_running_loop().run_in_executor(self.pool, process.answer, kind)
        left = asyncio.ensure_future(_disconnected(request))
        first: set[asyncio.Future[Any]] = {work, left}
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is known
        try:
            seconds = self.options.seconds
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            told = f"a request may take {seconds:g} s here; ask for less"
            raise Problem(504, told)
        finally:
            left.cancel()
            process.stop()


class RequestProcess:
    """A request's folder, its process, which waits for it from the start, and its forecast in the
    queue.
    """

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
        """End what is left of process and forecast."""
        if self.job is not None:
            self.job.cancel()
        if self.process.is_alive():  # or its number may be another's
            self.process.kill()

    def close(self) -> None:
        """End everything. A thread that talks with the process does it itself."""
        self.stop()
        self.connection.close()
        self.process.join()
        self.folder.cleanup()

    def answer(self, kind: str) -> Response:
        """Have the process answer a request of that Content-Type, whose body is there, and end it.

        Raises:
            Problem: as the process says, or since it has ended without one.
        """
        times, batch, content = [time.monotonic()], 0, b""
        try:
            self.connection.send(kind)
            while not isinstance(message := receive(self.connection), Answer):
                if isinstance(message, AskFootprint):
                    size = message.past, message.frame, message.steps, message.draws
                    compute = self.handler.forecasters[message.model].compute
                    self.connection.send(compute.footprint(*size))
                else:
                    asked, result = time.monotonic(), self._forecast(message)
                    self.connection.send((result.future, result.guide))
                    times[1:], batch = [asked, result.started, result.ended], result.batch
            if message.status == 200:
                content = self._content()
        except (EOFError, OSError):
            seconds = self.handler.options.seconds
            told = f"it takes more than {seconds:g} s, or more memory than it may; send less"
            raise Problem(422, told) from None
        finally:
            self.close()
        if message.status != 200:
            raise Problem(message.status, message.detail)
        headers = _headers(times, batch)
        if message.output != "json":
            headers["Content-Disposition"] = f'attachment; filename="forecast.{message.output}"'
        return Response(content, 200, headers, TYPES[message.output])

    def _content(self) -> bytes:
        """The next bytes of the process, at most as many as a forecast's memory."""
        return self.connection.recv_bytes(int(self.handler.options.budget * GIB))

    def _forecast(self, asked: AskForecast) -> Result:
        """What the model's thread makes of what the process asks."""
        own = self.handler.options
        arrays = [np.frombuffer(self._content(), np.float32).reshape(s) for s in asked.shapes]
        fixed = replace(asked.options, budget=own.budget, precision=own.precision)
        asked = msgspec.structs.replace(asked, options=fixed)
        do = partial(forecast_together, self.handler.forecasters[asked.model], asked)
        key = msgspec.msgpack.encode(asked)
        return self._result(partial(self.handler.worker.submit, do, arrays, key))

    def _result(self, submit: Callable[[], Job]) -> Any:
        """The result of what is asked of the model's thread."""
        try:
            self.job = submit()
            return self.job.result()
        except UnmeasuredError as unknown:
            unknown.measure()
            return self._result(submit)
        except ValueError as error:
            raise Problem(422, str(error)) from None
        except (FullError, CancelledError):
            raise BUSY from None


def _headers(times: list[float], batch: int) -> dict[str, str]:
    """The milliseconds of each part of the way, and how many were forecast at once."""
    spent = np.diff([*times, time.monotonic()]) * 1000
    parts = zip(("read", "queue", "forecast", "write"), spent, strict=True)
    timing = ", ".join(f"{name};dur={part:.1f}" for name, part in parts)
    return {"Server-Timing": timing, "X-Foreframe-Batch": str(batch)}


async def _disconnected(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
