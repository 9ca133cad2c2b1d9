"""Errors relative to persistence, the best baseline, and the comparison with it."""

import math

import pytest

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
    got = relative(TABLES, ["mse", "ssim"])
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
    got = relative(still, ["mse", "ssim"])["mean"]
    assert math.isnan(got["mse"]["per_lead"][0])
    assert math.isnan(got["ssim"]["per_lead"][0])
    assert got["mse"]["per_lead"][1] == pytest.approx(1)
    assert relative({"mean": still["mean"]}, ["mse"]) == {}
    # Frames that differ by less than half a grey level: every ratio would be huge.
    frozen = {"persistence": table([8e-7, 8e-7], [1, 1]), "mean": table([1e-4, 1e-4], [0.9, 0.9])}
    assert math.isnan(relative(frozen, ["mse", "ssim"])["mean"]["mse"]["overall"])


def test_the_best_is_the_lowest_error() -> None:
    free = ["black", "persistence", "linear_motion", "not_scored"]
    assert best_of(TABLES, free, "mse") == "linear_motion"
    assert best_of(TABLES, free, "ssim") == "persistence"
    assert best_of({"mean": table([math.nan], [1.0])}, ["mean"], "mse") is None
    assert errors(table([0.0], [0.25]), "ssim")["per_lead"] == [0.75]


BEST = "the best baseline (linear_motion)"
BETTER, WORSE = f"is better than {BEST}", f"is worse than {BEST}"
CHANCE = f"is not significantly better than {BEST}"
FEW_BLOCKS = {"tie": True, "over": "blocks", "n": 2}


@pytest.mark.parametrize(
    ("line", "score", "ratio", "ends", "more"),
    [
        (f"{BETTER}: 12 % lower MSE (8 to 15 %)", "mse", 0.88, (0.85, 0.92), {}),
        (f"{WORSE}: 5 % higher MSE (0.4 to 7 %)", "mse", 1.05, (1.004, 1.07), {}),
        (f"{WORSE}: 150 % higher MSE (100 to 300 %)", "mse", 2.5, (2, 4), {}),
        (f"{WORSE}: MSE 3.62 against 0.025", "mse", 144.9, (130, 150), {}),
        (f"{WORSE}: MSE - against 0.025", "mse", math.inf, (math.inf, None), {}),
        (f"{CHANCE}: 2 % lower MSE (24 clips)", "mse", 0.98, (0.9, 1.1), {"tie": True}),
        (
            f"{CHANCE}: 62 % lower MSE (from 2 independent parts of the test data)",
            "mse",
            0.38,
            (None, None),
            FEW_BLOCKS,
        ),
        (f"cannot be compared with {BEST} in MSE", "mse", math.nan, (None, None), {}),
        (f"{BETTER}: 3 % lower 1-SSIM (2 to 4 %)", "ssim", 0.97, (0.96, 0.98), {}),
        (f"{WORSE}: 10 % higher RMSE (5 to 20 %)", "rmse", 1.1, (1.05, 1.2), {}),
    ],
)
def test_comparison_with_the_best_baseline(
    line: str, score: str, ratio: float, ends: tuple, more: dict
) -> None:
    """The error of the model is `ratio` times that of linear_motion, 0.025."""
    compared = {"difference": 0.025 * (ratio - 1), "low": ends[0], "ratio": ratio, "tie": False}
    compared |= {"ratio_low": ends[0], "ratio_high": ends[1], "n": 24, "over": "clips"} | more
    scores = {"model": table([0.025 * ratio], [0.7]), "linear_motion": TABLES["persistence"]}
    for each in scores.values():
        each["physical"] = {"rmse": each["standard"]["mse"]}
    best, leads = {score: "linear_motion"}, {"model": {score: compared}}
    card = {"reference": "model", "best_baseline": best, "lead": leads, "gain": {}}
    assert in_words(card | {"scores": scores}) == f"The model {line}."
    assert in_words(card | {"best_baseline": {}, "lead": {"model": {}}}) == ""


def test_a_training_that_gained_nothing_is_reported() -> None:
    compared = {"difference": -0.001, "ratio": 0.98, "ratio_low": 0.9, "ratio_high": 1.1}
    compared |= {"low": 0.0, "tie": True, "n": 7, "over": "blocks"}
    card = {
        "reference": "model",
        "lead": {},
        "best_baseline": {},
        "weights": "persistence",
        "scores": TABLES,
    }
    line = (
        "The model is not significantly better than its starting weights (persistence): 2 % lower "
    )
    assert in_words(card | {"gain": {"mse": compared}}) == (
        f"{line}MSE (from 7 independent parts of the test data). The training gained nothing."
    )
    compared["tie"] = False
    assert in_words(card | {"gain": {"mse": compared}}).endswith("lower MSE (10 to 10 %).")
