"""Live streams over HTTP. Another process can continue a stream from the bytes of its state, so any
replica behind a proxy can take over.
"""

import asyncio
import io
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from jaxtyping import Num

from foreframe.addons.serve.problems import Problem
from foreframe.addons.serve.streams import ID, BeginningStream, NewStream, Streams
from foreframe.base.extras import of_package, registered
from foreframe.data.npy import read_array

Frames = Num[np.ndarray, "t c h w"]

PLACES = 100  # of a request
# Lists of numbers take far more memory and time than arrays, so they are for small frames.
JSON_BYTES, JSON_VALUES = 2**22, 2**20
BINARY = "application/octet-stream"
FRAMES = {BINARY: {}, "application/json": {"example": {"frames": [[[0.0, 0.5], [1.0, None]]]}}}

router = APIRouter(prefix="/v1/streams", tags=["live streams"])


def streams_of(request: Request) -> Streams:
    """The streams of the application."""
    return request.app.state.streams


Own = Annotated[Streams, Depends(streams_of)]


@router.post("", status_code=201)
async def begin(
    streams: Own,
    response: Response,
    wanted: Annotated[BeginningStream, Body()] = BeginningStream(),  # noqa: B008
) -> dict[str, Any]:
    """Begin a stream. A stream of the same id begins again."""
    name = wanted.id or secrets.token_urlsafe(16)
    async with streams.answering():
        live = await asyncio.to_thread(streams.make, wanted)  # its grid may be long
        await streams.keep(name, live)
    response.headers["Location"] = f"/v1/streams/{name}"
    return streams.described(name)


@router.post("/{id}/frames", openapi_extra={"requestBody": {"content": FRAMES}})
async def push(
    streams: Own, id: str, request: Request, time: Annotated[datetime | None, Query()] = None
) -> dict[str, Any]:
    """Add a frame (C,H,W) or several (T,C,H,W), as .npy or JSON: all of them or none. NaN or null
    is a missing value; a frame without any other value advances the time. `time` is the time of the
    last frame and defaults to the stream's time step after the previous one.
    """
    live = streams.find(id)
    async with streams.answering(), streams.body(request) as content:
        of_json = request.headers.get("content-type", "").startswith("application/json")
        frames = await asyncio.to_thread(_read_json if of_json else _read_npy, content)
        notes = await streams.push(live, frames, iso(time) if time else None)
    return {"seen": streams.find(id).stream.seen, **({"notes": notes} if notes else {})}


@router.get("/{id}/forecast", response_class=Response)
async def forecast(
    streams: Own,
    id: str,
    steps: Annotated[int | None, Query(ge=1)] = None,
    output: Literal["json", "npy"] = "json",
) -> Response:
    """Forecast from the frames so far."""
    live = streams.find(id)
    async with streams.answering():
        like = np.empty(0, np.uint8 if live.stream.pictures else np.float32)
        future = np.asarray(await streams.on_model(live.stream.forecast, steps, like))
    if output == "npy":
        return Response(_as_npy(future), media_type=BINARY)
    if future.size > JSON_VALUES:
        raise Problem(422, f"{future.size} values are too many for JSON; ask for output=npy")
    answer = {
        "model": live.model,
        "shape": future.shape,
        "units": live.stream.forecaster.scaling.units,
        "frames": future.tolist(),
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")  # NaN: null


@router.get("/{id}/places")
async def places(
    streams: Own,
    id: str,
    at: Annotated[tuple[str, ...], Query(max_length=PLACES)] = (),
    area: Annotated[tuple[str, ...], Query(max_length=PLACES)] = (),
    probability: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    sum: Annotated[int | None, Query(gt=0)] = None,
) -> dict[str, Any]:
    """Forecast at locations, each `latitude,longitude` if the stream has a grid, otherwise
    `row,column`, and in areas, each `west,south,east,north`: the probability of reaching a value,
    by default 0.2 mm/h of rain, and when that begins, in a sentence and by lead time. With `sum`
    the amount of rain of the next minutes, too.
    """
    if not (at or area):
        raise Problem(422, "give at=latitude,longitude or area=west,south,east,north")
    live = streams.find(id)
    async with streams.answering():
        if "places" not in registered("answers"):
            raise Problem(404, "no installed package forecasts at locations")
        answer = of_package("answers", "places")
        found, notes = await streams.on_model(answer, live.stream, at, area, probability, sum)
    return {"model": live.model, "places": found, "notes": notes}


@router.delete("/{id}", status_code=204)
async def end(streams: Own, id: str) -> None:
    """End a stream."""
    streams.find(id)
    streams.end(id)


@router.get("/{id}/state", response_class=Response)
async def state(streams: Own, id: str) -> Response:
    """The state after the frames so far. Any server with this model can continue from it."""
    async with streams.answering():
        state = await asyncio.to_thread(streams.find(id).stream.dumps)
    return Response(state, media_type=BINARY)


@router.put("/{id}/state", openapi_extra={"requestBody": {"content": {BINARY: {}}}})
async def restore(
    streams: Own,
    id: Annotated[str, Path(pattern=ID)],
    wanted: Annotated[NewStream, Query()],
    request: Request,
) -> dict[str, Any]:
    """Continue from a state, possibly of another server, with the fields it began with."""
    async with streams.answering(), streams.body(request) as content:
        await streams.keep(id, streams.make(wanted), content)
    return streams.described(id)


def iso(time: datetime) -> str:
    """A time in UTC as numpy reads it. Without a zone it is UTC already."""
    return (time.astimezone(UTC) if time.tzinfo else time).replace(tzinfo=None).isoformat()


def _read_npy(content: bytes) -> Frames:
    """Frames of a .npy file, in this machine's byte order. Raises ValueError for other content."""
    try:
        return _frames(read_array(io.BytesIO(content)))
    except EOFError:
        raise ValueError("the .npy frame is cut short") from None


def _read_json(content: bytes) -> Frames:
    """Frames as lists of numbers; null is missing. Raises ValueError for other content."""
    if len(content) > JSON_BYTES:
        raise Problem(413, f"JSON is at most {JSON_BYTES >> 20} MiB; send frames as .npy")
    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
        frames = np.array(fields.get("frames"), np.float32)
    except (msgspec.MsgspecError, RecursionError, OverflowError, TypeError, ValueError):
        needed = 'send {"frames": lists of numbers, (C,H,W) or (T,C,H,W)}; null is missing'
        raise ValueError(needed) from None
    return _frames(frames)


def _frames(values: np.ndarray) -> Frames:
    """An array as frames (T,C,H,W). Raises ValueError for other shapes."""
    if values.ndim not in (3, 4) or not values.size:
        raise ValueError(
            f"an array of shape {values.shape}; send a frame (C,H,W) or several (T,C,H,W)"
        )
    return values if values.ndim == 4 else values[None]


def _as_npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
