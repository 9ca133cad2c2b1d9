"""The loop of all scores: batches of forecasts and their truth become scorecards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics import SCORES, Scorecard, Scores
from foreframe.evaluation.metrics.bootstrap import paired_bootstrap
from foreframe.evaluation.metrics.relative import RANKING, as_error


class Scoring:
    """Scorecards of several forecasters with a common truth.

    All scores of foreframe are computed here, batch by batch: over a Dataset, in Lightning, along a
    recording, or live.

    Args:
        steps: lead times.
        scores: the scores of each forecaster, by its name.
        to_units: converts forecasts and truth to the data's units, if they are scaled.

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
            del forecast  # before the next one is made: large frames fill the memory

    @property
    def clips(self) -> int:
        return min(card.clips for card in self.cards.values())

    def tables(self) -> dict[str, dict[str, Any]]:
        """{forecaster: the table of its scorecard}; errors of `Scorecard.table`."""
        return {name: card.table() for name, card in self.cards.items()}

    def comparison(
        self,
        score: str,
        reference: str,
        groups: Sequence[int],
        over: str,
        names: Iterable[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Compare each forecaster's error with the reference's by a paired bootstrap.

        Args:
            score: a key of `foreframe.evaluation.metrics.relative.RANKING`.
            reference: name of the forecaster to compare with.
            groups: the group of each clip; groups are independent.
            over: the word for groups.
            names: the forecasters to compare; by default all.

        Returns:
            {name: the fields of `Comparison`, and "over"}; a difference above 0 is a larger error
            than the reference's.
        """
        convention = RANKING[score][0]
        value = SCORES[convention][score].value

        def error(*sums: Tensor) -> Tensor:
            return as_error(score, value(*sums))

        def compared(name: str) -> dict[str, Any]:
            own, rival = (self.cards[of].by_clip(convention, score) for of in (name, reference))
            return asdict(paired_bootstrap(own, rival, error, groups)) | {"over": over}

        return {name: compared(name) for name in names or self.cards if name != reference}
