"""The loop of all scores, from batches of forecasts and their truth to scorecards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics import SCORES, Scorecard, Scores
from foreframe.evaluation.metrics.bootstrap import paired_bootstrap
from foreframe.evaluation.metrics.relative import RANKING, as_error


class Scoring:
    """Scorecards of several forecasters with a common truth.

    All scores of foreframe are computed here, batch by batch, during training and evaluation.

    Args:
        steps: lead times.
        scores: the scores of each forecaster, by its name.
        to_units: converts forecasts and truth to the data's units.

    Attributes:
        cards: a scorecard for each forecaster.
    """

    def __init__(
        self,
        steps: int,
        scores: Mapping[str, Scores],
        to_units: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.cards = {name: Scorecard(steps, each, to_units) for name, each in scores.items()}

    def add(
        self,
        forecasts: Iterable[tuple[str, Float[Tensor, "b t c h w"]]],
        truth: Float[Tensor, "b t c h w"],
        background: Float[Tensor, "b 1 c h w"] | None = None,
    ) -> None:
        """Score a batch: pairs of a forecaster's name and forecast, computed in turn."""
        for name, forecast in forecasts:
            self.cards[name].update(forecast, truth, background)
            del forecast  # before the next one is computed: large frames fill the memory

    @property
    def clips(self) -> int:
        return min(card.clips for card in self.cards.values())

    def tables(self) -> dict[str, dict[str, Any]]:
        """{forecaster: the table of its scorecard}; errors of `Scorecard.table`."""
        return {name: card.table() for name, card in self.cards.items()}

    def comparison(
        self, score: str, name: str, rival: str, groups: Sequence[int]
    ) -> dict[str, Any]:
        """Compare the errors of two forecasters by `paired_bootstrap`.

        Args:
            score: a key of `foreframe.evaluation.metrics.relative.RANKING`.
            name, rival: the forecasters.
            groups: the group of each clip; groups are independent.
        """
        convention = RANKING[score][0]
        value = SCORES[convention][score].value

        def error(*sums: Tensor) -> Tensor:
            return as_error(score, value(*sums))

        own, other = (self.cards[row].by_clip(convention, score) for row in (name, rival))
        return paired_bootstrap(own, other, error, groups)
