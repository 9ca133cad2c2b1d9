"""Options of the service, defined once: flags and Python arguments are views of these fields. Loads
no torch, so that `--help` is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from foreframe.base.schema import check_above_0, check_at_least
from foreframe.forecasting.forecast_options import ComputeOptions


@dataclass(frozen=True)
class ServeOptions(ComputeOptions):
    """Where the service listens, and what a request may take.

    Args:
        host: address to listen on; 0.0.0.0 is every network of this machine
        port: number of the port; 0 takes a free one
        hosts: names by which clients reach it, such as [forecasts.example.org], if not by this
            machine's; without a token, requests to other names and from pages of other sites are
            refused
        token: requests must bring it, "Authorization: Bearer TOKEN"; by default the environment's
            FOREFRAME_TOKEN, and without either anybody may ask
        device: cpu, cuda, mps; auto takes cuda if available
        upload: MiB of the largest request
        budget: GiB of memory for a forecast, and as much for reading what was sent; more is refused
        seconds: time that a request may take, to arrive and then to be answered
        queue: requests at once, those that wait included; others are told to come again
        streams: live streams at once
        idle: seconds without a frame after which a stream is forgotten

    Raises:
        ValueError: a value out of its range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: Sequence[str] = ()
    token: str | None = None
    device: str = "auto"
    upload: float = 256.0
    seconds: float = 60.0
    queue: int = 32
    streams: int = 64
    idle: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, port=self.port, streams=self.streams)
        check_at_least(1, queue=self.queue)
        check_above_0(upload=self.upload, seconds=self.seconds, idle=self.idle)
        if self.port > 65535:
            raise ValueError(f"port is at most 65535, not {self.port}")
