"""Missing values of the truth (NaN): they never count, and nothing else changes, of forecasts
and of members. And sharpness, whose gradients need three values each.
"""

import math

import numpy as np
import pytest
import torch
from fields import RAIN, ensemble, holed, pair
from scipy import ndimage
from skimage.metrics import structural_similarity

from foreframe.evaluation.metrics import EnsembleScorecard, Scorecard, scores_of
from foreframe.evaluation.metrics import structural_similarity as ours

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


def filled(P: torch.Tensor, Y: torch.Tensor) -> Scorecard:
    card = Scorecard(P.shape[1], scores_of())
    card.update(P, Y)
    return card


def array(value: object) -> np.ndarray:
    return np.array(value, dtype=float)


def test_pixel_scores_equal_numpy_over_what_is_there() -> None:
    """reference: numpy's nan functions in float64."""
    P32, Y32 = pair()
    Y32 = holed(Y32)
    P, Y = P32.double().numpy(), Y32.double().numpy()
    seen = np.clip(P, 0, 1)
    there = [(b, t) for b in range(3) for t in range(4) if (b, t) != (1, 0)]
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
    first = np.mean([np.nansum((P - Y)[b, 0] ** 2) for b in (0, 2)])
    assert openstl["mse"]["per_lead"][0] == pytest.approx(first, rel=1e-5)


def test_ssim_counts_only_windows_without_a_gap() -> None:
    """reference: scikit-image's map of SSIM, whose windows are then chosen one by one."""
    P, Y = pair()
    P, Y = P.clamp(0, 1), holed(Y)
    got = ours(P, Y)
    assert got[1, 0].isnan()
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
    assert card["per_lead"][0] == pytest.approx(got[[0, 2], 0].mean().item(), rel=1e-5)


@both
def test_what_a_forecast_has_at_gaps_does_not_matter(kind: str) -> None:
    P, Y = FIELDS[kind]()
    Y = holed(Y)
    expected = scored(kind, P, Y).sums
    missing = Y.isnan().view(*Y.shape[:1], *[1] * (P.ndim - Y.ndim), *Y.shape[1:])
    for other in (torch.nan, 1e6, -torch.inf):
        got = scored(kind, P.masked_fill(missing, other), Y).sums
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@both
def test_batches_and_processes_add_up(kind: str) -> None:
    P, Y = FIELDS[kind](b=5)
    Y = holed(Y)
    whole, parts = scored(kind, P, Y), empty(kind, Y.shape[1])
    for some in (slice(0, 2), slice(2, 3), slice(3, 5)):
        parts.update(P[some], Y[some])
    torch.testing.assert_close(parts.sums, whole.sums, rtol=1e-5, atol=1e-6, equal_nan=True)
    halves = []
    for clips in ([0, 2, 4], [1, 3]):  # as two processes share them
        halves.append(empty(kind, Y.shape[1]))
        halves[-1].update(P[clips], Y[clips], *([clips] if kind == "members" else []))
    added = halves[0].sums + halves[1].sums
    torch.testing.assert_close(added, whole.sums, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert (whole.clips, whole.sums.dtype) == (5, torch.float64)
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
            first = array(values["per_lead"][0])
            counts = name in ("rank_histogram", "rank_histogram_varied", "cases", "events")
            assert (first == 0 if counts else np.isnan(first)).all(), name
            if "rank" not in name:  # those are drawn by place
                expected = rest[convention][name]["overall"]
                assert values["overall"] == pytest.approx(expected, nan_ok=True), name


@both
def test_a_forecast_that_is_no_number_is_not_passed_over(kind: str) -> None:
    """One NaN of the forecast at a valid value, and every score of that lead time is NaN."""
    P, Y = FIELDS[kind](h=64, w=64)
    good = scored(kind, P, Y).table()
    P.view(*P.shape[:1], -1, *Y.shape[1:])[0, -1, 1, 0, 15, 15] = torch.nan
    for convention, scores in scored(kind, P, Y).table().items():
        for name, values in scores.items():
            assert np.isnan(array(values["per_lead"][1])).all(), name
            if "best" not in name:  # of the whole clip
                expected = good[convention][name]["per_lead"][0]
                assert values["per_lead"][0] == pytest.approx(expected, nan_ok=True), name


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
    P, _ = pair()
    assert math.isnan(filled(P, torch.zeros_like(Y)).table()["standard"]["sharpness"]["overall"])
    Y = holed(Y)
    expected = summed_slope(P.clamp(0, 1) + 0 * Y) / summed_slope(Y)
    assert filled(P, Y).table()["standard"]["sharpness"]["overall"] == pytest.approx(
        expected, rel=1e-5
    )
