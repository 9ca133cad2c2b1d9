"""Missing values of the truth (NaN): they never count, and nothing else changes. And sharpness,
whose gradients need three values each.
"""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from foreframe.evaluation.metrics import Pair, Scorecard, scores_of
from foreframe.evaluation.metrics import structural_similarity as ours
from foreframe.evaluation.metrics.pixel import absolute_error, squared_error
from foreframe.evaluation.metrics.pixel import values as values_of


def pair(
    b: int = 3, t: int = 4, c: int = 2, h: int = 20, w: int = 24
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    Y = torch.rand(b, t, c, h, w, generator=generator) ** 3
    return Y + 0.2 * torch.randn(Y.shape, generator=generator), Y


def holed(Y: torch.Tensor) -> torch.Tensor:
    """A corner is missing everywhere, single pixels here and there, a whole channel and a whole
    frame.
    """
    Y = Y.clone()
    Y[..., :5, :6] = torch.nan
    Y[0, 1, 0, 12, 15] = torch.nan
    Y[1, 2, 1] = torch.nan
    Y[2, 3] = torch.nan
    return Y


def filled(P: torch.Tensor, Y: torch.Tensor) -> Scorecard:
    card = Scorecard(P.shape[1], scores_of())
    card.update(P, Y)
    return card


def of_all_scores(P: torch.Tensor, Y: torch.Tensor) -> Scorecard:
    """With events and errors in units."""
    card = Scorecard(P.shape[1], scores_of("K", (275,), (3,)), lambda x: 10 * x + 270)
    card.update(P, Y)
    return card


def test_pixel_scores_equal_numpy_over_what_is_there() -> None:
    """reference: numpy's nan functions in float64."""
    P32, Y32 = pair()
    Y32 = holed(Y32)
    P, Y = P32.double().numpy(), Y32.double().numpy()
    seen = np.clip(P, 0, 1)
    there = [(b, t) for b in range(3) for t in range(4) if (b, t) != (2, 3)]
    table = filled(P32, Y32).table()
    standard, openstl = table["standard"], table["openstl"]
    assert standard["mse"]["overall"] == pytest.approx(np.nanmean((P - Y) ** 2), rel=1e-5)
    assert standard["mae"]["per_lead"] == pytest.approx(
        list(np.nanmean(np.abs(P - Y), axis=(0, 2, 3, 4))), rel=1e-5
    )
    assert standard["psnr"]["overall"] == pytest.approx(
        -10 * np.log10(np.nanmean((seen - Y) ** 2)), rel=1e-5
    )
    assert openstl["mse"]["overall"] == pytest.approx(
        np.mean([np.nansum((P - Y)[i] ** 2) for i in there]), rel=1e-5
    )
    assert openstl["mae"]["overall"] == pytest.approx(
        np.mean([np.nansum(np.abs((P - Y)[i])) for i in there]), rel=1e-5
    )
    psnr = np.mean([-10 * np.log10(np.nanmean((seen - Y)[i] ** 2)) for i in there])
    assert openstl["psnr"]["overall"] == pytest.approx(psnr, rel=1e-5)
    last = np.mean([np.nansum((P - Y)[b, 3] ** 2) for b in (0, 1)])
    assert openstl["mse"]["per_lead"][3] == pytest.approx(last, rel=1e-5)


def test_ssim_counts_only_windows_without_a_gap() -> None:
    """reference: scikit-image's map of SSIM, whose windows are then chosen one by one."""
    P, Y = pair()
    P, Y = P.clamp(0, 1), holed(Y)
    got = ours(P, Y)
    assert got[2, 3].isnan()
    for b in range(3):
        for t in range(4):
            channels = []
            for c in range(2):
                x, y = P[b, t, c].double().numpy(), Y[b, t, c].double().numpy()
                _, each = structural_similarity(np.nan_to_num(y), x, data_range=1, full=True)
                kept = [
                    each[r, q]
                    for r in range(3, 17)
                    for q in range(3, 21)
                    if not np.isnan(y[r - 3 : r + 4, q - 3 : q + 4]).any()
                ]
                if kept:
                    channels.append(np.mean(kept))
            if channels:
                assert got[b, t].item() == pytest.approx(np.mean(channels), abs=2e-5)
    # A frame without a window does not count in the scorecard's mean.
    card = filled(P, Y).table()["standard"]["ssim"]
    assert card["overall"] == pytest.approx(got[~got.isnan()].mean().item(), rel=1e-5)
    assert card["per_lead"][3] == pytest.approx(got[:2, 3].mean().item(), rel=1e-5)


def test_what_the_forecast_has_at_gaps_does_not_matter() -> None:
    P, Y = pair()
    Y = holed(Y)
    expected = of_all_scores(P, Y)
    assert expected.sums.isfinite().all()
    for other in (torch.nan, 1e6, -torch.inf):
        torch.testing.assert_close(
            of_all_scores(P.where(~Y.isnan(), other), Y).sums, expected.sums, rtol=0, atol=0
        )


def test_batches_and_counts_add_up() -> None:
    P, Y = pair()
    Y = holed(Y)
    whole, parts = of_all_scores(P, Y), of_all_scores(P[:1], Y[:1])
    parts.update(P[1:], Y[1:])
    torch.testing.assert_close(parts.sums, whole.sums, rtol=1e-6, atol=1e-6)
    added = of_all_scores(P[:1], Y[:1])  # as ranks do it
    added.sums = added.sums + of_all_scores(P[1:], Y[1:]).sums
    torch.testing.assert_close(added.sums, whole.sums, rtol=1e-6, atol=1e-6)
    assert (whole.clips, parts.clips) == (3, 3)
    assert whole.sums.dtype == torch.float64


def test_a_lead_time_that_is_missing_altogether() -> None:
    P, Y = pair()
    Y[:, 0] = torch.nan
    card = filled(P, Y)
    assert card.clips == 3
    rest = filled(P[:, 1:], Y[:, 1:]).table()
    for convention, scores in card.table().items():
        for score, values in scores.items():
            assert math.isnan(values["per_lead"][0]), (convention, score)
            assert values["overall"] == pytest.approx(rest[convention][score]["overall"]), (
                convention,
                score,
            )


def test_without_gaps_sums_are_plain() -> None:
    P, Y = pair()
    whole = Pair(P, Y)
    assert torch.equal(squared_error(whole), (P - Y).square().sum(dim=(2, 3, 4)))
    assert torch.equal(absolute_error(whole), (P - Y).abs().sum(dim=(2, 3, 4)))
    assert (values_of(whole) == 2 * 20 * 24).all()
    assert values_of(Pair(P, holed(Y)))[2, 3] == 0


def test_every_score_knows_a_forecast_that_is_lost() -> None:
    """One NaN of the forecast at a valid value, and every score of that lead time is NaN."""
    P, Y = pair()
    P[0, 1, 0, 15, 15] = torch.nan
    for convention, scores in of_all_scores(P, holed(Y)).table().items():
        for score, of in scores.items():
            assert math.isnan(of["per_lead"][1]), (convention, score)
            assert math.isfinite(of["per_lead"][0]), (convention, score)


def summed_slope(X: torch.Tensor) -> float:
    """reference: numpy's differences, over the pixels whose three values are all known."""
    x = X.double().numpy()
    dx, dy = np.diff(x, axis=-1)[..., :-1, :], np.diff(x, axis=-2)[..., :-1]
    return float(np.nansum(np.hypot(dx, dy)))


def test_sharpness_is_a_ratio_of_slopes() -> None:
    _, Y = pair()
    blurred = torch.from_numpy(ndimage.gaussian_filter(Y.numpy(), (0, 0, 0, 1, 1)))
    table = filled(blurred, Y).table()
    expected = summed_slope(blurred) / summed_slope(Y)
    assert expected < 0.6
    assert table["standard"]["sharpness"]["overall"] == pytest.approx(expected, rel=1e-5)
    assert filled(Y, Y).table()["standard"]["sharpness"]["per_lead"] == [1] * 4
    assert "sharpness" not in table["openstl"]
    white = filled(10 * Y + 1, Y).table()  # clipped: nothing but white
    assert white["standard"]["sharpness"]["overall"] == 0


def test_sharpness_of_flat_truth_and_of_gaps() -> None:
    P, Y = pair()
    assert math.isnan(filled(P, torch.zeros_like(Y)).table()["standard"]["sharpness"]["overall"])
    Y = holed(Y)
    expected = summed_slope(P.clamp(0, 1) + 0 * Y) / summed_slope(Y)
    assert filled(P, Y).table()["standard"]["sharpness"]["overall"] == pytest.approx(
        expected, rel=1e-5
    )
