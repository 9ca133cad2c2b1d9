"""Missing values of the truth (NaN) are never scored, for forecasts and for members."""

import numpy as np
import pytest
import torch
from fields import RAIN, ensemble, holed, pair

from foreframe.evaluation.metrics import EnsembleScorecard, Scorecard, scores_of

FIELDS = {"single": pair, "members": ensemble}
both = pytest.mark.parametrize("kind", FIELDS)


def empty(kind: str, steps: int, members: int = 5) -> Scorecard:
    """With events and errors in units."""
    if kind == "members":
        return EnsembleScorecard(steps, members, "mm/h", (0.5, 5), RAIN.to_units)
    return Scorecard(steps, scores_of("K", (275,), (3,)), lambda x: 10 * x + 270)


def scored(kind: str, P: torch.Tensor, Y: torch.Tensor) -> Scorecard:
    card = empty(kind, Y.shape[1])
    card.update(P, Y)
    return card


def sums_of(*cards: Scorecard) -> list[torch.Tensor]:
    """The sums of several processes together."""
    return [sum(each) for each in zip(*(card.sums.values() for card in cards), strict=True)]


@both
def test_forecasts_of_missing_values_do_not_matter(kind: str) -> None:
    P, Y = FIELDS[kind]()
    Y = holed(Y)
    expected = sums_of(scored(kind, P, Y))
    missing = Y.isnan().view(*Y.shape[:1], *[1] * (P.ndim - Y.ndim), *Y.shape[1:])
    for other in (torch.nan, 1e6, -torch.inf):
        got = sums_of(scored(kind, P.masked_fill(missing, other), Y))
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@both
def test_batches_and_processes_add_up(kind: str) -> None:
    P, Y = FIELDS[kind](b=5)
    Y = holed(Y)
    whole, parts = scored(kind, P, Y), empty(kind, Y.shape[1])
    for some in (slice(0, 2), slice(2, 3), slice(3, 5)):
        parts.update(P[some], Y[some])
    near = {"rtol": 1e-5, "atol": 1e-6, "equal_nan": True}
    torch.testing.assert_close(sums_of(parts), sums_of(whole), **near)
    halves = []
    for clips in ([0, 2, 4], [1, 3]):  # as two processes share them
        halves.append(empty(kind, Y.shape[1]))
        halves[-1].update(P[clips], Y[clips], *([clips] if kind == "members" else []))
    torch.testing.assert_close(sums_of(*halves), sums_of(whole), **near)
    assert whole.clips == 5
    named = ("standard", "fair_crps" if kind == "members" else "mse")
    above, below = whole.by_clip(*named).sum(dim=1).tolist()
    assert above / below == pytest.approx(whole.table()[named[0]][named[1]]["overall"])


@both
def test_a_lead_time_that_is_missing_altogether(kind: str) -> None:
    P, Y = FIELDS[kind]()
    Y[:, 0] = torch.nan
    later = P[:, 1:] if kind == "single" else P[:, :, 1:]
    table, rest = scored(kind, P, Y).table(), scored(kind, later, Y[:, 1:]).table()
    for convention, scores in table.items():
        for name, values in scores.items():
            first = np.array(values["per_lead"][0], float)
            counts = name in ("rank_histogram", "rank_histogram_varied", "cases", "events")
            assert (first == 0 if counts else np.isnan(first)).all(), name
            if "rank" not in name:  # ranks are drawn by position
                expected = rest[convention][name]["overall"]
                assert values["overall"] == pytest.approx(expected, nan_ok=True), name


@both
def test_a_forecast_of_nan_is_reported(kind: str) -> None:
    """One NaN of the forecast at a valid value, and every score of that lead time is NaN."""
    P, Y = FIELDS[kind](h=64, w=64)
    good = scored(kind, P, Y).table()
    P.view(*P.shape[:1], -1, *Y.shape[1:])[0, -1, 1, 0, 15, 15] = torch.nan
    for convention, scores in scored(kind, P, Y).table().items():
        for name, values in scores.items():
            assert np.isnan(np.array(values["per_lead"][1], float)).all(), name
            if "best" not in name:  # of the whole clip
                expected = good[convention][name]["per_lead"][0]
                assert values["per_lead"][0] == pytest.approx(expected, nan_ok=True), name
