"""Scores of forecasts: each is an entry of `SCORES` and a function of forecast and truth."""

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
    structural_similarity,
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
        "correlation": Score(sums.pearson, sums.values, *sums.MOMENTS),
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
"""Every score by its convention and name. With P (forecast) and Y (truth), n frames at a lead time,
D = C*H*W values a frame:

- `standard`: MSE and MAE are means a pixel; PSNR = -10 log10 of the mean of all clipped squared
  errors; SSIM with L = 1, and MS-SSIM of frames without a missing value, for films of 161 pixels or
  more a side alone; sharpness is the summed gradient magnitude of P over that of Y (below 1:
  blurred; NaN where Y is flat), `power_at_8` the power of P at wavelengths of about 8 pixels over
  that of Y (`spectral_scores`); correlation is Pearson's, over all values of all clips at once.
- `openstl` (OpenSTL, openstl/core/metrics.py): MSE and MAE are **sums** over C,H,W, averaged over
  frames, and so is the binary cross-entropy in nats, which OpenSTL lacks; PSNR is averaged over
  frames; SSIM has data range L = 2, which reads higher: by 0.03, by 0.07 where blurred.
- `physical`, in the data's own units: RMSE and MAE over all values of all clips at once, and the
  bias, which is above 0 where forecasts are too high.
- `moving`, for films of a fixed camera (`moving.background_of`). B is the median of the last ten
  past frames. A pixel moves if its deviation |P - B|, averaged over channels, exceeds .1. The area
  is the number of moving pixels of P over that of Y. The mass is the sum of their deviations, P
  over Y. CSI = H / (moving in P or Y), with H pixels that move in both. `moving_pixels` and
  `moving_frames` are counts: moving pixels of Y, and frames of a fixed camera.

Forecasters are ranked by the scores with a value for a perfect forecast.

In the first two, MSE, MAE and power take P as it is, PSNR, SSIM, MS-SSIM and sharpness P clipped to
[0,1]. Missing values are never scored (see `Pair`).
"""


def scores_of(
    units: str = "",
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
    side: int = 0,
    background: bool = False,
) -> dict[str, dict[str, Score]]:
    """The scores of data in these units: `physical` only with units, and a convention for each
    threshold (see `event_scores`, also for errors). Those that need large frames only where their
    shorter side is `side`, in pixels. `moving` only with a background.
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
    "ensemble_scores", "event_scores", "scores_of", "structural_similarity",
]  # fmt: skip
