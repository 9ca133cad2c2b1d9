"""What a request's own process and the server tell each other through a pipe, and the network at
its other end. The server decodes no more than these messages, float32 values and an answer's bytes.
"""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Annotated

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from torch import Tensor

from foreframe.forecasting.compute import Compute
from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.forecasting.tiles import LONG

Count = Annotated[int, Meta(ge=1)]


class AskForecast(Struct, tag=True, frozen=True):
    """The arguments of `Compute.forecast`. Its arrays follow, of these shapes: the past and, where
    some are known, inputs of the future. The server sends the forecast, and that of the guide.
    """

    model: str
    shapes: list[tuple[Count, Count, Count, Count, Count]]
    steps: Count
    options: TiledOptions
    bounds: tuple[float, float]


class AskFootprint(Struct, tag=True, frozen=True):
    """The arguments of `Compute.footprint`. The server sends the number of bytes."""

    model: str
    past: Annotated[int, Meta(ge=1, le=LONG)]
    frame: tuple[Count, Count, Count]
    steps: Count
    draws: bool


class Answer(Struct, tag=True, frozen=True):
    """The end of a request: a problem's sentence, or 200 and the kind of the content, which
    follows.
    """

    status: int
    detail: str = ""
    output: str = ""


Message = AskForecast | AskFootprint | Answer


def send(connection: Connection, message: Message, *arrays: np.ndarray) -> None:
    connection.send_bytes(msgspec.msgpack.encode(message))
    for array in arrays:
        connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))


def receive(connection: Connection) -> Message:
    """The next message of a process, which may be a stranger's."""
    content = connection.recv_bytes(2**20)
    return msgspec.msgpack.decode(content, type=Message)


class Remote(Compute):
    """A network in the server, for a request's own process."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name

    def forecast(
        self,
        past: Tensor,
        steps: int,
        known: Tensor | None,
        options: TiledOptions,
        bounds: tuple[float, float],
    ) -> tuple[Tensor, Tensor | None]:
        arrays = [each.numpy() for each in (past, known) if each is not None]
        shapes = [array.shape for array in arrays]
        asked = AskForecast(self.name, shapes, steps, options, bounds)
        send(self.connection, asked, *arrays)
        future, guide = self.connection.recv()
        return torch.from_numpy(future), None if guide is None else torch.from_numpy(guide)

    def footprint(self, past: int, frame: Sequence[int], steps: int, draws: bool) -> int:
        c, h, w = frame
        send(self.connection, AskFootprint(self.name, past, (c, h, w), steps, draws))
        return int(self.connection.recv())
