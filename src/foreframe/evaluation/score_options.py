"""How forecasters are scored: the options that are handed on whole, without torch or numpy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foreframe.forecasting.precision import EXACT

BUDGET = 2.0  # GiB


@dataclass(frozen=True)
class ScoreOptions:
    """How a forecaster is scored beside the baselines.

    Args:
        clips: how many; None and "all" take every one, but for the limit of `seconds`. Of windows
            of recordings as many are taken evenly spread.
        batch_size: clips at once, at most; fewer where these would take more than the budget.
        baselines: names in MODELS to score beside the model; None takes all that can run here.
        thresholds: of events, in the data's units, e.g. [0.5, 2] for rain.
        scales: odd sides in pixels for the fractions skill score of these events.
        period: adds the baseline `cycle`, the frame so many steps before: 24 for "the same hour
            yesterday"; by default that of the forecaster's guide, where it has one.
        precision: of the model, as in `Forecaster.predict`; the baselines are exact.
        match: "last", "guide" or both: a further row each, the forecaster's forecasts matched to
            these, as `Forecaster.predict` does; of members each is matched. By default the
            forecaster's own; "none" leaves that out.
        members: so many of each clip are drawn and scored as an ensemble, beside a lagged one,
            which costs nothing; their mean is a further row.
        seed: of the members, which differ from clip to clip.
        budget: GiB of memory that scoring a batch may take.
        seconds: of scoring; fewer clips where these would take longer, a batch at least.
    """

    clips: int | Literal["all"] | None = None
    batch_size: int = 16
    baselines: Sequence[str] | None = None
    thresholds: Sequence[float] = ()
    scales: Sequence[int] = ()
    period: int | None = None
    precision: str = EXACT
    match: Sequence[str] | str = ()
    members: int | None = None
    seed: int = 0
    budget: float = BUDGET
    seconds: float = math.inf

    @property
    def limit(self) -> int | None:
        """How many clips at most; None for all."""
        return None if self.clips == "all" else self.clips

    @property
    def matches(self) -> Sequence[str]:
        return [self.match] if isinstance(self.match, str) else self.match
