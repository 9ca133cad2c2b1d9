"""Forecasts and truths to score."""

import torch

from foreframe.clips.scaling import Scaling

RAIN = Scaling(0.1, 60.0, "mm/h", "log")


def pair(
    b: int = 3, t: int = 4, c: int = 2, h: int = 20, w: int = 24
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecast and truth; the forecast leaves [0,1] here and there, as models without a sigmoid
    do.
    """
    generator = torch.Generator().manual_seed(0)
    Y = torch.rand(b, t, c, h, w, generator=generator) ** 3
    return Y + 0.2 * torch.randn(Y.shape, generator=generator), Y


def ensemble(
    b: int = 3, m: int = 5, t: int = 2, c: int = 2, h: int = 20, w: int = 25
) -> tuple[torch.Tensor, torch.Tensor]:
    """Members and their truth; half of the values are exactly 0, as in dry places."""
    generator = torch.Generator().manual_seed(0)
    Y = (torch.rand(b, t, c, h, w, generator=generator) * 1.6 - 0.8).clamp(min=0)
    noise = torch.randn(b, m, t, c, h, w, generator=generator)
    return (Y.unsqueeze(1) + 0.2 * noise - 0.1).clamp(min=0), Y


def holed(Y: torch.Tensor) -> torch.Tensor:
    """A corner is missing everywhere, single values here and there, a channel and a frame."""
    Y = Y.clone()
    Y[..., :9, :9] = torch.nan
    Y[0, 1, 0, 12, 15] = torch.nan
    Y[2, 1, 1:] = torch.nan
    Y[1, 0] = torch.nan
    return Y
