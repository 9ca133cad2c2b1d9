"""Root mean squared errors by lead time, of forecasts along a recording."""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor

from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.visuals.tables import Table

AT_ONCE = 4  # lead times, of which large frames leave room for a few copies

FramesArray = Num[np.ndarray, "t c h w"]


class LeadErrors:
    """Errors of forecasts by lead time, which add up over forecasts.

    Args:
        steps: lead times.
        names: of what is scored.

    Attributes:
        sums: (2, steps) of each, float64: the squared errors, and how many values had a truth.
    """

    def __init__(self, steps: int, names: Sequence[str] = ("forecast", "persistence")) -> None:
        self.sums = {name: torch.zeros(2, steps, dtype=torch.float64) for name in names}

    def add(self, name: str, forecast: FramesArray, truth: FramesArray) -> None:
        """Add a forecast's errors. A value whose truth is NaN is not scored; a forecast that is NaN
        where the truth is not makes the error of its lead time NaN.
        """
        n = max(1, len(truth) // AT_ONCE)
        pairs = zip(_tensor(forecast).tensor_split(n), _tensor(truth).tensor_split(n), strict=True)
        self.sums[name] += torch.cat([_sums(*pair) for pair in pairs], dim=1)

    def add_start(self, clip: Clip, first: int, past: Clip, future: Clip | Ensemble) -> Clip:
        """Add a forecast of frames `first` and after of a recording, of members their mean, and
        persistence; returns the truth, NaN beyond the recording's end.
        """
        forecast = future.mean() if isinstance(future, Ensemble) else future
        truth = clip.truth_of(first, forecast)
        # Pixels missing in the last frame are not scored, since persistence has no value there.
        last = np.asarray(past.frames)[-1:].astype(np.float32)
        known = np.where(np.isfinite(last), np.asarray(truth.frames), np.nan)
        self.add("forecast", np.asarray(forecast.frames), known)
        self.add("persistence", last.repeat(len(forecast), axis=0), known)
        return truth

    def by_lead(self) -> dict[str, list[float]]:
        """The root mean squared errors by name and lead time; NaN without any truth."""
        return {name: (s / n).sqrt().tolist() for name, (s, n) in self.sums.items()}


def _tensor(frames: FramesArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))


def _sums(forecast: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    squares = (forecast - truth).square().where(known, 0)
    return torch.stack([each.sum(dim=(1, 2, 3)).double() for each in (squares, known)])


def table_of_errors(errors: Mapping[str, Sequence[float]], units: str) -> str:
    """These errors as a table, without lead times that have no truth."""
    rows = {
        f"+{ahead}": [f"{rmse:.4g}", f"{still:.4g}"]
        for ahead, (rmse, still) in enumerate(zip(*errors.values(), strict=True), 1)
        if isfinite(still)
    }
    title = f"Root mean squared error{f' in {units}' if units else ''} by lead time"
    return str(Table(title, [("", name) for name in errors], rows, []))
