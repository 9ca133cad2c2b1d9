"""Options of the service. Does not import torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass

from foreframe.base.schema import check_above_0, check_at_least
from foreframe.forecasting.forecast_options import ComputeOptions


@dataclass(frozen=True)
class ServeOptions(ComputeOptions):
    """Address of the service, and limits of a request.

    Args:
        host: address to listen on; 0.0.0.0 is every network of this machine
        port: port number; 0 selects a free port
        hosts: names of the server other than this machine's, such as [forecasts.example.org];
            without a token, requests to other names and from pages of other sites get error 403
        token: required in requests as "Authorization: Bearer TOKEN"; defaults to the environment's
            FOREFRAME_TOKEN; without a token, anyone may use the service
        device: cpu, cuda, mps; auto selects cuda if available
        upload: size limit of a request in MiB
        budget: memory limit in GiB of a forecast, and of reading the upload
        seconds: time limit for a request to arrive, and for its answer
        queue: maximum number of requests, waiting ones included; others get error 503
        streams: maximum number of live streams
        idle: seconds without a frame after which a stream ends

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
