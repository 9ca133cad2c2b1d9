"""Errors in units of the last frame's, the best baseline, and the sentences: hand-made cards."""

import math

import pytest
import torch

from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics.relative import best_of, errors, in_words, relative


def table(mse: list[float], ssim: list[float]) -> dict:
    """A forecaster's table of frames of equal weight."""

    def of(values: list[float]) -> dict:
        return {"overall": sum(values) / len(values), "per_lead": values}

    return {"standard": {"mse": of(mse), "ssim": of(ssim)}}


TABLES = {
    "model": table([0.02, 0.02], [0.7, 0.7]),
    "black": table([0.2, 0.2], [0.0, 0.0]),
    "persistence": table([0.01, 0.04], [0.9, 0.6]),
    "linear_motion": table([0.01, 0.02], [0.8, 0.6]),
}


def test_errors_are_in_units_of_the_last_frames() -> None:
    got = relative(TABLES)
    assert list(got) == list(TABLES)
    assert got["model"]["mse"]["per_lead"] == pytest.approx([2, 0.5])
    assert got["model"]["mse"]["overall"] == pytest.approx(0.02 / 0.025)
    # of 1 - SSIM: 0.3 over 0.1, 0.3 over 0.4
    assert got["model"]["ssim"]["per_lead"] == pytest.approx([3, 0.75])
    assert got["model"]["ssim"]["overall"] == pytest.approx(0.3 / 0.25)
    for score in ("mse", "ssim"):
        assert got["persistence"][score] == {"overall": 1, "per_lead": [1, 1]}
    # The overall number is no mean of those by lead time.
    assert got["model"]["mse"]["overall"] != pytest.approx((2 + 0.5) / 2)


def test_what_never_moves_has_no_unit() -> None:
    still = {"persistence": table([0.0, 0.1], [1, 0.9]), "mean": table([0.1, 0.1], [0.5, 0.9])}
    got = relative(still)["mean"]
    assert math.isnan(got["mse"]["per_lead"][0])
    assert math.isnan(got["ssim"]["per_lead"][0])
    assert got["mse"]["per_lead"][1] == pytest.approx(1)
    assert relative({"mean": still["mean"]}) == {}


def test_units_are_those_of_the_scorecard() -> None:
    """Against the forecasts themselves; data with units are ranked by the RMSE."""
    torch.manual_seed(0)
    truth, still, other = torch.rand(3, 4, 2, 1, 12, 12)
    tables = {}
    for name, forecast in (("persistence", still), ("mean", other)):
        card = Scorecard(2, scores_of("K"), lambda values: 10 * values)
        card.update(forecast, truth)
        tables[name] = card.table()
    own, last = ((of - truth).square().mean(dim=(0, 2, 3, 4)) for of in (other, still))
    assert relative(tables)["mean"]["mse"]["per_lead"] == pytest.approx((own / last).tolist())
    in_kelvin = relative(tables, "K")["mean"]
    assert list(in_kelvin) == ["rmse"]
    assert in_kelvin["rmse"]["per_lead"] == pytest.approx((own / last).sqrt().tolist())


def test_the_best_is_the_lowest_error() -> None:
    free = ["black", "persistence", "linear_motion", "not_scored"]
    assert best_of(TABLES, free, "mse") == "linear_motion"
    assert best_of(TABLES, free, "ssim") == "persistence"
    assert best_of({"mean": table([math.nan], [1.0])}, ["mean"], "mse") is None
    assert errors({"standard": {"ssim": {"overall": None, "per_lead": [0.25]}}}, "ssim")[
        "per_lead"
    ] == [0.75]


def card(
    own: list[float],
    ratios: tuple[float | None, float | None] = (None, None),
    tie: bool = False,
    over: str = "clips",
    n: int = 24,
) -> dict:
    """A card whose model is compared with linear_motion, whose MSE is 0.01 and 0.03.

    Args:
        own: the model's MSE.
        ratios: the interval of linear_motion's MSE over the model's.
    """
    tables = {"model": table(own, [0, 0]), "linear_motion": table([0.01, 0.03], [0, 0])}
    mse = {name: of["standard"]["mse"]["overall"] for name, of in tables.items()}
    compared = {
        "difference": mse["linear_motion"] - mse["model"],
        "low": ratios[0],  # all that matters of it is whether it is there
        "ratio_low": ratios[0],
        "ratio_high": ratios[1],
        "tie": tie,
        "n": n,
        "over": over,
    }
    others = {
        "black": compared | {"difference": 1.0, "tie": False},
        "mean": compared | {"difference": -1.0, "tie": False},
        "optical_flow": compared | {"tie": True},
    }
    return {
        "reference": "model",
        "units": "",
        "scores": tables,
        "comparison": {"linear_motion": compared, **others},
        "baselines": ["linear_motion"],
        "best_baseline": {"mse": "linear_motion"},
    }


def test_ahead() -> None:
    # 0.0176 on average, 12 % below 0.02
    got = in_words(card([0.0152, 0.02], (1 / 0.92, 1 / 0.85)))
    assert got.splitlines() == [
        "The model is ahead of the best baseline (linear_motion) by 12 % (8 to 15 %) in squared "
        "error (MSE); its error is the lower one at +2 alone.",
        "Beside the others it is ahead of black; behind mean; no different from optical_flow.",
        "In brackets: 95 % intervals, by a paired bootstrap of 24 clips.",
    ]


def test_behind() -> None:
    assert in_words(card([0.011, 0.031], (1 / 1.07, 1 / 1.004))).startswith(
        "The model is behind the best baseline (linear_motion) by 5 % (0.4 to 7 %) in squared "
        "error (MSE); its error is the higher one at every lead time."
    )
    assert in_words(card([0.005, 0.095], (0.3, 0.5))).startswith(
        "The model is behind the best baseline (linear_motion) in squared error (MSE): 2.5 times "
        "its error; its error is the lower one at +1 alone."
    )


def test_no_different() -> None:
    assert in_words(card([0.009, 0.0305], (0.9, 1.1), tie=True)).startswith(
        "The model is no different from the best baseline (linear_motion) in squared error (MSE): "
        "1 % lower, which could be chance; its error is the lower one at +1 alone."
    )
    assert in_words(card([0.01, 0.03], (1.0, 1.0), tie=True)).startswith(
        "The model is no different from the best baseline (linear_motion) in squared error (MSE).\n"
    )


def test_too_few_to_tell() -> None:
    got = in_words(card([0.005, 0.01], tie=True, over="blocks", n=2)).splitlines()
    assert got == [
        "This could be chance (2 blocks of neighbouring clips are too few to tell): the model is "
        "ahead of the best baseline (linear_motion) by 62 % in squared error (MSE); its error is "
        "the lower one at every lead time."
    ]


def test_units_and_nobody_to_compare_with() -> None:
    field = card([0.0152, 0.02], (1 / 0.92, 1 / 0.85)) | {"units": "K"}
    for of in field["scores"].values():
        of["physical"] = {"rmse": of["standard"]["mse"]}
    for of in field["comparison"].values():
        of["rmse"] = dict(of)
    field["best_baseline"] = {"rmse": "linear_motion"}
    assert (
        "by 12 % (8 to 15 %) in error (RMSE), 0.0176 against 0.02 K; its error is the lower one"
    ) in in_words(field)
    assert in_words(field | {"best_baseline": {}}) == ""
    field["scores"]["model"]["physical"]["rmse"]["overall"] = math.nan
    assert "cannot be compared in error (RMSE)" in in_words(field)


def test_who_is_better_where_the_best_baseline_is_not() -> None:
    """Of the leads at which the model is ahead of the best baseline, those at which it is not the
    first: the best of the others by name, and none that costs something.
    """
    of = card([0.5] * 6, (1 / 0.92, 1 / 0.85))
    of["scores"] = {
        "model": table([5, 5, 5, 5, 5, 5], [0] * 6),
        "linear_motion": table([6, 6, 6, 6, 6, 4], [0] * 6),
        "dense_motion": table([4, 4, 9, 4, 9, 3], [0] * 6),
        "black": table([3, 9, 9, 9, 5, 9], [0] * 6),
        "other_program": table([1, 1, 1, 1, 1, 1], [0] * 6),
    }
    of["baselines"] = ["linear_motion", "dense_motion", "black"]
    assert (
        "its error is the lower one up to +5, but black is better still at +1 and dense_motion is "
        "better still at +2, +4.\n"
    ) in in_words(of)
    of["scores"]["black"] = table([9, 9, 9, 9, 9, 9], [0] * 6)
    assert "up to +5, but dense_motion is better still at +1 to +2, +4.\n" in in_words(of)
    of["baselines"] = ["linear_motion", "black"]
    assert "up to +5.\n" in in_words(of)


def with_members(
    fair: list[float], lagged: list[float], units: str = "", members: int = 16
) -> dict:
    """A card of members, whose lagged ensemble has that CRPS; the best baseline's MAE is 0.1 at
    each lead time, and 0.08 that of the model without members.
    """

    def of(values: list[float]) -> dict:
        return {"overall": sum(values) / len(values), "per_lead": values}

    convention = "physical" if units else "standard"
    made = card([0.0152, 0.02], (1 / 0.92, 1 / 0.85)) | {"units": units}
    for name, mae in (("linear_motion", 0.1), ("model", 0.08)):
        own = {**made["scores"][name].get(convention, {}), "mae": of([mae, mae])}
        own["rmse"] = made["scores"][name]["standard"]["mse"]
        made["scores"][name][convention] = own
    for compared in made["comparison"].values():
        compared["rmse"] = dict(compared)
    made["best_baseline"] = {"rmse" if units else "mse": "linear_motion"}
    made["ensemble"] = {
        "seed": 0,
        "model": {"members": members, "scores": {convention: {"fair_crps": of(fair)}}},
        "lagged": {"members": 5, "scores": {convention: {"fair_crps": of(lagged)}}},
    }
    return made


@pytest.mark.parametrize("units", ["", "mm/h"])
def test_members_in_words(units: str) -> None:
    lines = in_words(with_members([0.06, 0.12], [0.12, 0.12], units)).splitlines()
    assert lines[2:4] == [
        "With 16 members the model is ahead of the lagged ensemble by 25 % in fair CRPS; its error "
        "is the lower one at +1 alone.",
        "Of one forecast the CRPS is its MAE. In that the members are ahead of the best baseline "
        "(linear_motion) by 10 %; their error is the lower one at +1 alone. They are behind the "
        "model's own forecast without members by 12 %; their error is the lower one at +1 alone.",
    ]
    assert lines[4].startswith("In brackets")


def test_members_that_are_behind_are_said_to_be() -> None:
    one = with_members([0.2, 0.2], [0.1, 0.1], members=1)
    said = in_words(one)
    assert (
        "With 1 member the model is behind the lagged ensemble by 100 % in fair CRPS; its error is "
        "the higher one at every lead time."
    ) in said
    assert "It is behind the model's own forecast without members by 150 %;" in said
    same = in_words(with_members([0.1, 0.1], [0.1, 0.1]))
    assert "is no different from the lagged ensemble in fair CRPS.\n" in same
    # Nothing that ranks, or nothing that is a number.
    alone = in_words(one | {"best_baseline": {}})
    assert alone.splitlines()[0].startswith("With 1 member the model is behind the lagged ensemble")
    assert "best baseline" not in alone
    nothing = in_words(with_members([math.nan, math.nan], [0.1, 0.1]))
    assert "With 16 members the model cannot be compared in fair CRPS" in nothing
    few = one | {"comparison": {name: of | {"low": None} for name, of in one["comparison"].items()}}
    assert "With 1 member" in in_words(few).splitlines()[-2]
    assert in_words(few).startswith("This could be chance (")
