"""The live streams of a service, and limits of their number, memory and time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import Request
from jaxtyping import Num
from pydantic import BaseModel, FailFast, Field, model_validator

from foreframe.addons.serve.fields import check_known
from foreframe.addons.serve.problems import AGAIN, Problem
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.worker import QUEUE, FullError, Worker
from foreframe.base.budget import GIB
from foreframe.clips.clip import Clip
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import without_fills
from foreframe.forecasting.streaming import Stream, coordinates, note_time

IDLE = 600.0  # seconds without a request after which a stream ends: clients disappear silently
STREAMS = 64  # at a time: memory limits those with frames, but not those without
ID = "^[A-Za-z0-9_-]{16,64}$"  # knowing it gives access to the stream


class Fields(BaseModel):
    """Fields of a request. Only the first unknown field is reported: a request may have many."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping):
            check_known("field", fields, cls.model_fields)
        return fields


class NewStream(Fields):
    """The model and its options; defaults to the first model and the options of its training."""

    model: str | None = None
    steps: int | None = None
    members: int | None = None
    seed: int = 0
    match: str | None = None


Axis = Annotated[list[float], FailFast(), Field(max_length=20_000)]


class Grid(Fields):
    """The centres of columns (W) from left to right, and of rows (H) from top to bottom, in the
    units of a map projection; defaults to degrees.
    """

    x: Axis
    y: Axis
    crs: Annotated[str, Field(max_length=20_000)] = "EPSG:4326"


class BeginningStream(NewStream):
    """The grid of the frames gives places a latitude and longitude. With an id of the client's
    choice, the addresses of a stream stay the same.
    """

    grid: Grid | None = None
    id: Annotated[str | None, Field(pattern=ID)] = None


@dataclass
class LiveStream:
    """A stream of a client.

    Attributes:
        stream: is replaced by each push, never changed: to forecast needs no lock.
        used: when the client last asked for it.
        pushed: when its last frame arrived, or it began.
        pushing: locked during a push, and while another state is put.
    """

    model: str
    stream: Stream
    used: float
    pushed: float
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
        self._open: dict[str, LiveStream] = {}
        # Streams wait for each other and leave half of the queue to other requests.
        self._turns = asyncio.Semaphore(QUEUE // 2)

    def expire(self) -> int:
        """End streams that were unused for too long. Return the number of the others."""
        for name, live in list(self._open.items()):
            if self.clock() - live.used > IDLE:
                self.end(name)
        return len(self._open)

    def quiet(self) -> float:
        """Return the longest time in seconds since a stream's last frame; 0 without streams."""
        return max((self.clock() - live.pushed for live in self._open.values()), default=0.0)

    def make(self, wanted: NewStream) -> LiveStream:
        """Return a new stream, without adding it.

        Raises:
            ValueError: unknown model, or invalid options.
        """
        name = wanted.model or next(iter(self.forecasters))
        check_known("model", [name], self.forecasters)
        own = self.options
        fields = wanted.model_dump(include={"members", "seed", "match"})
        stream = self.forecasters[name].stream(
            wanted.steps, **fields, precision=own.precision, budget=own.budget
        )
        live = LiveStream(name, stream, self.clock(), self.clock())
        if isinstance(wanted, BeginningStream) and wanted.grid is not None:
            stream.source["map"] = wanted.grid.model_dump()
            coordinates(stream)  # raises an error for an invalid grid
        return live

    async def keep(self, name: str, live: LiveStream, state: bytes | None = None) -> None:
        """Add a stream, from its state if one is passed. It replaces a stream of the same name
        after its current push.

        Raises:
            ValueError: the state is damaged, or belongs to another model.
            Problem: too many streams, or too little memory.
        """
        own = self._open.get(name, live)
        async with own.pushing:
            if state is not None:
                await self.on_model(live.stream.loads, state)
            self._check_memory(own, live.stream)
            if self.expire() - (name in self._open) >= STREAMS:
                full = f"{STREAMS} streams are open here, the maximum; end one"
                raise Problem(503, full, AGAIN)
            own = self._open.setdefault(name, live)
            own.model, own.stream = live.model, live.stream
            own.used, own.pushed = live.used, live.pushed

    def find(self, name: str) -> LiveStream:
        """Return the stream of that name, and note its use.

        Raises:
            Problem: it has ended, or never began.
        """
        if not self.expire() or name not in self._open:
            why = f"it never began, has ended, or was unused for {IDLE:g} s"
            raise Problem(404, f"there is no such stream: {why}; begin one, or put its state")
        self._open[name].used = self.clock()
        return self._open[name]

    def end(self, name: str) -> None:
        """Forget a stream."""
        self._open.pop(name, None)

    def described(self, name: str) -> dict[str, Any]:
        """Describe a stream for its client. It `expires` after that many seconds without use."""
        live = self._open[name]
        return {
            "id": name,
            "model": live.model,
            "steps": live.stream.steps,
            "seen": live.stream.seen,
            "expires": IDLE,
        }

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Turn errors of a request into problems, and limit its time."""
        try:
            async with asyncio.timeout(self.options.seconds):
                yield
        except TimeoutError:
            late = f"a request may take {self.options.seconds:g} s here; ask for less"
            raise Problem(504, late) from None
        except FullError as error:
            raise Problem(503, str(error), AGAIN) from None
        except (ValueError, ArithmeticError) as error:  # the latter for times out of range
            raise Problem(422, str(error)) from None

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request, and count its memory until the end of the block.

        Raises:
            Problem: all bodies together take more memory than the budget.
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

    async def on_model(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread that runs models. Raises FullError."""
        async with self._turns:
            return await asyncio.wrap_future(self.worker.run(partial(function, *arguments)))

    async def push(
        self, live: LiveStream, frames: Num[np.ndarray, "t c h w"], time: str | None = None
    ) -> tuple[str, ...]:
        """Take all frames or none, without undeclared fill values. Pushes wait for each other.

        Args:
            time: the time of the last frame.

        Returns:
            Notes for the client.

        Raises:
            ValueError: the model refuses them.
            Problem: the budget has no memory left for their state.
        """
        async with live.pushing:
            stream = live.stream.fork()
            _date(stream, len(frames), time)
            clip = Clip(frames, units=stream.forecaster.scaling.units)
            clip = await asyncio.to_thread(without_fills, stream.forecaster, clip)
            for k in range(len(clip)):  # one at a time, so that others have their turns
                await self.on_model(stream.take, clip.frames[k])
            self._check_memory(live, stream)
            live.stream = stream
            live.used = live.pushed = self.clock()
            return clip.notes

    def _check_memory(self, live: LiveStream, stream: Stream) -> None:
        """Raise a Problem if all streams with this state would exceed the budget."""
        others = [each.stream for each in self._open.values() if each is not live]
        if sum(map(_bytes_of, (*others, stream))) > self.options.budget * GIB:
            raise Problem(503, "the streams use all memory that they may; end one", AGAIN)


def _bytes_of(stream: Stream) -> int:
    """Bytes of a stream's state, and of its grid as lists of numbers."""
    grid = stream.source.get("map", {"x": (), "y": ()})
    return stream.nbytes + 32 * (len(grid["x"]) + len(grid["y"]))


def _date(live: Stream, frames: int, time: str | None) -> None:
    """Note the time of the last of the next frames of a stream. Frames without a time keep the pace
    of the stream.

    Raises:
        ValueError: the time is not later than the one before.
    """
    source = live.source
    since = source.get("undated", 0) + frames
    source["undated"] = since if time is None else 0
    if time is not None:
        if "time" in source and np.datetime64(time) <= np.datetime64(source["time"]):
            raise ValueError(f"a frame of {time}, not later than {source['time']}")
        note_time(source, np.datetime64(time), since)
