"""The way of a request: to a folder, a process of its own, the thread of models, and back."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from fastapi import Request, Response

from foreframe.base.budget import GIB
from foreframe.base.files import temporary_folder
from foreframe.base.schema import typed
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models.footprint import UnmeasuredError, footprint
from foreframe.serve.problems import AGAIN, Problem
from foreframe.serve.serve_options import ServeOptions
from foreframe.serve.uploads import BODY, attend, remote_of
from foreframe.serve.worker import FullError, Job, Worker

BUSY = Problem(503, "the server is busy; ask again in a moment", AGAIN)


class Done(NamedTuple):
    """A forecast, (S,C,H,W) or (M,S,C,H,W), how many were computed at once, and when."""

    future: np.ndarray
    batch: int
    begun: float
    ended: float


def forecast_together(
    forecaster: Forecaster,
    steps: int,
    options: TiledOptions,
    pictures: bool,
    pasts: list[list[np.ndarray]],
) -> list[Done]:
    """Forecast several recordings as one batch.

    Args:
        pictures: whether they are 8-bit pictures.
        pasts: of each (T,C,H,W), in the data's units, and, where the model has inputs and some of
            their future are known, (S,I,H,W).
    """
    begun = time.monotonic()
    frames, known = (*map(np.stack, zip(*pasts, strict=True)), None)[:2]
    dtype = np.uint8 if pictures else None
    futures = forecaster._forecast(frames, steps, known, options, dtype).cpu()
    each = [future.numpy() for future in futures.unbind(dim=-5)]
    return [Done(future, len(pasts), begun, time.monotonic()) for future in each]


class Desk:
    """Where requests are taken and answered, while it is open.

    Args:
        forecasters: by name, the default first.
        worker: runs them.
    """

    def __init__(
        self, forecasters: Mapping[str, Forecaster], worker: Worker, options: ServeOptions
    ) -> None:
        self.forecasters, self.worker, self.options = forecasters, worker, options
        self.models = {name: remote_of(each) for name, each in forecasters.items()}
        self.context = get_context("forkserver")
        self.present = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        self.context.set_forkserver_preload(["foreframe.serve.preloaded"])
        threads = ThreadPoolExecutor(self.options.queue + 1)  # and the next visit's start
        with temporary_folder() as self.folder, threads as self.pool:
            self.next = self.pool.submit(Visit, self)
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
        started, self.next = self.next, self.pool.submit(Visit, self)
        try:
            visit = await asyncio.wrap_future(started)
            try:
                await self._receive(request, visit.body)
            except BaseException:
                visit.close()
                raise
            return await self._handled(request, visit, kind)
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

    async def _handled(self, request: Request, visit: "Visit", kind: str) -> Response:
        """What comes of a request; its process ends early if its client leaves or time is up."""
        work = asyncio.get_running_loop().run_in_executor(self.pool, visit.answer, kind)
        gone = asyncio.ensure_future(_gone(request))
        first: set[asyncio.Future[Any]] = {work, gone}
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is known
        try:
            seconds = self.options.seconds
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            told = f"a request may take {seconds:g} s here; ask for less"
            raise Problem(504, told)
        finally:
            gone.cancel()
            visit.stop()


class Visit:
    """A request's folder, its process, which waits for it from the start, and its forecast in the
    queue.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.job: Job | None = None
        self.folder = TemporaryDirectory(dir=desk.folder, ignore_cleanup_errors=True)
        self.body = Path(self.folder.name) / BODY
        self.connection, theirs = desk.context.Pipe()
        arguments = theirs, self.body.parent, desk.models, desk.options
        self.process = desk.context.Process(target=attend, args=arguments, daemon=True)
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
        begun = time.monotonic()
        try:
            self.connection.send(kind)
            about, headers = self._heard(), {}
            while "footprint" in about:
                model = self.desk.forecasters[about["model"]].model
                self.connection.send(footprint(model, *about["footprint"]))
                about = self._heard()
            if "model" in about:
                asked, done = time.monotonic(), self._forecast(about)
                self.connection.send(done.future)
                about = self._heard()
            if about["status"] == 200:
                content = self._content()
                headers = _headers([begun, asked, done.begun, done.ended], done.batch)
        except (EOFError, OSError):
            own = self.desk.options
            told = f"it takes more than {own.seconds:g} s, or more memory than it may; send less"
            raise Problem(422, told) from None
        finally:
            self.close()
        if about["status"] != 200:
            raise Problem(about["status"], about["detail"])
        if about["output"] != "json":
            headers["Content-Disposition"] = f'attachment; filename="forecast.{about["output"]}"'
        return Response(content, 200, headers, about["type"])

    def _heard(self) -> dict[str, Any]:
        """The next words of the process."""
        return dict(json.loads(self.connection.recv_bytes(2**20)))

    def _content(self) -> bytes:
        """The next bytes of the process, at most as many as a forecast's memory."""
        return self.connection.recv_bytes(int(self.desk.options.budget * GIB))

    def _forecast(self, about: dict[str, Any]) -> Done:
        """What the model's thread makes of what the process asks."""
        own = self.desk.options
        fixed = {"budget": own.budget, "precision": own.precision}
        arrays = [np.frombuffer(self._content(), np.float32).reshape(s) for s in about["shapes"]]
        options = typed(TiledOptions, about["options"] | fixed, "")
        forecaster = self.desk.forecasters[about["model"]].scaled(Scaling(**about["scaling"]))
        do = partial(forecast_together, forecaster, about["steps"], options, about["pictures"])
        key = json.dumps(about, sort_keys=True)
        return self._result(partial(self.desk.worker.submit, do, arrays, key))

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


async def _gone(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
