"""Options of the service. Does not import torch, so that `--help` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from foreframe.base.schema import PositiveFloat, Range
from foreframe.forecasting.forecast_options import ComputeOptions


@dataclass(frozen=True)
class ServeOptions(ComputeOptions):
    """Service

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

    Raises:
        ValueError: a value out of its range.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(least=0, most=65535)] = 8000
    hosts: Sequence[str] = ()
    token: str | None = None
    device: str = "auto"
    upload: PositiveFloat = 256.0
    seconds: PositiveFloat = 60.0
