"""Scores against outsiders: scikit-image, numpy, and the published formulas in float64."""

import math

import numpy as np
import pytest
import torch
from fields import pair
from skimage.metrics import structural_similarity

from foreframe.evaluation.metrics import SCORES, Scorecard, scorecard, scores_of
from foreframe.evaluation.metrics import structural_similarity as ours


@pytest.mark.parametrize("L", [1.0, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_scikit_image(L: float, channels: int) -> None:
    P, Y = pair(c=channels)
    P = P.clamp(0, 1)
    expected = [
        [
            structural_similarity(
                Y[b, t].double().numpy(), P[b, t].double().numpy(), data_range=L, channel_axis=0
            )
            for t in range(4)
        ]
        for b in range(3)
    ]
    np.testing.assert_allclose(ours(P, Y, data_range=L).numpy(), expected, atol=2e-5)


def test_large_frames_are_scored_a_few_lead_times_at_a_time(monkeypatch) -> None:
    P, Y = pair(t=6)
    Y[:, 3, :, :5] = torch.nan
    whole, parts = (Scorecard(6, scores_of("mm/h", [0.5], [3])) for _ in range(2))
    whole.update(P, Y)
    monkeypatch.setattr(scorecard, "STRETCH", 0)
    parts.update(P, Y)
    assert whole.clips == parts.clips == len(P)
    assert torch.equal(whole.sums.nan_to_num(), parts.sums.nan_to_num())


def test_openstl_scores_similarity_on_a_range_of_two() -> None:
    """reference: OpenSTL c74deb5, openstl/core/metrics.py: scikit-image's default for floats before
    it asked for one was the dtype's range, -1 to 1.
    """
    P, Y = pair()
    card = Scorecard(4, scores_of())
    card.update(P, Y)
    got = card.table()["openstl"]["ssim"]
    P, Y = P.double().clamp(0, 1).numpy(), Y.double().numpy()
    frames = np.empty((3, 4))
    for k in np.ndindex(frames.shape):
        frames[k] = structural_similarity(P[k], Y[k], channel_axis=0, data_range=2)
    assert got["overall"] == pytest.approx(np.mean(frames), rel=1e-5)
    assert got["per_lead"] == pytest.approx(np.mean(frames, axis=0), rel=1e-5)


def test_a_perfect_forecast_and_a_black_one() -> None:
    _, Y = pair()
    perfect, black = Scorecard(4, scores_of()), Scorecard(4, scores_of())
    perfect.update(Y, Y)
    black.update(torch.zeros_like(Y), Y)
    table = perfect.table()
    assert table["standard"]["mse"]["overall"] == 0
    assert table["standard"]["psnr"]["overall"] == float("inf")
    assert table["standard"]["ssim"]["overall"] == pytest.approx(1, abs=1e-6)
    # Where the difference wraps in uint8 it reads 41 dB.
    assert black.table()["standard"]["psnr"]["overall"] < 15


def test_frames_smaller_than_the_window() -> None:
    P, Y = pair(h=6, w=30)
    assert ours(P, Y).isnan().all()


DRAW = np.random.default_rng(3)
FORECAST = DRAW.normal(281, 4, (5, 3, 2, 6, 7))
TRUTH = np.where(DRAW.random(FORECAST.shape) < 0.2, np.nan, DRAW.normal(280, 4, FORECAST.shape))
ERROR = FORECAST - TRUTH  # a forecast that is too warm has a bias above 0
EXPECTED = {
    "rmse": lambda errors: np.sqrt(np.nanmean(errors**2)),
    "mae": lambda errors: np.nanmean(np.abs(errors)),
    "bias": np.nanmean,
}


@pytest.mark.parametrize("score", EXPECTED)
def test_errors_equal_numpy_over_what_is_there(score: str) -> None:
    card = Scorecard(3, {"physical": SCORES["physical"]})
    for k in range(0, 5, 2):
        forecast, truth = (torch.from_numpy(part[k : k + 2]).float() for part in (FORECAST, TRUTH))
        card.update(forecast, truth)
    scored, expected = card.table()["physical"][score], EXPECTED[score]
    assert scored["overall"] == pytest.approx(expected(ERROR), rel=1e-4)
    assert scored["per_lead"] == pytest.approx(
        [expected(ERROR[:, lead]) for lead in range(3)], rel=1e-4
    )
    assert expected(ERROR) > 0.5  # not zero by chance


def test_cross_entropy_is_summed_over_a_frame_in_nats() -> None:
    """As of torch: a pixel that is surely wrong costs 100, one beyond 0 to 1 none."""
    P, Y = torch.rand(2, 3, 1, 5, 4), torch.rand(2, 3, 1, 5, 4).round()
    P[0, 0, 0, 0], Y[0, 0, 0, 0] = torch.tensor([0.0, 1.0, 1.5, -0.5]), torch.tensor([1.0, 0, 1, 0])
    Y[1, 2, 0, 2] = torch.nan
    card = Scorecard(3, {"openstl": SCORES["openstl"]})
    card.update(P, Y)
    each = torch.nn.functional.binary_cross_entropy(P.clamp(0, 1), Y.nan_to_num(), reduction="none")
    expected = each.where(~Y.isnan(), 0).sum(dim=(2, 3, 4))
    assert expected[0, 0] > 200
    assert card.table()["openstl"]["bce"]["overall"] == pytest.approx(expected.mean().item())


def correlation(P: torch.Tensor, Y: torch.Tensor, batch: int = 5) -> dict:
    card = Scorecard(P.shape[1], {"standard": {"correlation": SCORES["standard"]["correlation"]}})
    for k in range(0, len(P), batch):
        card.update(P[k : k + batch], Y[k : k + batch])
    return card.table()["standard"]["correlation"]


def test_it_is_that_of_numpy() -> None:
    draw = torch.Generator().manual_seed(0)
    Y = torch.rand(5, 3, 2, 6, 7, generator=draw)
    P = 0.3 * Y + 0.1 * torch.rand(Y.shape, generator=draw) + 0.5
    Y[torch.rand(Y.shape, generator=draw) < 0.2] = torch.nan
    got = correlation(P, Y, batch=2)
    for lead in (slice(None), 0, 1, 2):
        p, y = P[:, lead].double().numpy(), Y[:, lead].double().numpy()
        known = np.isfinite(y)
        expected = np.corrcoef(p[known], y[known])[0, 1]
        ours = got["overall"] if isinstance(lead, slice) else got["per_lead"][lead]
        assert ours == pytest.approx(expected, rel=1e-4)
        assert 0.5 < expected < 0.99


def test_a_line_is_one_and_a_flat_forecast_is_nothing() -> None:
    Y = torch.rand(2, 1, 1, 9, 9)
    assert correlation(0.5 * Y + 0.2, Y)["overall"] == pytest.approx(1, abs=1e-5)
    assert correlation(1 - Y, Y)["overall"] == pytest.approx(-1, abs=1e-5)
    for flat in (0.0, 0.7, 1 / 3):
        assert math.isnan(correlation(torch.full_like(Y, flat), Y)["overall"])
        assert math.isnan(correlation(Y, torch.full_like(Y, flat))["overall"])


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="empty"):
        Scorecard(4, scores_of()).table()
    with pytest.raises(ValueError, match=r"must both be \(B,4,C,H,W\)"):
        Scorecard(4, scores_of()).update(*(one[:, :3] for one in pair()))
