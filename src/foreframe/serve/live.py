"""Live streams over HTTP and WebSocket. A stream's state can leave as bytes and go on in another
process, so any replica behind a proxy can take over.
"""

import asyncio
import io
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Body, Path, Query, Request, Response, WebSocket
from fastapi.websockets import WebSocketDisconnect
from jaxtyping import Num
from pydantic import BaseModel, ConfigDict

from foreframe.base.budget import GIB
from foreframe.base.schema import brief
from foreframe.data.npy import read_array
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.streaming import Stream
from foreframe.models.footprint import UnmeasuredError
from foreframe.serve.problems import AGAIN, Problem, about
from foreframe.serve.serve_options import ServeOptions
from foreframe.serve.worker import FullError, Worker

Frames = Num[np.ndarray, "t c h w"]

REMEMBERED = 10_000  # streams that have ended
# Lists of numbers take far more memory than arrays do, and the time of all: they are for small
# frames.
JSON_BYTES, JSON_VALUES = 2**22, 2**20
BINARY = "application/octet-stream"
FRAMES = {BINARY: {}, "application/json": {"example": {"frames": [[[0.0, 0.5], [1.0, None]]]}}}


class NewStream(BaseModel):
    """Which model forecasts, and how; by default the first, as far as it was trained for."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    steps: int | None = None
    members: int | None = None
    seed: int = 0
    match: str | None = None


@dataclass
class _Live:
    """A stream of a client.

    Attributes:
        stream: is replaced by each push, never changed: to forecast needs no lock.
        used: when the client last asked for it.
        pushing: held by the push that is under way, or by what puts another state.
    """

    model: str
    stream: Stream
    used: float
    pushing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Streams:
    """The live streams of a service.

    Args:
        forecasters: by name, the default first.
        worker: runs them.
        clock: gives seconds.
    """

    def __init__(
        self,
        forecasters: Mapping[str, Forecaster],
        worker: Worker,
        options: ServeOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.forecasters, self.worker, self.options = forecasters, worker, options
        self.clock, self.arriving = clock, 0
        self._open: dict[str, _Live] = {}
        self._ended: dict[str, None] = {}
        self.sockets = asyncio.Semaphore(options.streams)
        # They wait for each other, and leave half of the queue to other requests.
        self._turns = asyncio.Semaphore(max(1, options.queue // 2))

    def __len__(self) -> int:
        """How many there are."""
        for name, live in list(self._open.items()):
            if self.clock() - live.used > self.options.idle:
                self.end(name)
        return len(self._open)

    def make(self, wanted: NewStream) -> _Live:
        """A stream that has seen nothing, and is not `kept` yet.

        Raises:
            ValueError: no such model, or options that it refuses.
        """
        name = wanted.model or next(iter(self.forecasters))
        if name not in self.forecasters:
            names = ", ".join(self.forecasters)
            raise ValueError(
                f"there is no model {brief(name, quoted=False)}; choose one of {names}"
            )
        own = self.options
        fields = wanted.model_dump(exclude={"model", "steps"})
        stream = self.forecasters[name].stream(
            wanted.steps, **fields, precision=own.precision, budget=own.budget
        )
        return _Live(name, stream, self.clock())

    def keep(self, name: str, live: _Live) -> None:
        """Add a stream, or have the one of this name go on from its state.

        Raises:
            Problem: there are as many as there may be.
        """
        if len(self) - (name in self._open) >= self.options.streams:
            told = f"{self.options.streams} streams are open here, and no more may be; end one"
            raise Problem(503, told, AGAIN)
        self._ended.pop(name, None)
        own = self._open.setdefault(name, live)
        own.model, own.stream, own.used = live.model, live.stream, live.used

    def find(self, name: str) -> _Live:
        """The stream of that name, which is in use from now on.

        Raises:
            Problem: it has ended, or never was.
        """
        if not len(self) or name not in self._open:
            if name in self._ended:
                told = f"this stream has ended, or nobody used it for {self.options.idle:g} s"
                raise Problem(410, f"{told}; begin another, or put its state to go on")
            raise Problem(404, "there is no such stream here; begin one by POST /v1/streams")
        self._open[name].used = self.clock()
        return self._open[name]

    def end(self, name: str) -> None:
        """Forget a stream, all but its name."""
        self._open.pop(name, None)
        self._ended[name] = None
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def described(self, name: str) -> dict[str, Any]:
        """What a client is told of a stream; it `expires` when unused for so many seconds."""
        live = self._open[name]
        return {
            "id": name,
            "model": live.model,
            "steps": live.stream.steps,
            "seen": live.stream.seen,
            "expires": self.options.idle,
        }

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """What a request does: its errors are problems, and it is done in time."""
        try:
            async with asyncio.timeout(self.options.seconds):
                yield
        except TimeoutError:
            told = f"a request may take {self.options.seconds:g} s here; ask for less"
            raise Problem(504, told) from None
        except FullError as error:
            raise Problem(503, str(error), AGAIN) from None
        except ValueError as error:
            raise Problem(422, str(error)) from None

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """What a client sends, for as long as it is needed.

        Raises:
            Problem: with what others send it takes more memory than the budget.
        """
        content = bytearray()
        try:
            async for chunk in request.stream():
                content += chunk
                self.arriving += len(chunk)
                if self.arriving > self.options.budget * GIB:
                    raise Problem(503, "others are sending much; ask again in a moment", AGAIN)
            yield bytes(content)
        finally:
            self.arriving -= len(content)

    async def received(self, socket: WebSocket) -> Any:
        """The next message of a client, which may be silent as long as its stream may (Problem)."""
        try:
            return await asyncio.wait_for(socket.receive(), self.options.idle)
        except TimeoutError:
            raise Problem(408, f"no frame came for {self.options.idle:g} s") from None

    async def on_model(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread that runs models; raises FullError."""
        while True:
            try:
                async with self._turns:
                    return await asyncio.wrap_future(self.worker.run(partial(function, *arguments)))
            except UnmeasuredError as unknown:
                await asyncio.to_thread(unknown.measure)

    async def push(self, live: _Live, frames: Frames) -> None:
        """Take frames, all or none; one push after the other.

        Raises:
            ValueError: the model refuses them.
            Problem: there is no memory for their state.
        """
        async with live.pushing:
            stream = live.stream.fork()
            for frame in frames:  # one at a time: others have their turns between
                await self.on_model(stream.take, frame)
            self.check_room(live, stream)
            live.stream, live.used = stream, self.clock()

    async def forecast(self, live: _Live, steps: int | None = None) -> np.ndarray:
        """Forecast from the frames so far, (steps,C,H,W) or (members,steps,C,H,W); on 0 to 255 if
        they had 8 bits. Raises ValueError before the first frame.
        """
        like = np.empty(0, np.uint8 if live.stream.pictures else np.float32)
        return np.asarray(await self.on_model(live.stream.forecast, steps, like))

    def check_room(self, live: _Live, stream: Stream) -> None:
        """Refuse a state by which all of them would take more memory than the budget (Problem)."""
        others = [each.stream for each in self._open.values() if each is not live]
        if sum(each.nbytes for each in (*others, stream)) > self.options.budget * GIB:
            told = "the streams here hold as much memory as they may; end one"
            raise Problem(503, told, AGAIN)


def router(streams: Streams) -> APIRouter:
    """Routes of live streams."""
    router = APIRouter(prefix="/v1/streams", tags=["live streams"])

    @router.post("", status_code=201)
    async def begin(
        response: Response,
        wanted: Annotated[NewStream, Body()] = NewStream(),  # noqa: B008
    ) -> dict[str, Any]:
        """Begin a stream, which is then found under its id."""
        name = secrets.token_urlsafe(16)
        async with streams.answering():
            streams.keep(name, streams.make(wanted))
        response.headers["Location"] = f"/v1/streams/{name}"
        return streams.described(name)

    @router.post("/{id}/frames", openapi_extra={"requestBody": {"content": FRAMES}})
    async def push(id: str, request: Request) -> dict[str, int]:
        """Take a frame (C,H,W) or several (T,C,H,W), as .npy or JSON: all of them or none. NaN or
        null is a missing value, and a frame of nothing else an outage.
        """
        live = streams.find(id)
        async with streams.answering(), streams.body(request) as content:
            of_json = request.headers.get("content-type", "").startswith("application/json")
            frames = await asyncio.to_thread(_of_json if of_json else _of_npy, content)
            await streams.push(live, frames)
        return {"seen": streams.find(id).stream.seen}

    @router.get("/{id}/forecast", response_class=Response)
    async def forecast(
        id: str,
        steps: Annotated[int | None, Query(ge=1)] = None,
        output: Literal["json", "npy"] = "json",
    ) -> Response:
        """Forecast from the frames so far."""
        live = streams.find(id)
        async with streams.answering():
            future = await streams.forecast(live, steps)
        if output == "npy":
            return Response(_npy(future), media_type=BINARY)
        if future.size > JSON_VALUES:
            raise Problem(422, f"{future.size} values are too many for JSON; ask for output=npy")
        told = {
            "model": live.model,
            "shape": future.shape,
            "units": live.stream.forecaster.scaling.units,
            "frames": future.tolist(),
        }
        return Response(msgspec.json.encode(told), media_type="application/json")  # NaN: null

    @router.delete("/{id}", status_code=204)
    async def end(id: str) -> None:
        """End a stream."""
        streams.find(id)
        streams.end(id)

    @router.get("/{id}/state", response_class=Response)
    async def state(id: str) -> Response:
        """The state after the frames so far, from which any server of this model goes on."""
        async with streams.answering():
            state = await asyncio.to_thread(streams.find(id).stream.dumps)
        return Response(state, media_type=BINARY)

    @router.put("/{id}/state", openapi_extra={"requestBody": {"content": {BINARY: {}}}})
    async def restore(
        id: Annotated[str, Path(pattern="^[A-Za-z0-9_-]{16,64}$")],
        wanted: Annotated[NewStream, Query()],
        request: Request,
    ) -> dict[str, Any]:
        """Go on from a state: of a stream of another server, with the fields it began with."""
        async with streams.answering(), streams.body(request) as content:
            live = streams.make(wanted)
            async with streams._open.get(id, live).pushing:
                await streams.on_model(live.stream.loads, content)
                streams.check_room(live, live.stream)
                streams.keep(id, live)
        return streams.described(id)

    @router.websocket("/{id}/live")
    async def live(socket: WebSocket, id: str) -> None:
        """A .npy frame comes in, and the .npy forecast after it goes out; or a problem as JSON,
        after which the stream goes on.
        """
        streams.find(id)
        if streams.sockets.locked():
            told = f"{streams.options.streams} sockets are open here, and no more may be"
            raise Problem(503, told, AGAIN)
        status = 200
        async with streams.sockets:
            await socket.accept()
            with suppress(WebSocketDisconnect):
                while status not in (404, 408, 410):
                    try:
                        message = await streams.received(socket)
                        if message["type"] == "websocket.disconnect":
                            return
                        async with streams.answering():
                            own = streams.find(id)
                            await streams.push(own, _of_npy(message.get("bytes") or b""))
                            future = await streams.forecast(own)
                        await socket.send_bytes(_npy(future))
                    except Problem as problem:
                        status = problem.status
                        await socket.send_text(json.dumps(about(problem)))
                await socket.close()

    return router


def _of_npy(content: bytes) -> Frames:
    """Frames of a .npy file, in this machine's byte order; raises ValueError where it is none."""
    try:
        return _frames(read_array(io.BytesIO(content)))
    except EOFError:
        raise ValueError("the .npy frame is cut short") from None


def _of_json(content: bytes) -> Frames:
    """Frames as lists of numbers; null is missing. Raises ValueError for others, and large ones."""
    if len(content) > JSON_BYTES:
        raise Problem(413, f"JSON is at most {JSON_BYTES >> 20} MiB; send frames as .npy")
    try:
        given = msgspec.json.decode(content, type=dict[str, Any])
        frames = np.array(given.get("frames"), np.float32)
    except (msgspec.MsgspecError, RecursionError, OverflowError, TypeError, ValueError):
        told = 'send {"frames": lists of numbers, (C,H,W) or (T,C,H,W)}; null is missing'
        raise ValueError(told) from None
    return _frames(frames)


def _frames(values: np.ndarray) -> Frames:
    """An array as frames; raises ValueError where it is none of them."""
    if values.ndim not in (3, 4) or not values.size:
        told = f"an array of shape {values.shape}; send a frame (C,H,W) or several (T,C,H,W)"
        raise ValueError(told)
    return values if values.ndim == 4 else values[None]


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
