"""Scores of members and of untrained ensembles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clips.keyed import further, key_of
from foreframe.data import MovingMNIST
from foreframe.evaluation.metrics import EnsembleScorecard
from foreframe.evaluation.networks import forecast_clips, members_of
from foreframe.evaluation.score_options import ScoreOptions
from foreframe.forecasting.forecast_options import EXACT
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matches import match_of, matched, model_of
from foreframe.models import EnsembleRequest, Lagged, Parts

LAGS = 5  # of the lagged ensemble


class Ensembles:
    """Scores of the forecaster's members, plain and with each match of `matches` (match by row
    name), and of a lagged ensemble, added up batch by batch. If the data can generate other futures
    of a past, these are scored as an upper bound, the oracle.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        options: ScoreOptions,
        matches: Mapping[str, str],
        dataset: Dataset,
    ) -> None:
        self.forecaster, self.matches, self.seed = forecaster, matches, options.seed
        self.members = n = options.members or 0
        window, scaling = forecaster.window, forecaster.scaling
        self.lagged = Lagged(lags=min(LAGS, window.past))
        sizes = {"model": n, **dict.fromkeys(matches, n), "lagged": self.lagged.lags}
        self.oracle = None
        if isinstance(dataset, MovingMNIST) and dataset.motion.redraw:
            self.oracle = dataset
            sizes["oracle"] = n
        how = scaling.units, options.thresholds, scaling.to_units, options.seed
        self.cards = {
            name: EnsembleScorecard(window.future, size, *how, scales=options.scales)
            for name, size in sizes.items()
        }

    def score(
        self, parts: Parts, which: Sequence[int], precision: str
    ) -> Float[Tensor, "b m s c h w"]:
        """Draw, score and return the forecaster's members of these clips."""
        within = self.forecaster.scaling.network_bounds
        drawn = drawn_for(which, self.members, self.seed, within)
        guided = any(match_of(match).guided for match in self.matches.values())
        futures, guide = forecast_clips(self.forecaster.model, parts, precision, guided, drawn)
        members = futures.unflatten(0, (-1, self.members))

        def each() -> Iterator[tuple[str, Tensor]]:
            yield "model", members
            for row, match in self.matches.items():
                made = members
                if match_of(match).model is not None:
                    model = model_of(self.forecaster.model, match)
                    made = members_of(model, parts, precision, drawn)
                yield row, matched(match, made, parts.last, guide, True)
            lags = drawn_for(which, self.lagged.lags, self.seed, within)
            yield "lagged", members_of(self.lagged, parts, EXACT, lags)
            if self.oracle is not None:
                true = self.oracle.futures(which, parts.past.shape[1], self.members, self.seed)
                yield "oracle", true[:, :, : parts.truth.shape[1]]

        # One at a time: an ensemble is many times as large as all other forecasts of a batch.
        for name, ensemble in each():
            self.cards[name].update(ensemble, parts.truth, which)
        return members

    def summary(self) -> dict[str, Any]:
        return {"seed": self.seed} | {name: card.summary() for name, card in self.cards.items()}


def drawn_for(
    clips: Sequence[int], members: int, seed: int, within: tuple[float, float]
) -> EnsembleRequest:
    """Request members of these clips, keyed by the clips' numbers, so that members do not depend on
    the other clips of a batch.
    """
    return EnsembleRequest(members, further(key_of(seed), torch.tensor(list(clips))), within)
