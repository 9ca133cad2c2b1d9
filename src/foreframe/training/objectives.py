"""Losses, teacher forcing and scheduled sampling; models themselves never see the future."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.models import Model, State, members, parts_of, with_known
from foreframe.models.interface import TrainingForecast, concat_inputs

POOLS = (1, 2, 4, 8, 16)
FAIR = 0.95

Frames = Float[Tensor, "b t c h w"]
Forecasts = Float[Tensor, "b s _ h w"]  # fewer frames than the clips have, and no inputs


def mse(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Return the mean of (P-Y)^2 over known values."""
    return _mean(F.mse_loss(P, Y.nan_to_num(0.0), reduction="none"), Y.isfinite())


def mae(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Return the mean of |P-Y| over known values."""
    return _mean(F.l1_loss(P, Y.nan_to_num(0.0), reduction="none"), Y.isfinite())


def cross_entropy(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Return the mean of -(Y log P + (1-Y) log(1-P)) over known values (Shi et al. 2015, section
    4.1, who sum it); P in (0,1).

    Computed in float32 outside autocast, for logarithms near 0 and 1. Truth beyond [0,1], possible
    for fitted scalings, is clipped.
    """
    with torch.autocast(P.device.type, enabled=False):
        target = Y.nan_to_num(0.0).float().clamp(0, 1)
        return _mean(F.binary_cross_entropy(P.float(), target, reduction="none"), Y.isfinite())


def mix(P: Frames, Y: Frames, share: float = 0.5) -> Float[Tensor, ""]:
    """Return (1 - share) times the mean squared error plus share times the mean absolute error.

    Consider a pixel that is 1 with probability p, and 0 otherwise. The squared error is smallest at
    p, a haze around uncertain objects. The mix is smallest at (p - s/2) / (1 - s), clipped to
    [0,1], with s the share.
    """
    return (1 - share) * mse(P, Y) + share * mae(P, Y)


def geometric(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Return the mean over clips of log(1 + e / 1e-5), with e the clip's mean squared error over
    all lead times. It minimizes the geometric mean of the clips' errors: an error lower by a tenth
    counts the same in a predictable clip as in an unpredictable one.
    """
    known = Y.isfinite()
    error = _mean((P - Y.where(known, 0)).square(), known, (1, 2, 3, 4))
    return (error / 1e-5).log1p().mean()


def rain(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Return a loss for rain on a logarithmic scale from 0.5 to 100 mm/h. With e the squared error
    of a clip's lead time on that scale, and E the same in 100 mm/h, it is

        mean over clips and lead times of  (log(1 + e / 1e-4) + log(1 + E / 1e-6)) / 2

    An error lower by a tenth counts the same in every storm and at every lead time. E is dominated
    by heavy rain, e by light rain.
    """
    known, frame = Y.isfinite(), (2, 3, 4)
    with torch.autocast(P.device.type, enabled=False):
        P, Y = P.float(), Y.float().where(known, 0)
        amounts = [torch.expm1(x.clamp(0, 1.2) * math.log(201)) / 200 for x in (P, Y)]
        e, E = (_mean((a - b).square(), known, frame) for a, b in ((P, Y), amounts))
        return ((e / 1e-4).log1p() + (E / 1e-6).log1p()).mean() / 2


def _mean(values: Tensor, known: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Return the mean of known values over these axes, or all; 0 without any."""
    return (values * known).sum(axes) / known.sum(axes).clamp(min=1)


def crps(
    P: Float[Tensor, "bm t c h w"], Y: Float[Tensor, "b t c h w"], pools: Sequence[int] = POOLS
) -> Float[Tensor, ""]:
    """Return the almost fair CRPS of M members x_i of each clip and its truth y,

        mean_i |x_i - y|  -  (1 - ε) / (2 M (M - 1)) · Σ_{i≠j} |x_i - x_j|,    ε = (1 - α) / M

    with α = .95 (Lang et al. 2024, arXiv 2412.15832, equation 4). α = 0 is the usual CRPS. α = 1 is
    the fair CRPS (Ferro 2014), which is smallest if members have the distribution of the truth, for
    any number of members, but leaves one of two members undetermined.

    It is averaged over means of k x k pixels for each k of `pools` and of the whole frame, weighted
    by side: k, or half the frame's. A CRPS of pixels alone would favour members with pixelwise
    noise. Equal weights of all sizes would favour members that differ in brightness. Computed in
    float32 outside autocast; missing values (NaN) of Y are ignored.

    Args:
        P: M members for each clip, the first clip's first, as from
            `foreframe.models.members`; M = 1 gives the mean absolute error.
        Y: the truth.
        pools: sides in pixels; those beyond the frame's shorter side are skipped.
    """
    with torch.autocast(P.device.type, enabled=False):
        h, w = Y.shape[-2:]
        sides = [k for k in pools if k < min(h, w)]
        valid = Y.isfinite()
        x, y = P.float().unflatten(0, (len(Y), -1)), Y.float().unsqueeze(1)
        if valid.all():
            known = None
        else:  # sums of known values, and their share
            known = valid.float().unsqueeze(1)
            x, y = x * known, y.nan_to_num(0.0)
        maps = {1: (x, y, known)}
        for k in sorted({*sides} - {1}):
            # From the means of smaller squares that tile these, which are fewer than the pixels.
            finer = max(side for side in maps if k % side == h % side == w % side == 0)
            maps[k] = _pooled(maps[finer], k // finer)
        maps[0] = _pooled(maps[1], 0)
        losses = [k * _at(*maps[k]) for k in sides] + [max(1.0, min(h, w) / 2) * _at(*maps[0])]
        return torch.stack(losses).sum() / (sum(sides) + max(1.0, min(h, w) / 2))


Maps = tuple[Tensor, Tensor, Tensor | None]  # (b,m,t,c,h,w), (b,1,t,c,h,w); None: all known


def _at(x: Tensor, y: Tensor, known: Tensor | None) -> Tensor:
    """Return the loss at one scale: each place is weighted by its share of known values."""
    if known is not None:
        x, y = x / known.clamp(min=1e-6), y / known.clamp(min=1e-6)
    M = x.shape[1]
    error = (x - y).abs().mean(dim=1, keepdim=True)
    if M > 1:
        epsilon = (1 - FAIR) / M
        each = x.split(1, dim=1)
        apart = [(a - b).abs() for a, b in combinations(each, 2)]
        error = error - (1 - epsilon) / (M * (M - 1)) * sum(apart[1:], apart[0])
    if known is None:
        return error.mean()
    return (error * known).sum() / known.sum().clamp(min=1e-6)


def _pooled(maps: Maps, k: int) -> Maps:
    """Return the means of k x k pixels, or of the whole frame for k = 0."""

    def means(x: Tensor) -> Tensor:
        if k == 0:
            return x.mean(dim=(-2, -1), keepdim=True)
        return F.avg_pool2d(x.flatten(0, -4), k, ceil_mode=True).unflatten(0, x.shape[:-3])

    x, y, known = maps
    return means(x), means(y), None if known is None else means(known)


Loss = Callable[..., Tensor]
"""Maps forecasts and truth, both (B,T,C,H,W), to a number. Missing truth is NaN."""

LOSSES: dict[str, Loss] = {
    "mse": mse, "mae": mae, "cross_entropy": cross_entropy, "mix": mix, "geometric": geometric,
    "rain": rain, "crps": crps,
}  # fmt: skip


def shortened(
    clips: Frames, window: Window, least_past: int
) -> tuple[Float[Tensor, "b _ c h w"], Window]:
    """Drop some of the first past frames of all clips of a batch, so that the remaining number is
    uniform between `least_past` and all. Returns the clips and their window, unchanged if
    `least_past` is 0 or the whole past.
    """
    if not 0 < least_past < window.past:
        return clips, window
    left_out = int(torch.randint(window.past - least_past + 1, (), device="cpu"))
    return clips[:, left_out:], Window(window.past - left_out, window.future, window.stride)


def forecast(network: Model, clips: Frames, window: Window, count: int = 0) -> TrainingForecast:
    """Forecast the future from the past, the plain objective. The forecast and its truth are both
    (B,future,C,H,W); with `count` there are that many members of each clip, the first clip's first.
    For a model with noise in training each clip is at least one member.

    Missing values (NaN) of the past are filled (`fill_missing`). The losses ignore missing truth.
    """
    past, known, truth, _ = parts_of(clips, window, network.inputs)
    state = network.encode(past)
    state = state if known is None else with_known(state, known)
    if count:
        state = network.precompute(state, window.future)
        seeds = torch.randint(2**62, (len(clips),), device="cpu")
        state = members(state, count, seeds)
    made, state = network.rollout(state, window.future)
    return TrainingForecast(made, truth, state)


def next_frames(
    network: Model,
    clips: Frames,
    window: Window,
    truth_share: float,
    past_share: float = 1.0,
) -> TrainingForecast:
    """Forecast every next frame with scheduled sampling (Bengio et al. 2015, arXiv 1506.03099), as
    OpenSTL trains recurrent models.

    Each step reads either the true frame or the network's own forecast. The probability of the true
    frame is `truth_share` in the future, and `past_share` in the past after the first frame. The
    result has all past+future-1 one-step forecasts, and their truth. Only the model interface is
    used (encode and decode single frames), so it works for any model. It is cheap if decoding a
    frame is only the head, as in `NextFrame`.
    """
    c = clips.shape[2] - network.inputs
    truth = clips[:, 1 : window.length, :c]
    clips = fill_missing(clips[:, : window.length])[0]
    b, t = clips.shape[:2]
    share = torch.full((t - 1,), truth_share)
    share[: window.past], share[0] = past_share, 1.0
    true = torch.rand(b, t - 1) < share  # on the CPU: the same draw on any device
    true_here = true.to(clips.device).view(b, t - 1, 1, 1, 1)
    state: State | None = None
    forecasts = []
    shown = clips[:, :1]
    for step in range(t - 1):
        state = network.encode(shown, state)
        after = clips[:, step + 1 : step + 2]
        informed = with_known(state, after[:, :, c:]) if network.inputs else state
        made, rolled = network.rollout(informed, 1)
        forecasts.append(made)
        if step + 1 < t - 1:
            frame = concat_inputs(forecasts[-1], after[:, :, c:])
            shown = torch.where(true_here[:, step + 1 : step + 2], after, frame)
    return TrainingForecast(torch.cat(forecasts, dim=1), truth, rolled)


def truth_shares(
    step: int, sampling_steps: int, sampling: Literal["forward", "reverse"]
) -> tuple[float, float]:
    """Return scheduled sampling's probabilities of a true frame, in the past and in the future.

    "forward": 1 in the past; in the future linear from 1 to 0 at `sampling_steps`. "reverse" (Wang
    et al. 2021, arXiv 2103.09504, section 3.4, with the numbers of the authors' code): both 1/2 for
    the first half of the steps s. After that, 1 - exp(-(step - s/2) / (s/10)) / 2 in the past, and
    1 from s on; in the future linear from 1/2 to 0 at s.
    """
    done = step / sampling_steps
    if sampling == "forward":
        return 1.0, max(0.0, 1.0 - done)
    if done < 0.5:
        return 0.5, 0.5
    return 1.0 if done >= 1 else 1 - math.exp(5 - 10 * done) / 2, max(0.0, 1.0 - done)
