"""Losses, teacher forcing and scheduled sampling; models themselves never see the future."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
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
    """Mean of (P-Y)^2 over known values."""
    return _mean_known(lambda P, Y: F.mse_loss(P, Y, reduction="none"), P, Y)


def mae(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean of |P-Y| over known values."""
    return _mean_known(lambda P, Y: F.l1_loss(P, Y, reduction="none"), P, Y)


def cross_entropy(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean of -(Y log P + (1-Y) log(1-P)) over known values (Shi et al. 2015, section 4.1, who sum
    it); P in (0,1).

    Computed in float32 outside autocast, for logarithms near 0 and 1. Truth beyond [0,1], possible
    for fitted scalings, is clipped.
    """
    with torch.autocast(P.device.type, enabled=False):
        return _mean_known(
            lambda P, Y: F.binary_cross_entropy(P.float(), Y.float().clamp(0, 1), reduction="none"),
            P,
            Y,
        )


def mix(P: Frames, Y: Frames, share: float = 0.5) -> Float[Tensor, ""]:
    """Mean squared error, and so great a share of mean absolute error.

    Where a pixel is 1 with probability p, and else 0, the first is smallest at p, a haze around
    whatever is unsure; the mix with a share of s at (p - s/2) / (1 - s), cut off at 0 and 1.
    """
    return (1 - share) * mse(P, Y) + share * mae(P, Y)


def relative(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over clips and lead times of the squared error relative to the change of the truth over
    as many frames, about the error of persistence:

        mean over clips and k of  |P_k - Y_k|² / (D_k + 1e-5),   D_k = mean over t of |Y_t+k - Y_t|²

    Clips with little motion count as much as others, and early lead times as much as late ones,
    unlike in a plain squared error, which a few changing clips dominate. D of the last lead time,
    which has no pair, is extrapolated. At most 50 a frame.
    """
    known, filled, frame = Y.isfinite().float(), Y.nan_to_num(0.0), (2, 3, 4)
    changes = [
        _mean((filled[:, k:] - filled[:, :-k]).square(), known[:, k:] * known[:, :-k], frame).mean(
            1
        )
        for k in range(1, Y.shape[1])
    ]
    # A single frame has no change to compare with.
    D = torch.stack(changes or [Y.new_ones(len(Y))], dim=1)
    if D.shape[1] > 1:
        D = torch.cat([D, (2 * D[:, -1:] - D[:, -2:-1]).clamp(min=D[:, -1:])], dim=1)
    D = D[:, [min(k, D.shape[1] - 1) for k in range(Y.shape[1])]]
    return (_mean((P - filled).square(), known, frame) / (D + 1e-5)).clamp(max=50).mean()


def geometric(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over clips of log(1 + e / 1e-5), where e is the clip's mean squared error over all lead
    times: minimizes the geometric mean of the clips' errors. A tenth less error counts the same in
    a predictable clip as in an unpredictable one.
    """
    known = Y.isfinite()
    error = _mean((P - Y.where(known, 0)).square(), known, (1, 2, 3, 4))
    return (error / 1e-5).log1p().mean()


def rain(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """For rain on a logarithmic scale from 0.5 to 100 mm/h: with e the squared error of a clip's
    lead time on that scale, and E the same in 100 mm/h,

        mean over clips and lead times of  (log(1 + e / 1e-4) + log(1 + E / 1e-6)) / 2

    A tenth less error counts the same in every storm and at every lead time, in mm/h, where heavy
    rain decides, as on the logarithmic scale, where light rain does.
    """
    known, frame = Y.isfinite(), (2, 3, 4)
    with torch.autocast(P.device.type, enabled=False):
        P, Y = P.float(), Y.float().where(known, 0)
        amounts = [torch.expm1(x.clamp(0, 1.2) * math.log(201)) / 200 for x in (P, Y)]
        e, E = (_mean((a - b).square(), known, frame) for a, b in ((P, Y), amounts))
        return ((e / 1e-4).log1p() + (E / 1e-6).log1p()).mean() / 2


def _mean_known(
    loss: Callable[[Tensor, Tensor], Tensor], P: Frames, Y: Frames
) -> Float[Tensor, ""]:
    """The mean of an elementwise loss over the values of Y that are not missing (NaN)."""
    return _mean(loss(P, Y.nan_to_num(0.0)), Y.isfinite())


def _mean(values: Tensor, known: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """The mean of known values over these axes, or all; 0 without any."""
    return (values * known).sum(axes) / known.sum(axes).clamp(min=1)


def crps(
    P: Float[Tensor, "bm t c h w"], Y: Float[Tensor, "b t c h w"], pools: Sequence[int] = POOLS
) -> Float[Tensor, ""]:
    """The almost fair CRPS of M members x_i of each clip and its truth y,

        mean_i |x_i - y|  -  (1 - ε) / (2 M (M - 1)) · Σ_{i≠j} |x_i - x_j|,    ε = (1 - α) / M

    with α = .95 (Lang et al. 2024, arXiv 2412.15832, equation 4). At α = 1 it is the fair CRPS
    (Ferro 2014), which is smallest if members have the distribution of the truth, whatever their
    number, but leaves one of two members undetermined; at α = 0 it is the usual CRPS.

    It is averaged over means of k x k pixels for each k of `pools` and of the whole frame, weighted
    by side: k, or half the frame's. A CRPS of pixels alone would favour members with pixelwise
    noise, equal weights of all sizes members that differ in brightness. Computed in float32 outside
    autocast; missing values (NaN) of Y are ignored.

    Args:
        P: M members for each clip, those of the first clip first, as from
            `foreframe.models.members`; M = 1 gives the mean absolute error.
        Y: the truth.
        pools: sides in pixels; those beyond the frame's shorter side are skipped.

    Raises:
        ValueError: the number of forecasts is not a multiple of the number of clips.
    """
    M, rest = divmod(len(P), len(Y))
    if rest or M < 1:
        raise ValueError(f"{len(P)} forecasts are not as many for each of {len(Y)} clips")
    with torch.autocast(P.device.type, enabled=False):
        h, w = Y.shape[-2:]
        sides = [k for k in pools if k < min(h, w)]
        valid = Y.isfinite()
        x, y = P.float().unflatten(0, (-1, M)), Y.float().unsqueeze(1)
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
    """The loss at a scale: each place is weighted by its share of known values."""
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
    """The means of k x k pixels; of the whole frame for k = 0."""

    def means(x: Tensor) -> Tensor:
        if k == 0:
            return x.mean(dim=(-2, -1), keepdim=True)
        return F.avg_pool2d(x.flatten(0, -4), k, ceil_mode=True).unflatten(0, x.shape[:-3])

    x, y, known = maps
    return means(x), means(y), None if known is None else means(known)


Loss = Callable[..., Tensor]
"""Forecasts and their truth, (B,T,C,H,W) both and NaN where the truth is missing, to one number."""

LOSSES: dict[str, Loss] = {
    "mse": mse, "mae": mae, "cross_entropy": cross_entropy, "mix": mix, "relative": relative,
    "geometric": geometric, "rain": rain, "crps": crps,
}  # fmt: skip


def shortened(
    clips: Frames, window: Window, least_past: int
) -> tuple[Float[Tensor, "b _ c h w"], Window]:
    """Drop some of the first past frames of all clips of a batch, so that the number left is
    uniform between `least_past` and all. Returns the clips and their window; unchanged for 0, or as
    much as the past.
    """
    if not 0 < least_past < window.past:
        return clips, window
    left_out = int(torch.randint(window.past - least_past + 1, (), device="cpu"))
    return clips[:, left_out:], Window(window.past - left_out, window.future, window.stride)


def forecast(
    network: Model, clips: Frames, window: Window, truncate: int = 0, count: int = 0
) -> TrainingForecast:
    """The plain objective: the future from the past. The forecast and its truth are
    (B,future,C,H,W) both; with `count` that many members of each clip, the first clip's first. For
    a model with noise in training each clip is at least one member.

    With `truncate`, gradients are limited to the last so many frames of the past (truncated
    backpropagation through time), so that memory does not grow with the past.

    Missing values (NaN) of the past are filled (`fill_missing`); those of the truth are ignored by
    the losses.
    """
    past, known, truth, _ = parts_of(clips, window, network.inputs)
    state: State | None = None
    if 0 < truncate < window.past:
        with torch.no_grad():
            state = network.encode(past[:, :-truncate])
        past = past[:, -truncate:]
    state = network.encode(past, state)
    state = state if known is None else with_known(state, known)
    if count:
        state = network.precompute(state, window.future)
        state = members(state, count, _seeds(clips))
    made, state = network.rollout(state, window.future)
    return TrainingForecast(made, truth, state)


def next_frames(
    network: Model,
    clips: Frames,
    window: Window,
    truth_share: float,
    truncate: int = 0,
    past_share: float = 1.0,
) -> TrainingForecast:
    """Forecast every next frame with scheduled sampling (Bengio et al. 2015, arXiv 1506.03099), as
    OpenSTL trains recurrent models.

    In the future each clip is shown the true frame with probability `truth_share`, else the
    network's forecast; in the past, after the first frame, with probability `past_share`. The
    forecasts are all past+future-1 one-step ones, beside their truth. It uses only the model
    interface (encode and decode single frames), so it works for any model; it is cheap if decoding
    a frame is only the head, as in `NextFrame`. With `truncate`, gradients are cut off after every
    so many frames.
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
        if state is not None and truncate and step % truncate == 0:
            cut = [name for name in state if name not in network.accumulated_states]
            state = state | {name: state[name].detach() for name in cut}
            shown = shown.detach()
        state = network.encode(shown, state)
        after = clips[:, step + 1 : step + 2]
        informed = with_known(state, after[:, :, c:]) if network.inputs else state
        made, rolled = network.rollout(informed, 1)
        forecasts.append(made)
        if step + 1 < t - 1:
            frame = concat_inputs(forecasts[-1], after[:, :, c:])
            shown = torch.where(true_here[:, step + 1 : step + 2], after, frame)
    return TrainingForecast(torch.cat(forecasts, dim=1), truth, rolled)


def _seeds(clips: Frames) -> Int[Tensor, " b"]:
    """Seeds of the clips' members, from torch's generator."""
    return torch.randint(2**62, (len(clips),), device="cpu")


def truth_shares(
    step: int, sampling_steps: int, sampling: Literal["forward", "reverse"]
) -> tuple[float, float]:
    """Scheduled sampling's probabilities of a true frame, in the past and in the future.

    "forward": always in the past; in the future linear from 1 to 0 at `sampling_steps`. "reverse"
    (Wang et al. 2021, arXiv 2103.09504, section 3.4, with the numbers of the authors' code): both
    1/2 for the first half of the steps s; then in the past 1 - exp(-(step - s/2) / (s/10)) / 2, and
    1 from s on; in the future linear from 1/2 to 0 at s.
    """
    done = step / sampling_steps
    if sampling == "forward":
        return 1.0, max(0.0, 1.0 - done)
    if done < 0.5:
        return 0.5, 0.5
    return 1.0 if done >= 1 else 1 - math.exp(5 - 10 * done) / 2, max(0.0, 1.0 - done)
