"""Errors in units of the last frame's, the best baseline, and who is ahead."""

import math
from typing import Any

import pytest

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


def lead(
    ratio: float,
    ends: tuple[float | None, float | None] = (None, None),
    tie: bool = False,
    score: str = "mse",
    row: str = "model",
    **more: Any,
) -> str:
    """What is said of a row whose error is `ratio` times that of linear_motion, 0.025."""
    compared = {"difference": 0.025 * (ratio - 1), "low": ends[0], "ratio": ratio, "tie": tie}
    compared |= {"ratio_low": ends[0], "ratio_high": ends[1], "n": 24, "over": "clips"} | more
    scores = TABLES | {row: table([0.025 * ratio], [0.7])}
    scores = {
        name: of | {"physical": {"rmse": of["standard"]["mse"]}} for name, of in scores.items()
    }
    scores["linear_motion"] = scores["persistence"]
    best, leads = {score: "linear_motion"}, {row: {score: compared}}
    return in_words(
        {"reference": row, "best_baseline": best, "lead": leads, "gain": {}, "scores": scores}
    )


BEST = "the best baseline (linear_motion)"


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (f"The model is better than {BEST}: 12 % lower MSE (8 to 15 %).", (0.88, (0.85, 0.92))),
        (f"The model is worse than {BEST}: 5 % higher MSE (0.4 to 7 %).", (1.05, (1.004, 1.07))),
        (f"The model is worse than {BEST}: 150 % higher MSE (100 to 300 %).", (2.5, (2.0, 4.0))),
        (f"The model is worse than {BEST}: MSE 3.62 against 0.025.", (144.9, (130.0, 150.0))),
        (
            f"The model is not significantly better than {BEST}: 2 % lower MSE (24 clips).",
            (0.98, (0.9, 1.1), True),
        ),
        (f"The model cannot be compared with {BEST} in MSE.", (math.nan,)),
        (
            f"The model is better than {BEST}: 3 % lower 1-SSIM (2 to 4 %).",
            (0.97, (0.96, 0.98), False, "ssim"),
        ),
        (
            f"other is worse than {BEST}: 10 % higher RMSE (5 to 20 %).",
            (1.1, (1.05, 1.2), False, "rmse", "other"),
        ),
    ],
)
def test_who_is_ahead(said: str, given: tuple) -> None:
    assert lead(*given) == said


def test_too_few_to_tell_and_a_perfect_baseline() -> None:
    assert lead(0.38, tie=True, over="blocks", n=2) == (
        f"The model is not significantly better than {BEST}: 62 % lower MSE (2 blocks)."
    )
    assert (
        lead(math.inf, (math.inf, None)) == f"The model is worse than {BEST}: MSE - against 0.025."
    )
    nothing = {"reference": "model", "best_baseline": {}, "lead": {"model": {}}, "gain": {}}
    assert in_words(nothing) == ""


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
        f"{line}MSE (7 blocks). The training gained nothing."
    )
    compared["tie"] = False
    assert in_words(card | {"gain": {"mse": compared}}).endswith("lower MSE (10 to 10 %).")


def test_what_ranks_is_what_says_of_itself_what_is_perfect() -> None:
    assert RANKING == {"mse": ("standard", 0), "ssim": ("standard", 1), "rmse": ("physical", 0)}
    assert (ranked_by(""), ranked_by("K")) == (("mse", "ssim"), ("rmse",))
