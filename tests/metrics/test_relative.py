"""Errors in units of the last frame's, the best baseline, and who is ahead: hand-made cards."""

import math

import pytest
import torch

from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics.relative import (
    RANKING,
    best_of,
    errors,
    in_words,
    ranked_by,
    relative,
)


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
    return {
        "reference": "model",
        "units": "",
        "scores": tables,
        "comparison": {"linear_motion": compared},
        "baselines": ["linear_motion"],
        "best_baseline": {"mse": "linear_motion"},
    }


def test_ahead() -> None:
    # 0.0176 on average, 12 % below 0.02
    assert in_words(card([0.0152, 0.02], (1 / 0.92, 1 / 0.85))) == (
        "The model is ahead of the best baseline (linear_motion) by 12 % (8 to 15 %) in MSE."
    )


def test_behind() -> None:
    assert in_words(card([0.011, 0.031], (1 / 1.07, 1 / 1.004))) == (
        "The model is behind the best baseline (linear_motion) by 5 % (0.4 to 7 %) in MSE."
    )
    assert in_words(card([0.005, 0.095], (0.25, 0.5))) == (
        "The model is behind the best baseline (linear_motion) by 150 % (100 to 300 %) in MSE."
    )


def test_no_different() -> None:
    """By the interval, or since the errors are equal."""
    for own, ratios in (([0.009, 0.0305], (0.9, 1.1)), ([0.01, 0.03], (1.0, 1.0))):
        assert in_words(card(own, ratios, tie=True)) == (
            "The model is no different from the best baseline (linear_motion) in MSE."
        )


def test_too_few_to_tell() -> None:
    assert in_words(card([0.005, 0.01], tie=True, over="blocks", n=2)) == (
        "This could be chance (2 blocks, too few to tell): the model is ahead of the best baseline "
        "(linear_motion) by 62 % in MSE."
    )


def test_units_and_nobody_to_compare_with() -> None:
    field = card([0.0152, 0.02], (1 / 0.92, 1 / 0.85)) | {"units": "K", "reference": "other"}
    field["scores"]["other"] = field["scores"].pop("model")
    for of in field["scores"].values():
        of["physical"] = {"rmse": of["standard"]["mse"]}
    for of in field["comparison"].values():
        of["rmse"] = dict(of)
    field["best_baseline"] = {"rmse": "linear_motion"}
    rival = "the best baseline (linear_motion)"
    assert in_words(field) == f"other is ahead of {rival} by 12 % (8 to 15 %) in RMSE."
    assert in_words(field | {"best_baseline": {}}) == ""
    field["scores"]["other"]["physical"]["rmse"]["overall"] = math.nan
    assert in_words(field) == f"other is not comparable with {rival} in RMSE."


def test_what_ranks_is_what_says_of_itself_what_is_perfect() -> None:
    assert RANKING == {"mse": ("standard", 0), "ssim": ("standard", 1), "rmse": ("physical", 0)}
    assert (ranked_by(""), ranked_by("K")) == (("mse", "ssim"), ("rmse",))
