"""The computation of forecasts: the seam between a `Forecaster` with units and its network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.forecasting.forecast_options import (
    AUTO,
    EXACT,
    HALF,
    ForecastOptions,
    TiledOptions,
)
from foreframe.forecasting.matches import model_of
from foreframe.forecasting.tiles import forecast_in_tiles, tile_size
from foreframe.models import EnsembleRequest, Model
from foreframe.models.footprint import footprint, group_size


class Compute:
    """Runs a network in this process; a subclass may run it elsewhere. All frames are on its scale,
    without missing values.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def forecast(
        self,
        past: Float[Tensor, "b t _ h w"],
        steps: int,
        known: Float[Tensor, "b s i h w"] | None,
        options: TiledOptions,
        bounds: tuple[float, float],
        pace: float = 1.0,
    ) -> tuple[Float[Tensor, "n steps c h w"], Float[Tensor, "b steps c h w"] | None]:
        """Return the next frames of each clip or of its members, clip by clip, and the forecast of
        the network's guide, if `options` match to it. A few clips and members are computed at a
        time, to bound memory.

        Args:
            past: with the network's inputs as the last channels.
            known: the inputs of the frames that follow.
            bounds: the lowest and the highest value of a frame, to which members are clamped.
            pace: the time step relative to that of training.

        Raises:
            ValueError: an overlap that does not fit the tiles.
        """
        ensemble, n = requested(options, bounds), options.members or 1
        model = model_of(self.model.at_pace(pace), options.match)
        frame = tile_size(model, past.shape[2:], options.tile or 0)
        size = past.shape[1], frame, steps
        group = group_size(model, len(past) * n, *size, ensemble is not None)
        clips, futures, guides = max(1, group // n), list[Tensor](), list[Tensor]()
        with torch.inference_mode(), computing(options.precision, past.device, model):
            for k in range(0, len(past), clips):
                own = None if known is None else known[k : k + clips]
                some = past[k : k + clips]
                future, guide = forecast_in_tiles(model, some, steps, own, options, ensemble, group)
                futures.append(future)
                guides += [] if guide is None else [guide]
        return torch.cat(futures), torch.cat(guides) if guides else None

    def footprint(
        self, past: int, frame: Sequence[int], steps: int, draws: bool, match: str | None
    ) -> int:
        """Bytes of a forecast: see `foreframe.models.footprint.footprint`."""
        return footprint(model_of(self.model, match), past, frame, steps, draws)


def requested(options: ForecastOptions, bounds: tuple[float, float]) -> EnsembleRequest | None:
    """The members that the options ask for, within these bounds; None for a single forecast."""
    if options.members is None:
        return None
    return EnsembleRequest(options.members, options.seed, bounds)


FAST = ("AVX512", "AMX")  # CPU instructions with fast bfloat16


def multiplies_bfloat16(device: str) -> bool:
    """Return whether this machine's cpu, cuda or mps multiplies bfloat16 in hardware. Emulation
    takes up to ten times as long as float32.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device != "cpu" or torch.backends.cpu.get_cpu_capability() in FAST


def resolve_precision(precision: str, device: str) -> str:
    """Resolve "auto": bf16-mixed if the device multiplies bfloat16 in hardware, else 32-true. Other
    names are unchanged.
    """
    if precision != AUTO:
        return precision
    return HALF if multiplies_bfloat16(device) else EXACT


@contextmanager
def computing(precision: str, device: torch.device, model: nn.Module) -> Iterator[None]:
    """A context for forecasts of a network in this `Precision`, in evaluation mode. Afterwards its
    modules train as before.

    "32-true" leaves a surrounding autocast, which the user has chosen, unchanged.
    """
    half = resolve_precision(precision, device.type) != EXACT
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            yield
    finally:
        for module in trained:
            module.training = True
