"""Losses, forecasts and scheduled sampling, compared with loops and formulas in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from foreframe import Scaling, Window
from foreframe.clips.frames import fill_missing
from foreframe.models import build_model, preset
from foreframe.training import LearningOptions
from foreframe.training.module import ForecastModule
from foreframe.training.objectives import (
    FAIR,
    LOSSES,
    crps,
    forecast,
    next_frames,
    shortened,
    truth_shares,
)

to_mm_per_hour = Scaling(0.5, 100, "mm/h", "log").to_units


def geometric(P: np.ndarray, Y: np.ndarray) -> float:
    return np.mean([np.log1p(np.nanmean((p - y) ** 2) / 1e-5) for p, y in zip(P, Y, strict=True)])


def rain(P: np.ndarray, Y: np.ndarray) -> float:
    losses = []
    for p, y in zip(P.reshape(6, -1), Y.reshape(6, -1), strict=True):
        E = np.nanmean((to_mm_per_hour(p) - to_mm_per_hour(y)) ** 2) / 1e4
        losses.append((np.log1p(np.nanmean((p - y) ** 2) / 1e-4) + np.log1p(E / 1e-6)) / 2)
    return np.mean(losses)


FORMULAS = {
    "mse": lambda P, Y: np.nanmean((P - Y) ** 2),
    "mae": lambda P, Y: np.nanmean(abs(P - Y)),
    "cross_entropy": lambda P, Y: -np.nanmean(Y * np.log(P) + (1 - Y) * np.log(1 - P)),
    "mix": lambda P, Y: 0.5 * np.nanmean((P - Y) ** 2) + 0.5 * np.nanmean(abs(P - Y)),
    "geometric": geometric,
    "rain": rain,
}


def made(seed: int = 0, share: float = 0.4) -> tuple[Tensor, Tensor]:
    """Forecasts in (0,1) and truth, of which that share is missing, (B,T,C,H,W)."""
    draw = torch.Generator().manual_seed(seed)
    P, Y = (torch.rand(2, 3, 1, 4, 5, generator=draw) * 0.98 + 0.01 for _ in range(2))
    Y[torch.rand(Y.shape, generator=draw) < share] = torch.nan
    return P, Y


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_equals_its_formula_over_known_values(name: str) -> None:
    P, Y = made()
    expected = FORMULAS[name](P.double().numpy(), Y.double().numpy())
    assert LOSSES[name](P, Y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_missing_truth_has_no_gradient_and_no_influence(name: str) -> None:
    P, Y = made()
    P.requires_grad_()
    loss = LOSSES[name](P, Y)
    (gradient,) = torch.autograd.grad(loss, P)
    assert torch.equal(gradient == 0, Y.isnan())
    assert LOSSES[name](torch.where(Y.isnan(), 0.99, P), Y) == loss
    nothing = LOSSES[name](P, torch.full_like(Y, torch.nan))
    assert nothing == 0
    assert not torch.autograd.grad(nothing, P)[0].any()


@pytest.mark.parametrize(("share", "best"), [(0.0, 0.3), (0.4, 1 / 6), (0.7, 0.0)])
def test_the_mix_forecasts_the_likely_value(share: float, best: float) -> None:
    """Compares the best frame of pixels that are white in three of ten futures."""
    Y = torch.zeros(10, 1, 1, 1, 1)
    Y[:3] = 1
    learning = LearningOptions(loss="mix", mae_share=share)
    module = ForecastModule(build_model("persistence", {}), Window(1, 1), learning, {}, {})
    losses = [module._loss(torch.full_like(Y, k / 600), Y).item() for k in range(601)]
    assert np.argmin(losses) / 600 == pytest.approx(best, abs=2 / 600)


def crps_by_hand(x: Tensor, y: Tensor) -> float:
    """The mean of the almost fair CRPS of members (b,m,k) and truth (b,k)."""
    m = x.shape[1]
    error = (x - y.unsqueeze(1)).abs().mean().item()
    apart = (x.unsqueeze(2) - x.unsqueeze(1)).abs().sum(dim=(1, 2)).mean().item()
    return error - (1 - (1 - FAIR) / m) / (2 * m * max(1, m - 1)) * apart


@pytest.mark.parametrize("m", [1, 2, 5])
def test_crps_is_the_almost_fair_one_of_means_over_several_scales(m: int) -> None:
    torch.manual_seed(m)
    P, Y = torch.rand(2 * m, 3, 1, 6, 8), torch.rand(2, 3, 1, 6, 8)

    def mean(h: int, w: int) -> float:
        """Of rectangles of these sides."""
        x, y = (F.avg_pool2d(each.flatten(0, 2), (h, w)) for each in (P, Y))
        return crps_by_hand(x.view(2, m, -1), y.view(2, -1))

    wanted = (mean(1, 1) + 2 * mean(2, 2) + 3 * mean(6, 8)) / 6  # half of a side of 6 is 3
    assert float(crps(P, Y, [1, 2, 8])) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("holes", [False, True])
def test_crps_of_coarse_means_is_computed_from_finer_ones_or_from_pixels(holes: bool) -> None:
    """One side is computed from pixels, several from each other's means; 6 is not from 4."""
    torch.manual_seed(3)
    P, Y = torch.rand(4, 2, 1, 18, 20), torch.rand(2, 2, 1, 18, 20)
    if holes:
        Y[torch.rand(Y.shape) < 0.3] = torch.nan
    sides = [1, 2, 3, 4, 6, 8, 12]
    whole = float(crps(P, Y, []))  # of the whole frame alone, which counts as half a side of 18
    alone = [((k + 9) * float(crps(P, Y, [k])) - 9 * whole) / k for k in sides]
    wanted = sum(k * one for k, one in zip(sides, alone, strict=True)) + 9 * whole
    assert float(crps(P, Y, sides)) == pytest.approx(wanted / (sum(sides) + 9), rel=1e-5)


def test_crps_of_a_half_that_is_known_is_that_of_the_half() -> None:
    P, Y = torch.rand(4, 2, 1, 8, 16), torch.rand(2, 2, 1, 8, 16)
    Y[..., 8:] = torch.nan
    torch.testing.assert_close(crps(P, Y), crps(P[..., :8], Y[..., :8]))


@pytest.mark.parametrize("carried", [False, True])
def test_gaps_are_filled_forward(carried: bool) -> None:
    """In one piece and in two, also with a last frame from before."""
    _, frames = made(share=0.6)
    last = made(1, share=0.5)[1][:, 0] if carried else None
    value = torch.full((2, 1, 4, 5), torch.nan) if last is None else last
    expected = []
    for t in range(3):
        value = torch.where(frames[:, t].isnan(), value, frames[:, t])
        expected.append(value.nan_to_num(0))
    filled, after = fill_missing(frames, last)
    assert torch.equal(filled, torch.stack(expected, 1))
    torch.testing.assert_close(after, value, equal_nan=True)
    first, between = fill_missing(frames[:, :1], last)
    second, end = fill_missing(frames[:, 1:], between)
    assert torch.equal(torch.cat([first, second], 1), filled)
    torch.testing.assert_close(end, after, equal_nan=True)


@pytest.mark.parametrize("way", ["forecast", "next_frames"])
def test_networks_read_no_nan_in_training(way: str) -> None:
    torch.manual_seed(0)
    network = build_model("tutorial", {"core": {"convlstm": {"hidden": [4, 4]}}})
    clips, window = torch.rand(2, 5, 1, 8, 8), Window(3, 2)
    clips[torch.rand(clips.shape) < 0.3] = torch.nan
    if way == "forecast":
        (P, Y, _), first = forecast(network, clips, window), 3
    else:
        (P, Y, _), first = next_frames(network, clips, window, 0.5), 1
    torch.testing.assert_close(Y, clips[:, first:], equal_nan=True)
    assert P.isfinite().all()
    LOSSES["mse"](P, Y).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert max(gradient.abs().max() for gradient in gradients) > 0
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_shortened_clips_keep_their_end() -> None:
    clips, window = torch.rand(2, 9, 1, 3, 3), Window(6, 3)
    torch.manual_seed(0)
    drawn = [shortened(clips, window, 2) for _ in range(200)]
    lengths = [shorter.past for _, shorter in drawn]
    assert set(lengths) == {2, 3, 4, 5, 6}
    assert min(map(lengths.count, set(lengths))) > 20
    for short, shorter in drawn:
        assert shorter.future == 3
        assert torch.equal(short, clips[:, 6 - shorter.past :])
    for least in (0, 6, 8):
        assert shortened(clips, window, least) == (clips, window)


@pytest.mark.parametrize("past_share", [1.0, 0.5])
def test_scheduled_sampling_equals_a_plain_unrolling(past_share: float) -> None:
    """OpenSTL's loop, written out over the cells: frames of the past, then truth or forecast by a
    mask; in reverse sampling the mask begins after the first frame.
    """
    torch.manual_seed(0)
    model = preset("openstl", core={"convlstm": {"hidden": [6, 6]}}).double()
    clips, window = torch.rand(3, 7, 1, 8, 8).double(), Window(4, 3)
    for share in (0.0, 0.5, 1.0):
        torch.manual_seed(5)
        frames, truth, _ = next_frames(model, clips, window, share, past_share=past_share)
        torch.manual_seed(5)
        drawn = torch.rand(3, 6)
        true = torch.cat([drawn[:, :4] < past_share, drawn[:, 4:] < share], dim=1)
        true[:, 0] = True
        h, c = ([torch.zeros(3, 6, 2, 2).double() for _ in range(2)] for _ in range(2))
        expected = [clips[:, 0]]
        for t in range(6):
            x = torch.where(true[:, t].view(3, 1, 1, 1), clips[:, t], expected[-1])
            x = F.pixel_unshuffle(x, 4)
            for k, cell in enumerate(model.encoder.cells):
                h[k], c[k] = cell(x, h[k], c[k])
                x = h[k]
            expected.append(F.pixel_shuffle(F.conv2d(x, model.output.last.weight), 4))
        torch.testing.assert_close(frames, torch.stack(expected[1:], 1))
        assert torch.equal(truth, clips[:, 1:])


def test_the_share_of_truth_falls_to_nothing() -> None:
    steps = (0, 1, 25_000, 50_000, 60_000)
    past, future = zip(*(truth_shares(step, 50_000, "forward") for step in steps), strict=True)
    assert future == pytest.approx([1, 1 - 2e-5, 0.5, 0, 0])
    assert {*past} == {1.0}
