"""Power spectra of frames, averaged over directions."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics.pair import Frames, Members, Pair
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio, whole_frames

WAVELENGTHS = tuple(2 ** (half / 2) for half in range(2, 17))
"""Pixels: 2 to 256, two bands an octave, each from 2^-1/4 to 2^1/4 of its wavelength. A spectrum
has a number for each; NaN if the frame has no such wave.
"""
EIGHT = WAVELENGTHS.index(8.0)  # pixels: a stroke or a shower, lost in blurred forecasts

PerBand = Float[Tensor, "bands b t"]


def spectral_scores() -> dict[str, Score]:
    """Return `spectrum` (the mean power of the members), `spectrum_of_mean` and
    `spectrum_of_truth`, with a number for each of `WAVELENGTHS`. `power_at_8` and
    `power_of_mean_at_8` are the first two over the third at 8 pixels. The last accepts a `Pair`.

    The power of a wave is |F|^2, scaled to sum up to the frame's variance. The power of a band is
    the mean over its waves in all directions. Channels are averaged, as are frames without a
    missing value.
    """
    return {
        "spectrum": Score(ratio, _of_members, whole_frames),
        "spectrum_of_mean": Score(ratio, _of_mean, whole_frames),
        "spectrum_of_truth": Score(ratio, _of_truth, whole_frames),
        "power_at_8": Score(lambda X, Y: ratio(X[EIGHT], Y[EIGHT]), _of_members, _of_truth),
        "power_of_mean_at_8": Score(lambda P, Y: ratio(P[EIGHT], Y[EIGHT]), _of_mean, _of_truth),
    }


def power(X: Frames) -> PerBand:
    """Return the power of each frame in each band, averaged over channels.

    Frames are not periodic, and the jump between opposite edges would look like fine detail.
    Therefore the mean is removed and a Hann window applied (Harris 1978).
    """
    b, t, c, h, w = X.shape
    window = torch.outer(*(torch.hann_window(side, device=X.device) for side in (h, w)))
    mean = (X * window).sum(dim=(3, 4), keepdim=True) / window.sum()
    waves = torch.fft.rfft2((X - mean) * window).abs().square()
    waves = waves.mean(dim=2) / (window.square().mean() * (h * w) ** 2)
    return (waves.flatten(2) @ _bands(h, w).to(X.device)).movedim(-1, 0)


@lru_cache(1)
@torch.inference_mode(False)
def _bands(h: int, w: int) -> Float[Tensor, "waves bands"]:
    """Return the weights of the waves of `rfft2` for each band; NaN for bands without waves."""
    columns = torch.fft.rfftfreq(w)
    frequency = torch.hypot(torch.fft.fftfreq(h)[:, None], columns[None]).flatten()
    half_octaves = (2 * -frequency.log2()).round() - 2  # of the wavelength; infinite for the mean
    # Waves with a mirror image, which `rfft2` omits, count twice.
    twice = (1.0 + ((columns > 0) & (columns < 0.5))).repeat(h)[:, None]
    marks = twice * (half_octaves[:, None] == torch.arange(len(WAVELENGTHS)))
    return marks / marks.sum(dim=0)


def _of_members(members: Members) -> PerBand:
    each = [power(x) for x in members.X.unbind(dim=1)]  # one by one: complex numbers fill memory
    return _where_whole(members, torch.stack(each).mean(dim=0))


def _of_mean(pair: Pair) -> PerBand:
    return _where_whole(pair, power(pair.P))


def _of_truth(pair: Pair) -> PerBand:
    return _where_whole(pair, power(pair.Y))


def _where_whole(pair: Pair, of_frames: PerBand) -> PerBand:
    return of_frames.where(pair.computed(whole_frames) > 0, 0)
