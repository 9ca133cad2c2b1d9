"""Scores of forecasts: an entry of `SCORES` and a function of forecast and truth each."""

from collections.abc import Sequence

from foreframe.evaluation.metrics import sums
from foreframe.evaluation.metrics.ensemble_scorecard import EnsembleScorecard, ensemble_scores
from foreframe.evaluation.metrics.events import event_scores
from foreframe.evaluation.metrics.moving import MOVING
from foreframe.evaluation.metrics.pair import Pair, clipped, in_units
from foreframe.evaluation.metrics.scorecard import Score, Scorecard, Scores
from foreframe.evaluation.metrics.spectra import spectral_scores
from foreframe.evaluation.metrics.structural import (
    SMALLEST,
    frames_with_windows,
    multiscale_similarity,
    similarity,
)

SCORES: dict[str, dict[str, Score]] = {
    "standard": {
        "mse": Score(sums.ratio, sums.squared_error, sums.values, perfect=0),
        "mae": Score(sums.ratio, sums.absolute_error, sums.values),
        "psnr": Score(sums.decibels, clipped(sums.squared_error), sums.values),
        "ssim": Score(sums.ratio, similarity(1.0), frames_with_windows, perfect=1),
        "ms_ssim": Score(sums.ratio, multiscale_similarity, sums.whole_frames, side=SMALLEST),
        "sharpness": Score(sums.ratio, sums.slope_of_forecast, sums.slope_of_truth),
        "power_at_8": spectral_scores()["power_of_mean_at_8"],
        "correlation": Score(sums.pearson, sums.values, sums.moments),
    },
    "openstl": {
        "mse": Score(sums.ratio, sums.squared_error, sums.frames),
        "mae": Score(sums.ratio, sums.absolute_error, sums.frames),
        "bce": Score(sums.ratio, sums.cross_entropy, sums.frames),
        "psnr": Score(sums.ratio, sums.peak_signal_to_noise, sums.frames),
        "ssim": Score(sums.ratio, similarity(2.0), frames_with_windows),
    },
    "physical": {
        "rmse": Score(sums.root_ratio, in_units(sums.squared_error), sums.values, perfect=0),
        "mae": Score(sums.ratio, in_units(sums.absolute_error), sums.values),
        "bias": Score(sums.ratio, in_units(sums.error), sums.values),
    },
    "moving": MOVING,
}
"""Every score by its convention and name, for a forecast P and a truth Y:

- `standard`: MSE and MAE are means over values. PSNR = -10 log10 of the mean of all clipped squared
  errors. SSIM has L = 1. MS-SSIM is defined for frames without a missing value and with at least
  161 pixels a side. Sharpness is the summed gradient magnitude of P over that of Y (below 1 if
  blurred, NaN if Y is flat). `power_at_8` is the power of P over that of Y at wavelengths of about
  8 pixels (`spectral_scores`). Correlation is Pearson's over all values of all clips.
- `openstl` (OpenSTL, openstl/core/metrics.py): MSE and MAE are **sums** over C,H,W, averaged over
  frames, like the binary cross-entropy in nats, which OpenSTL lacks. PSNR is averaged over frames.
  SSIM has L = 2, which is 0.03 higher, and 0.07 higher for blurred forecasts.
- `physical`, in the data's units: RMSE, MAE and bias over all values of all clips. The bias is
  positive if forecasts are too high.
- `moving`, for films of a fixed camera (`moving.background_of`). B is the median of the last ten
  past frames. A pixel moves if its deviation |P - B|, averaged over channels, exceeds .1. The area
  is the number of moving pixels of P over that of Y. The mass is the sum of their deviations, P
  over Y. CSI = H / (moving in P or Y), with H pixels that move in both. `moving_pixels` and
  `moving_frames` are counts: moving pixels of Y, and frames of a fixed camera.

Forecasters are ranked by the scores with a value for a perfect forecast.

In the first two conventions, PSNR, SSIM, MS-SSIM and sharpness clip P to [0,1]. The other scores do
not. Missing values are never scored (see `Pair`).
"""


def scores_of(
    units: str = "",
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
    side: int = 0,
    background: bool = False,
) -> dict[str, dict[str, Score]]:
    """Return the scores of data by convention and name; raises as `event_scores`.

    Args:
        units: of the data; with units there is `physical`.
        thresholds, scales: as in `event_scores`; each threshold is a convention.
        side: the shorter side of frames in pixels; scores of larger frames are left out.
        background: whether to include `moving`.
    """
    conventions = ["standard", "openstl"]
    conventions += ["physical"] if units else []
    conventions += ["moving"] if background else []
    return {
        name: {key: score for key, score in SCORES[name].items() if score.side <= side}
        for name in conventions
    } | event_scores(thresholds, scales, units)


__all__ = [
    "SCORES", "EnsembleScorecard", "Pair", "Score", "Scorecard", "Scores",
    "ensemble_scores", "event_scores", "scores_of",
]  # fmt: skip
