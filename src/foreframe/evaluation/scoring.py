"""The one loop of scores: forecasts and their truth, a batch at a time, to scorecards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics import SCORES, Scorecard, Scores
from foreframe.evaluation.metrics.bootstrap import paired_bootstrap
from foreframe.evaluation.metrics.relative import RANKING, as_error


class Scoring:
    """Forecasts of several forecasters and their common truth, to a scorecard for each forecaster.

    All scores of foreframe are made here. Whoever has forecasts hands them over as they come, a
    batch at a time: a loop over a Dataset, Lightning, a walk through a recording, a live stream.

    Args:
        steps: lead times.
        scores: which, for each forecaster by its name.
        to_units: takes forecasts and truth to the data's own units, where they are not in them.

    Attributes:
        cards: a scorecard for each forecaster.
    """

    def __init__(
        self,
        steps: int,
        scores: Mapping[str, Scores],
        to_units: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.cards = {name: Scorecard(steps, of, to_units) for name, of in scores.items()}

    def add(
        self,
        forecasts: Iterable[tuple[str, Float[Tensor, "b t c h w"]]],
        truth: Float[Tensor, "b t c h w"],
    ) -> None:
        """Score a batch: each forecaster's name and forecast, drawn one after the other."""
        for name, forecast in forecasts:
            self.cards[name].update(forecast, truth)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Add up what several processes have scored; `total` gives the sum over all of them."""
        for card in self.cards.values():
            card.sums = total(card.sums)

    @property
    def clips(self) -> int:
        return min(card.clips for card in self.cards.values())

    def tables(self) -> dict[str, dict[str, Any]]:
        """{forecaster: the table of its scorecard}; raises as that does."""
        return {name: card.table() for name, card in self.cards.items()}

    def comparison(
        self, reference: str, groups: Sequence[int], over: str, score: str = "mse"
    ) -> dict[str, dict[str, Any]]:
        """Whether each other forecaster's error differs from the reference's by more than chance.

        Args:
            reference: name of the forecaster that the others are compared with.
            groups: for each clip the number of its group, which is independent of other groups.
            over: what the groups are called.
            score: of `foreframe.evaluation.metrics.relative.RANKING`.

        Returns:
            {name: the fields of `Comparison`, and "over"}: a difference above 0 is a larger error
            than the reference's.
        """
        convention = RANKING[score][0]
        parts = {who: card.by_clip(convention, score) for who, card in self.cards.items()}

        def error(*sums: Tensor) -> Tensor:
            return as_error(score, SCORES[convention][score].value(*sums))

        return {
            who: asdict(paired_bootstrap(own, parts[reference], error, groups)) | {"over": over}
            for who, own in parts.items()
            if who != reference
        }
