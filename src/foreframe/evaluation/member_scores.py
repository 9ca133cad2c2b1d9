"""Scores of members beside those of ensembles without training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clips.data_options import GUIDE
from foreframe.clips.keyed import further, key_of
from foreframe.data import MovingMNIST
from foreframe.evaluation.metrics import EnsembleScorecard
from foreframe.evaluation.networks import forecast_clips, members_of
from foreframe.evaluation.score_options import ScoreOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matching import match_members
from foreframe.forecasting.precision import EXACT
from foreframe.models import EnsembleRequest, Lagged, Parts

LAGS = 5  # of the lagged ensemble


class Ensembles:
    """The forecaster's members, plain and by each match of `matches` (match by row name), and a
    lagged ensemble, scored batch by batch. If the data can generate further futures, these are
    scored as an upper bound, the oracle.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        options: ScoreOptions,
        matches: Mapping[str, str],
        dataset: Dataset,
    ) -> None:
        window, scaling = forecaster.window, forecaster.scaling
        members, seed = options.members, options.seed
        assert members is not None
        self.model, self.members, self.seed = forecaster.model, members, seed
        self.matches = matches
        self.within = scaling.network_bounds
        self.lagged = Lagged(lags=min(LAGS, window.past))
        sizes = {"model": members, **dict.fromkeys(matches, members), "lagged": self.lagged.lags}
        self.oracle = None
        if isinstance(dataset, MovingMNIST) and dataset.motion.redraw:
            self.oracle = dataset.futures
            sizes["oracle"] = members
        how = scaling.units, options.thresholds, scaling.to_units, seed
        self.cards = {
            name: EnsembleScorecard(window.future, n, *how, scales=options.scales)
            for name, n in sizes.items()
        }

    def score(
        self, parts: Parts, which: Sequence[int], precision: str
    ) -> Float[Tensor, "b m s c h w"]:
        """Draw and score the forecaster's members of these clips; returns them."""
        own, lagged = (
            drawn_for(which, n, self.seed, self.within) for n in (self.members, self.lagged.lags)
        )
        guided = GUIDE in self.matches.values()
        futures, guide = forecast_clips(self.model, parts, precision, guided, own)
        members = futures.unflatten(0, (-1, self.members))
        # In turn: each ensemble is many times as large as all forecasts of a batch.
        for row, match in self.matches.items():
            matched = match_members(match, members, parts.last, guide)
            self.cards[row].update(matched, parts.truth, which)
        self.cards["model"].update(members, parts.truth, which)
        self.cards["lagged"].update(
            members_of(self.lagged, parts, EXACT, lagged), parts.truth, which
        )
        if self.oracle is not None:
            true = self.oracle(which, parts.past.shape[1], self.members, self.seed)
            self.cards["oracle"].update(true[:, :, : parts.truth.shape[1]], parts.truth, which)
        return members

    def summary(self) -> dict[str, Any]:
        return {"seed": self.seed} | {name: card.summary() for name, card in self.cards.items()}


def drawn_for(
    clips: Sequence[int], members: int, seed: int, within: tuple[float, float]
) -> EnsembleRequest:
    """A request for members of these clips, keyed by the clips' numbers, so that they do not depend
    on the other clips of a batch.
    """
    return EnsembleRequest(members, further(key_of(seed), torch.tensor(list(clips))), within)
