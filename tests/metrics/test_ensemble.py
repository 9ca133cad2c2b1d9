"""Scores of ensembles against the library `scores`, closed forms, and loops over values."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from fields import RAIN, ensemble, holed
from scores.probability import (
    brier_score_for_ensemble,
    crps_for_ensemble,
    rank_histogram,
)

from foreframe.evaluation.metrics import EnsembleScorecard, Scorecard, ensemble_scores, event_scores
from foreframe.evaluation.metrics.spectra import WAVELENGTHS


def arrays(X: torch.Tensor, Y: torch.Tensor) -> tuple[xr.DataArray, xr.DataArray]:
    dims = ("clip", "member", "lead", "channel", "y", "x")
    return (
        xr.DataArray(X.double().numpy(), dims=dims),
        xr.DataArray(Y.double().numpy(), dims=(dims[0], *dims[2:])),
    )


def filled(X: torch.Tensor, Y: torch.Tensor, **options) -> EnsembleScorecard:
    card = EnsembleScorecard(Y.shape[1], X.shape[1], **options)
    card.update(X, Y)
    return card


def wet(X: torch.Tensor, Y: torch.Tensor) -> EnsembleScorecard:
    return filled(X, Y, units="mm/h", thresholds=(0.5, 5), to_units=RAIN.to_units)


@pytest.mark.parametrize(("method", "prefix"), [("ecdf", ""), ("fair", "fair_")])
def test_crps_and_brier_score_equal_the_scores_library(method: str, prefix: str) -> None:
    X, Y = ensemble(m=12)
    Y = holed(Y)
    table, by_lead = wet(X, Y).table(), {"preserve_dims": ["lead"]}
    units = [RAIN.to_units(values.double()).float() for values in (X, Y)]
    expected = {
        (convention, "crps"): crps_for_ensemble(*arrays(*each), "member", method=method, **by_lead)
        for convention, each in (("standard", (X, Y)), ("physical", units))
    }
    for threshold in (0.5, 5):
        how = arrays(*units), f"{threshold:g} mm/h"
        expected[how[1], "brier"] = brier_score_for_ensemble(
            *how[0], "member", threshold, fair_correction=bool(prefix), **by_lead
        ).squeeze("threshold")
    for (convention, name), theirs in expected.items():
        got = table[convention][prefix + name]["per_lead"]
        assert got == pytest.approx(theirs.values.tolist(), rel=1e-5), (convention, name)


def test_crps_far_from_zero() -> None:
    """Differences of .01 at 300 K are lost in sums of float32 values."""
    X, Y = ensemble(c=1)
    X, Y = 300 + X.double() / 20, 300 + Y.double() / 20
    theirs = crps_for_ensemble(*arrays(X.float(), Y.float()), "member", method="fair")
    ours = filled(X, Y).table()["standard"]["fair_crps"]["overall"]
    assert ours == pytest.approx(theirs.item(), rel=1e-4)


def test_spread_and_skill_equal_numpy() -> None:
    X32, Y32 = ensemble()
    Y32 = holed(Y32)
    X, Y = X32.double().numpy(), Y32.double().numpy()
    there = ~np.isnan(Y)
    spread = math.sqrt(6 / 5 * X.var(axis=1, ddof=1)[there].mean())
    skill = math.sqrt(np.nanmean((X.mean(axis=1) - Y) ** 2))
    got = filled(X32, Y32).table()["standard"]
    assert got["spread"]["overall"] == pytest.approx(spread, rel=1e-5)
    assert got["rmse_of_mean"]["overall"] == pytest.approx(skill, rel=1e-5)
    assert got["spread_skill"]["overall"] == pytest.approx(spread / skill, rel=1e-5)


def test_ranks_equal_the_scores_library() -> None:
    """The library shares ties equally, and foreframe draws ranks."""
    X, Y = ensemble(m=4, h=40, w=50)
    generator = torch.Generator().manual_seed(2)
    untied = [0.2 + 0.5 * torch.rand(x.shape, generator=generator) for x in (X, Y)]
    for values, far in ((untied, 0.0), ([X, holed(Y)], 0.15)):
        theirs = rank_histogram(*arrays(*values), "member", preserve_dims=["lead"])
        got = torch.tensor(
            filled(*values).table()["standard"]["rank_histogram"]["per_lead"], dtype=torch.float64
        )
        shares = (got / got.sum(dim=1, keepdim=True)).numpy()
        np.testing.assert_allclose(shares, theirs.transpose("lead", "rank").values, rtol=far + 1e-9)


def test_ranks_of_constant_areas() -> None:
    X, Y = torch.zeros(2, 6, 1, 1, 60, 70), torch.zeros(2, 1, 1, 60, 70)
    table = filled(X, Y).table()["standard"]
    counts = np.array(table["rank_histogram"]["overall"])
    assert counts.sum() == Y.numel()
    # Chi-square of 7 counts: 1 in 1,000 is outside at each end.
    assert 0.5 < ((counts - 1200) ** 2 / 1200).sum() < 22
    assert table["rank_histogram_varied"]["overall"] == [0] * 7
    # Each clip has its own key, so other draws.
    one, other = (filled(X[:1], Y[:1], seed=seed).table()["standard"] for seed in (0, 1))
    assert one["rank_histogram"] != other["rank_histogram"]
    # Forecasts of almost nothing are never below a truth of nothing.
    X, Y = torch.full((1, 3, 1, 1, 10, 10), 1e-4), torch.zeros(1, 1, 1, 10, 10)
    Y[..., :4, :5] = 0.5
    table = filled(X, Y).table()["standard"]
    assert table["rank_histogram"]["overall"] == [80, 0, 0, 20]
    assert table["rank_histogram_varied"]["overall"] == [0, 0, 0, 20]
    # Truth and members are clipped to [0,1] alike.
    X, Y = torch.full((1, 3, 1, 1, 10, 10), 1.2), torch.full((1, 1, 1, 10, 10), 1.1)
    assert min(filled(X, Y).table()["standard"]["rank_histogram"]["overall"]) > 0


@pytest.mark.parametrize("m", [3, 16])
def test_reliability_counts_cases(m: int) -> None:
    """reference: values one by one, in the bin nearest to their probability."""
    X, Y = ensemble(m=m)
    Y = holed(Y)
    got = filled(X, Y, thresholds=(0.2,)).table()["0.2"]
    bins = min(m, 10)
    there = ~Y.isnan()
    p = X.ge(0.2).float().mean(dim=1)[there].numpy()
    came = Y.ge(0.2)[there].numpy()
    bin_of = np.round(p * bins)
    for j in range(bins + 1):
        inside = bin_of == j
        assert got["cases"]["overall"][j] == inside.sum() > 0
        assert got["frequencies"]["overall"][j] == pytest.approx(came[inside].mean())
        assert got["probabilities"]["overall"][j] == pytest.approx(p[inside].mean(), abs=1e-6)
    assert sum(got["cases"]["overall"]) == there.sum()
    assert len(got["cases"]["per_lead"]) == 2
    certain = filled(torch.ones_like(X), torch.ones_like(Y), thresholds=(0.2,)).table()["0.2"]
    assert certain["cases"]["overall"] == [0] * bins + [Y.numel()]
    assert certain["frequencies"]["overall"] == pytest.approx([math.nan] * bins + [1], nan_ok=True)


def grid(wavelength: float, amplitude: float, angle: float = 0.0) -> torch.Tensor:
    """A sine on 64x64 pixels."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    return 0.5 + amplitude * torch.sin(2 * math.pi * along / wavelength)


def test_spectrum_of_sines() -> None:
    """A sine of amplitude A has the variance A^2 / 2, all of it in its band."""
    band = WAVELENGTHS.index(8)
    y, x = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    with np.errstate(divide="ignore"):
        wavelength = 1 / np.hypot(y, x)
    waves = np.sum((wavelength > 8 * 2**-0.25) & (wavelength < 8 * 2**0.25))
    Y = grid(8, 0.4).view(1, 1, 1, 64, 64)
    X = torch.stack([grid(8, 0.2, angle=math.pi / 2), grid(8, -0.2, angle=math.pi / 2)])
    got = filled(X.view(1, 2, 1, 1, 64, 64), Y).table()["standard"]
    truth = got["spectrum_of_truth"]["overall"]
    assert truth[band] * waves == pytest.approx(0.4**2 / 2, rel=0.01)
    assert max(truth[:band] + truth[band + 1 : -4]) < 1e-3 * truth[band]
    assert math.isnan(truth[-1])  # no wave of 256 pixels in a frame of 64
    # Amplitudes of a half have a quarter of the power, in whatever direction; the mean has none.
    assert got["power_at_8"]["overall"] == pytest.approx(0.25, rel=0.01)
    assert got["power_at_8"]["per_lead"] == [got["power_at_8"]["overall"]]
    assert got["power_of_mean_at_8"]["overall"] == pytest.approx(0, abs=1e-9)
    assert got["spectrum"]["overall"][band] == pytest.approx(truth[band] / 4, rel=0.01)


def test_sharpness_and_ink() -> None:
    """Strokes in other places: each member is as sharp as the truth, and has its ink; their mean
    is half as high.
    """
    Y, X = torch.zeros(1, 1, 1, 20, 20), torch.zeros(1, 2, 1, 1, 20, 20)
    Y[..., 4:16, 3:5] = 0.8
    X[0, 0, ..., 4:16, 8:10] = 0.8
    X[0, 1, ..., 4:16, 13:15] = 0.8
    got = filled(X, Y).table()["standard"]
    assert got["sharpness"]["overall"] == pytest.approx(1, rel=1e-5)
    assert got["sharpness_of_mean"]["overall"] == pytest.approx(1, rel=1e-5)  # two strokes, halved
    assert got["ink"]["overall"] == pytest.approx(0, abs=1e-6)
    assert got["ink_bias"]["overall"] == pytest.approx(0, abs=1e-6)
    X[0, 0] *= 0.5  # sums .5 and 1 of the truth's: the deviation of two is their gap over sqrt(2)
    got = filled(X, Y).table()["standard"]
    assert got["sharpness"]["overall"] == pytest.approx(0.75, rel=1e-5)
    assert got["ink"]["overall"] == pytest.approx(0.5 / math.sqrt(2), rel=1e-5)
    assert got["ink_bias"]["overall"] == pytest.approx(-0.25, rel=1e-5)


def test_a_single_member() -> None:
    """Both CRPS are the mean absolute error, and spreads are undefined."""
    X, Y = ensemble(m=1)
    Y = holed(Y)
    table = wet(X, Y).table()
    standard = table["standard"]
    mae = (X[:, 0] - Y).abs().nanmean().item()
    for name in ("crps", "fair_crps"):
        assert standard[name]["overall"] == pytest.approx(mae, rel=1e-5)
    for name in ("spread", "spread_skill", "ink"):
        assert math.isnan(standard[name]["overall"])
    assert len(standard["rank_histogram"]["overall"]) == 2
    assert table["5 mm/h"]["brier"] == table["5 mm/h"]["fair_brier"]
    assert len(table["5 mm/h"]["cases"]["overall"]) == 2


@pytest.mark.parametrize("gaps", [False, True])
def test_each_member_as_a_forecast_by_itself(gaps: bool) -> None:
    """Events of members are scored like clips with one forecast each."""
    X, Y = ensemble()
    Y = holed(Y) if gaps else Y
    events = event_scores((0.5, 5), (1, 5), "mm/h")
    alone = Scorecard(2, events, RAIN.to_units)
    alone.update(X.flatten(0, 1), Y.repeat_interleave(5, dim=0))
    table = ensemble_scores(X, Y, "mm/h", (0.5, 5), RAIN.to_units, scales=(1, 5))["scores"]
    for threshold, scores in alone.table().items():
        for name in ("csi", "bias", "fss 1", "fss 5"):
            assert table[threshold][name]["per_lead"] == pytest.approx(scores[name]["per_lead"])
            assert table[threshold][name]["overall"] > 0
    assert "fss 5" not in ensemble_scores(X, Y, "mm/h", (5,), RAIN.to_units)["scores"]["5 mm/h"]
    with pytest.raises(ValueError, match="odd side"):
        ensemble_scores(X, Y, thresholds=(0.5,), scales=(4,))


def test_misuse() -> None:
    X, Y = ensemble()
    card = EnsembleScorecard(2, 5)
    with pytest.raises(ValueError, match="at least 1 member, not 0"):
        EnsembleScorecard(2, 0)
    for bad in ((X[:, :4], Y), (X[:, :, :1], Y[:, :1]), (X[:2], Y)):
        with pytest.raises(ValueError, match=r"members must be \(B,5,2,C,H,W\)"):
            card.update(*bad)
    with pytest.raises(ValueError, match=r"members must be \(B,M,T,C,H,W\)"):
        ensemble_scores(X[:, 0], Y)
    with pytest.raises(ValueError, match="once each"):
        ensemble_scores(X, Y, thresholds=(1, 1))
