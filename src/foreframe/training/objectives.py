"""What training makes small. Teacher forcing and scheduled sampling live here: the models
themselves never see the future.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.models import Model, State, members, parts_of, with_known
from foreframe.models.interface import joined
from foreframe.training.crps import crps

Frames = Float[Tensor, "b t c h w"]
Forecasts = Float[Tensor, "b s _ h w"]  # fewer frames than the clips have, and no inputs


def mse(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over all values that are there of (P-Y)^2."""
    return _mean_there(lambda P, Y: F.mse_loss(P, Y, reduction="none"), P, Y)


def mae(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over all values that are there of |P-Y|."""
    return _mean_there(lambda P, Y: F.l1_loss(P, Y, reduction="none"), P, Y)


def cross_entropy(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over all values that are there of -(Y log P + (1-Y) log(1-P)) (Shi et al. 2015, section
    4.1, who sum it); P in (0,1).

    Computed in float32 outside autocast, where logarithms near 0 and 1 need it. Truth beyond [0,1],
    which a fitted scaling may give, counts as its end.
    """
    with torch.autocast(P.device.type, enabled=False):
        return _mean_there(
            lambda P, Y: F.binary_cross_entropy(P.float(), Y.float().clamp(0, 1), reduction="none"),
            P,
            Y,
        )


def mix(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Half mean squared, half mean absolute error."""
    return 0.5 * mse(P, Y) + 0.5 * mae(P, Y)


def balanced(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """`mix`, each value weighted by e^(6Y), at most 30: for rain on a logarithmic scale, where most
    of the sky is dry.

    After Shi et al. 2017 (arXiv 1706.03458, section 3.3), who weigh by steps in mm/h. On a scaling
    from 0.5 to 100 mm/h this is about 1, 2, 6, 15 and 30 at 0, 0.5, 2, 5 and 10 mm/h; theirs are 1,
    1, 2, 5 and 10.
    """

    def weighted(P: Tensor, Y: Tensor) -> Tensor:
        return 0.5 * torch.exp(6 * Y).clamp(max=30) * ((P - Y).square() + (P - Y).abs())

    return _mean_there(weighted, P, Y)


def relative(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over clips and lead times of the squared error in units of how much the truth changes
    over as many frames, which is about the error of the last frame repeated:

        mean over clips and k of  |P_k - Y_k|² / (D_k + 1e-5),   D_k = mean over t of |Y_t+k - Y_t|²

    So a clip in which little moves counts as much as another, and the first frame as much as the
    last, where a plain squared error is about the few clips that change most, at their ends. D of
    the last lead time, of which there is no pair, goes on from those before it. At most 50 a frame.
    """
    there, filled, frame = Y.isfinite().float(), Y.nan_to_num(0.0), (2, 3, 4)
    changes = [
        _mean((filled[:, k:] - filled[:, :-k]).square(), there[:, k:] * there[:, :-k], frame).mean(
            1
        )
        for k in range(1, Y.shape[1])
    ]
    # The error of a single frame has no change to be compared with.
    D = torch.stack(changes or [Y.new_ones(len(Y))], dim=1)
    if D.shape[1] > 1:
        D = torch.cat([D, (2 * D[:, -1:] - D[:, -2:-1]).clamp(min=D[:, -1:])], dim=1)
    D = D[:, [min(k, D.shape[1] - 1) for k in range(Y.shape[1])]]
    return (_mean((P - filled).square(), there, frame) / (D + 1e-5)).clamp(max=50).mean()


def geometric(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """Mean over clips of log(1 + e / 1e-5), e being the clip's mean squared error over all lead
    times: so the geometric mean of clips' errors becomes small. A tenth less counts as much in a
    clip that a baseline forecasts nearly without error as in one that nobody can.
    """
    there = Y.isfinite()
    error = _mean((P - Y.where(there, 0)).square(), there, (1, 2, 3, 4))
    return (error / 1e-5).log1p().mean()


def spectral(P: Frames, Y: Frames) -> Float[Tensor, ""]:
    """A loss that does not pay for fading: with F and G the Fourier transforms of P and Y,

        10 · mean of (|F| - |G|)²  +  0.1 · mean over lead times of
            1 - (Re Σ F G* + 1) / sqrt((Σ |F|² + 1) (Σ |G|² + 1))

    Amplitudes are to be as large as those of the truth, so that a forecast keeps its texture; where
    things are, phases say, by a correlation that a fainter forecast does not raise (after Yan et
    al. 2024, arXiv 2410.23159, who draw one of the two terms at each step). A squared error,
    instead, is smallest where what is unsure is faint. Sums are over clips and over the half of the
    frequencies that a real transform has. The ones keep frames of nothing from dividing by 0.
    """
    there = Y.isfinite()
    with torch.autocast(P.device.type, enabled=False):
        f, g = (
            torch.fft.rfft2(frames.float(), norm="ortho")
            for frames in (P.where(there, 0), Y.where(there, 0))
        )
        amplitude = (f.abs() - g.abs()).square().mean()
        together = (f * g.conj()).real.sum(dim=(0, 2, 3, 4)) + 1
        powers = [spectrum.abs().square().sum(dim=(0, 2, 3, 4)) + 1 for spectrum in (f, g)]
        correlation = together / (powers[0] * powers[1]).sqrt()
        return 10 * amplitude + 0.1 * (1 - correlation).mean()


def _mean_there(
    loss: Callable[[Tensor, Tensor], Tensor], P: Frames, Y: Frames
) -> Float[Tensor, ""]:
    """The mean of an elementwise loss over the values of Y that are not missing (NaN)."""
    return _mean(loss(P, Y.nan_to_num(0.0)), Y.isfinite())


def _mean(values: Tensor, there: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Over these axes, or all, of the values that are there; of none 0."""
    return (values * there).sum(axes) / there.sum(axes).clamp(min=1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse, "mae": mae, "cross_entropy": cross_entropy, "mix": mix, "balanced": balanced,
    "relative": relative, "geometric": geometric, "spectral": spectral, "crps": crps,
}  # fmt: skip


def shortened(
    clips: Frames, window: Window, least_past: int
) -> tuple[Float[Tensor, "b _ c h w"], Window]:
    """Clips without some first frames of their past, by chance, so that between `least_past` and
    all of them are left, each number as often; and the window that they are then of. All of the
    clips of a batch alike. 0, or as much as the past, leaves them as they are.
    """
    if not 0 < least_past < window.past:
        return clips, window
    left_out = int(torch.randint(window.past - least_past + 1, (), device="cpu"))
    return clips[:, left_out:], Window(window.past - left_out, window.future, window.stride)


def forecast(
    network: Model, clips: Frames, window: Window, truncate: int = 0, drawn: int = 0
) -> tuple[Float[Tensor, "bm s _ h w"], Forecasts]:
    """The plain objective: the future from the past. Returns the forecast and its truth,
    (B,future,C,H,W) both; with `drawn` that many members of each clip, the first clip's first. Of a
    model that draws in training each clip is one member at least.

    With `truncate`, what came before the last so many frames of the past is seen, but nothing is
    learnt through it (truncated backpropagation through time): memory no longer grows with the
    past.

    Missing values (NaN) of the past are filled (`fill_missing`); those of the truth stay, and the
    losses leave them out.
    """
    past, known, truth, _ = parts_of(clips, window, network.inputs)
    state: State | None = None
    if 0 < truncate < window.past:
        with torch.no_grad():
            state = network.encode(past[:, :-truncate])
        past = past[:, -truncate:]
    state = network.encode(past, state)
    state = state if known is None else with_known(state, known)
    if drawn:
        state = network.shared(state, window.future)
        state = members(state, drawn, _seeds(clips))
    return network.decode(state, window.future), truth


def next_frames(
    network: Model, clips: Frames, window: Window, truth_share: float, truncate: int = 0
) -> tuple[Forecasts, Forecasts]:
    """Every next frame, after scheduled sampling (Bengio et al. 2015, arXiv 1506.03099), as OpenSTL
    trains its recurrent models.

    The past is shown as it is. In the future each clip is shown the true frame with probability
    `truth_share`, else the network's own forecast of it. Returns all past+future-1 one-step
    forecasts and their truth. It uses only the model interface (one frame encoded, one
    decoded), so any of them can be trained so; it is cheap where decoding one frame is only the
    head, as in `NextFrame`. With `truncate`, gradients are cut off after every so many frames.
    """
    c = clips.shape[2] - network.inputs
    truth = clips[:, 1 : window.length, :c]
    clips = fill_missing(clips[:, : window.length])[0]
    b, t = clips.shape[:2]
    true = torch.rand(b, t - 1) < truth_share  # on the CPU: the same draw on any device
    true[:, : window.past] = True
    true_here = true.to(clips.device).view(b, t - 1, 1, 1, 1)
    state: State | None = None
    forecasts = []
    shown = clips[:, :1]
    for step in range(t - 1):
        if state is not None and truncate and step % truncate == 0:
            state = {name: value.detach() for name, value in state.items()}
            shown = shown.detach()
        state = network.encode(shown, state)
        after = clips[:, step + 1 : step + 2]
        told = with_known(state, after[:, :, c:]) if network.inputs else state
        own = network.decode(told, 1)
        forecasts.append(own)
        if step + 1 < t - 1:
            own = joined(own, after[:, :, c:])
            shown = torch.where(true_here[:, step + 1 : step + 2], after, own)
    return torch.cat(forecasts, dim=1), truth


def _seeds(clips: Frames) -> Int[Tensor, " b"]:
    """Of the clips' members, as torch's generator has them."""
    return torch.randint(2**62, (len(clips),), device="cpu")


def truth_share(step: int, sampling_steps: int) -> float:
    """Scheduled sampling's probability of a true frame: 1 at first, a straight line down to 0 at
    `sampling_steps`.
    """
    return max(0.0, 1.0 - step / sampling_steps)
