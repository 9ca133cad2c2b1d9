"""Scores of single forecasts against explicit loops in float64, with and without missing values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fields import pair
from skimage.metrics import structural_similarity

from foreframe.evaluation.metrics import SCORES, Scorecard, event_scores, scorecard, scores_of
from foreframe.evaluation.metrics.moving import background_of

Reference = Callable[[np.ndarray, np.ndarray], float]
"""A score of forecasts and truths (B,T,C,H,W), in float64."""


def film() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Past, forecast and truth of a square that crosses a texture; the third clip shakes."""
    draw = np.random.default_rng(0)
    frames = np.repeat(draw.random((3, 1, 2, 24, 30)) ** 2, 16, axis=1)
    for t in range(16):
        frames[:, t, :, 5:12, t : t + 6] = [[[[0.9]], [[0.2]]]]
        frames[2, t] = np.roll(frames[2, t], 2 * t, axis=-1)
    past, truth = frames[:, :12], frames[:, 12:]
    forecast = past[:, -1:] + draw.normal(0.03, 0.1, truth.shape)
    past, forecast, truth = (torch.from_numpy(each).float() for each in (past, forecast, truth))
    return past, forecast, truth


PAST, FORECAST, TRUTH = film()
BACKGROUND = np.median(PAST[:2, -10:].numpy(), axis=1, keepdims=True)
THRESHOLD, SIDE = 0.5, 3


def mean_over_frames(score: Callable[[np.ndarray, np.ndarray], float]) -> Reference:
    """The mean of a score of single frames (C,H,W); NaN does not count."""

    def mean(P: np.ndarray, Y: np.ndarray) -> float:
        frames = (X.reshape(-1, *X.shape[2:]) for X in (P, Y))
        return np.nanmean([score(p, y) for p, y in zip(*frames, strict=True)])

    return mean


def sum_of(values: np.ndarray) -> float:
    return np.nan if np.isnan(values).all() else np.nansum(values)


def decibels(P: np.ndarray, Y: np.ndarray) -> float:
    return -10 * np.log10(np.nanmean((P.clip(0, 1) - Y) ** 2)) if np.isfinite(Y).any() else np.nan


def cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        seen, not_seen = (np.log(part).clip(-100) for part in (p.clip(0, 1), 1 - p.clip(0, 1)))
    return sum_of(-y * seen - (1 - y) * not_seen)


def windows(values: np.ndarray, side: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, (side, side), axis=(-2, -1))


def ssim(data_range: float) -> Reference:
    """The map of scikit-image, averaged over windows without a missing value."""

    def of_frame(p: np.ndarray, y: np.ndarray) -> float:
        channels = []
        for x, truth in zip(p.clip(0, 1), y, strict=True):
            seen = np.nan_to_num(truth)
            each = structural_similarity(seen, x, data_range=data_range, full=True)[1]
            whole = ~np.isnan(windows(truth, 7)).any(axis=(-2, -1))
            channels += [each[3:-3, 3:-3][whole].mean()] if whole.any() else []
        return np.mean(channels) if channels else np.nan

    return mean_over_frames(of_frame)


def slope(x: np.ndarray) -> float:
    dx, dy = np.diff(x, axis=-1)[..., :-1, :], np.diff(x, axis=-2)[..., :-1]
    return np.nansum(np.hypot(dx, dy))


def power_at_8(P: np.ndarray, Y: np.ndarray) -> float:
    """Power in a Hann window at wavelengths of 8 pixels, half an octave wide."""
    h, w = Y.shape[-2:]
    window = np.outer(*(np.hanning(side + 1)[:-1] for side in (h, w)))
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w))
    band = (frequency > 2**-0.25 / 8) & (frequency < 2**0.25 / 8)
    whole = np.isfinite(Y).all(axis=(2, 3, 4))

    def power(X: np.ndarray) -> float:
        mean = (X * window).sum(axis=(-2, -1), keepdims=True) / window.sum()
        return (np.abs(np.fft.fft2((X - mean) * window)) ** 2)[..., band].sum()

    return power(P[whole]) / power(Y[whole])


def correlation(P: np.ndarray, Y: np.ndarray) -> float:
    known = np.isfinite(Y)
    return np.corrcoef(P[known], Y[known])[0, 1]


def moving(P: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """Only the first two clips have a fixed camera."""
    known = np.isfinite(Y[:2]).all(axis=2)
    p, y = (np.abs(X[:2] - BACKGROUND).mean(axis=2)[known] for X in (P, Y))
    moves, moved = p > 0.1, y > 0.1
    return {
        "moving_area": moves.sum() / moved.sum(),
        "moving_mass": p[moves].sum() / y[moved].sum(),
        "moving_csi": (moves & moved).sum() / (moves | moved).sum(),
        "moving_pixels": moved.sum(),
        "moving_frames": known.any(axis=(2, 3)).sum(),
    }


def events(P: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    known = np.isfinite(Y)
    p, y = (X[known] >= THRESHOLD for X in (P, Y))
    H, M, A, N = (p & y).sum(), (~p & y).sum(), (p & ~y).sum(), (~p & ~y).sum()
    return {
        "csi": H / (H + M + A),
        "pod": H / (H + M),
        "far": A / (H + A),
        "hss": 2 * (H * N - M * A) / ((H + M) * (M + N) + (H + A) * (A + N)),
        "bias": (H + A) / (H + M),
        "events": H + M,
        f"fss {SIDE}": fractions_skill(P, Y),
    }


def fractions_skill(P: np.ndarray, Y: np.ndarray) -> float:
    whole = ~np.isnan(windows(Y, SIDE)).any(axis=(-2, -1))
    Pf, Po = (windows(X >= THRESHOLD, SIDE).mean(axis=(-2, -1))[whole] for X in (P, Y))
    return 1 - ((Pf - Po) ** 2).sum() / (Pf**2 + Po**2).sum()


def named(scores: Callable[[np.ndarray, np.ndarray], dict], name: str) -> Reference:
    return lambda P, Y: scores(P, Y)[name]


REFERENCES: dict[str, dict[str, Reference]] = {
    "standard": {
        "mse": lambda P, Y: np.nanmean((P - Y) ** 2),
        "mae": lambda P, Y: np.nanmean(np.abs(P - Y)),
        "psnr": decibels,
        "ssim": ssim(1),
        "sharpness": lambda P, Y: slope(P.clip(0, 1) + 0 * Y) / slope(Y),
        "power_at_8": power_at_8,
        "correlation": correlation,
    },
    "openstl": {
        "mse": mean_over_frames(lambda p, y: sum_of((p - y) ** 2)),
        "mae": mean_over_frames(lambda p, y: sum_of(np.abs(p - y))),
        "bce": mean_over_frames(cross_entropy),
        "psnr": mean_over_frames(decibels),
        "ssim": ssim(2),
    },
    "physical": {
        "rmse": lambda P, Y: 10 * np.sqrt(np.nanmean((P - Y) ** 2)),
        "mae": lambda P, Y: 10 * np.nanmean(np.abs(P - Y)),
        "bias": lambda P, Y: 10 * np.nanmean(P - Y),
    },
    "moving": {name: named(moving, name) for name in SCORES["moving"]},
    "275 K": {name: named(events, name) for name in event_scores([1], [SIDE])["1"]},
}


def filled(P: torch.Tensor, Y: torch.Tensor, batch: int = 2) -> Scorecard:
    """Scores of each convention; values of 0 to 1 are 270 to 280 K."""
    scores = scores_of("K", [270 + 10 * THRESHOLD], [SIDE], background=True)
    card = Scorecard(Y.shape[1], scores, lambda x: 10 * x + 270)
    background = background_of(PAST)
    for k in range(0, len(P), batch):
        some = slice(k, k + batch)
        card.update(P[some], Y[some], background[some])
    return card


def gappy(Y: torch.Tensor) -> torch.Tensor:
    """A corner, a value, a channel and a frame are missing; each lead time has whole frames."""
    Y = Y.clone()
    Y[0, 1:, :, :9, :9] = torch.nan
    Y[0, 1, 0, 12, 15] = torch.nan
    Y[2, 1, 1:] = torch.nan
    Y[1, 0] = torch.nan
    return Y


@pytest.fixture(params=[TRUTH, gappy(TRUTH)], ids=["whole", "gaps"], scope="module")
def scored(request) -> tuple[torch.Tensor, dict]:
    return request.param, filled(FORECAST, request.param).table()


@pytest.mark.parametrize(
    ("convention", "name"), [(of, name) for of, scores in REFERENCES.items() for name in scores]
)
def test_scores_equal_explicit_loops(convention: str, name: str, scored) -> None:
    """By lead time and overall."""
    truth, table = scored
    P, Y = FORECAST.double().numpy(), truth.double().numpy()
    reference, got = REFERENCES[convention][name], table[convention][name]
    leads = [reference(P[:, t : t + 1], Y[:, t : t + 1]) for t in range(4)]
    assert got["per_lead"] == pytest.approx(leads, rel=3e-5)
    assert got["overall"] == pytest.approx(reference(P, Y), rel=3e-5)
    assert np.abs(leads).min() > 1e-3  # not zero by chance


def test_each_score_has_a_reference() -> None:
    """A new score needs a line in REFERENCES; MS-SSIM of large frames has tests of its own."""
    for convention, scores in SCORES.items():
        assert scores.keys() - {"ms_ssim"} == REFERENCES[convention].keys()


def test_the_background_is_the_median_of_a_fixed_camera() -> None:
    for frames in (PAST, PAST[:, :3]):
        got = background_of(frames)
        expected = np.median(frames[:2, -10:].numpy(), axis=1, keepdims=True)
        np.testing.assert_allclose(got[:2].numpy(), expected, atol=1e-7)
        assert got[2].isnan().all()


def test_large_frames_are_scored_a_few_lead_times_at_a_time(monkeypatch) -> None:
    P, Y = pair(t=6)
    Y[:, 3, :, :5] = torch.nan
    scores = scores_of("mm/h", [0.5], [3])
    del scores["standard"]["power_at_8"]  # matrix products of other sizes are rounded differently
    whole, parts = (Scorecard(6, scores) for _ in range(2))
    whole.update(P, Y)
    monkeypatch.setattr(scorecard, "STRETCH", 0)
    parts.update(P, Y)
    assert whole.clips == parts.clips == len(P)
    assert repr(whole.table()) == repr(parts.table())


@pytest.mark.parametrize(
    ("P", "Y", "expected"),
    [
        (TRUTH, TRUTH, {"mse": 0, "psnr": math.inf, "ssim": 1, "sharpness": 1, "correlation": 1}),
        (0 * TRUTH, TRUTH, {"sharpness": 0, "power_at_8": 0, "correlation": math.nan}),
        (10 * TRUTH + 1, TRUTH, {"sharpness": 0, "correlation": 1}),  # clipped: all white
        (1 - TRUTH, TRUTH, {"correlation": -1}),
        (TRUTH, 0 * TRUTH + 1 / 3, {"sharpness": math.nan, "correlation": math.nan}),
        (TRUTH[..., :6, :], TRUTH[..., :6, :], {"mse": 0, "ssim": math.nan}),  # smaller than 7x7
    ],
)
def test_extreme_forecasts(P: torch.Tensor, Y: torch.Tensor, expected: dict) -> None:
    card = Scorecard(4, {"standard": {name: SCORES["standard"][name] for name in expected}})
    card.update(P, Y)
    got = {name: values["overall"] for name, values in card.table()["standard"].items()}
    assert got == pytest.approx(expected, abs=2e-5, nan_ok=True)


def test_values_at_the_threshold_are_events() -> None:
    card = Scorecard(1, event_scores((2, 3), (3, 5)))
    card.update(torch.full((1, 1, 1, 4, 4), 2.0), torch.full((1, 1, 1, 4, 4), 2.0))
    got = card.table()
    assert got["2"]["csi"]["overall"] == got["2"]["fss 3"]["overall"] == 1
    assert math.isnan(got["2"]["fss 5"]["overall"])  # no such window fits
    assert got["3"].pop("events")["overall"] == 0
    assert all(math.isnan(score["overall"]) for score in got["3"].values())


def test_misuse() -> None:
    with pytest.raises(ValueError, match="take 5"):
        event_scores((1,), (4,))
    with pytest.raises(ValueError, match=r"once each, not 1, 1\.0"):
        event_scores((1, 1.0))
    with pytest.raises(ValueError, match="empty"):
        Scorecard(4, scores_of()).table()
    with pytest.raises(ValueError, match=r"must both be \(B,4,C,H,W\)"):
        Scorecard(4, scores_of()).update(*(one[:, :3] for one in pair()))
