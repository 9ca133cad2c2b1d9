"""Scores against outsiders: scikit-image, and the published formulas written out in float64."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics import structural_similarity as ours


def pair(
    b: int = 3, t: int = 4, c: int = 1, h: int = 20, w: int = 24
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecast and truth; the forecast leaves [0,1] here and there, as models without a sigmoid
    do.
    """
    torch.manual_seed(0)
    Y = torch.rand(b, t, c, h, w) ** 3
    return Y + 0.2 * torch.randn_like(Y), Y


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


def test_openstl_convention_equals_its_formulas_in_float64() -> None:
    """reference: OpenSTL c74deb5, openstl/core/metrics.py, as formulas: sums over C,H,W, means over
    N and T, then the clip.
    """
    P32, Y32 = pair(c=2)
    P, Y = P32.double().numpy(), Y32.double().numpy()
    n, t = P.shape[:2]
    mse = sum(((P[:, k] - Y[:, k]) ** 2).mean(axis=0).sum() for k in range(t)) / t
    mae = sum(np.abs(P[:, k] - Y[:, k]).mean(axis=0).sum() for k in range(t)) / t
    P = np.clip(P, 0, 1)
    frames = [(b, k) for b in range(n) for k in range(t)]
    psnr = np.mean([-10 * np.log10(((P[b, k] - Y[b, k]) ** 2).mean()) for b, k in frames])
    # scikit-image's default for floats before it asked for one: the dtype's range, -1 to 1
    ssim = np.mean(
        [structural_similarity(P[b, k], Y[b, k], channel_axis=0, data_range=2) for b, k in frames]
    )
    card = Scorecard(t, scores_of())
    card.update(P32, Y32)
    got = card.table()["openstl"]
    for score, expected in (("mse", mse), ("mae", mae), ("psnr", psnr), ("ssim", ssim)):
        assert got[score]["overall"] == pytest.approx(expected, rel=1e-5), score
        assert np.mean(got[score]["per_lead"]) == pytest.approx(expected, rel=1e-5), score


def test_standard_convention() -> None:
    P, Y = pair()
    card = Scorecard(4, scores_of())
    card.update(P, Y)
    got = card.table()["standard"]
    assert got["mse"]["overall"] == pytest.approx(((P - Y) ** 2).mean().item(), rel=1e-5)
    assert got["mae"]["per_lead"][2] == pytest.approx((P - Y)[:, 2].abs().mean().item(), rel=1e-5)
    pooled = peak_signal_noise_ratio(
        Y.double().numpy(), P.clamp(0, 1).double().numpy(), data_range=1
    )
    assert got["psnr"]["overall"] == pytest.approx(pooled, rel=1e-5)
    assert got["ssim"]["overall"] == pytest.approx(ours(P.clamp(0, 1), Y).mean().item(), rel=1e-6)


def test_known_ratio_between_conventions() -> None:
    """29.80 a frame of 64x64 is 0.00728 a pixel."""
    card = Scorecard(1, scores_of())
    P = torch.full((1, 1, 1, 64, 64), (29.80 / 4096) ** 0.5)
    card.update(P, torch.zeros_like(P))
    table = card.table()
    assert table["openstl"]["mse"]["overall"] == pytest.approx(29.80, rel=1e-5)
    assert table["standard"]["mse"]["overall"] == pytest.approx(0.00728, abs=5e-6)


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


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="empty"):
        Scorecard(4, scores_of()).table()
    with pytest.raises(ValueError, match=r"must both be \(B,4,C,H,W\)"):
        Scorecard(4, scores_of()).update(*(one[:, :3] for one in pair()))
