"""What is missing teaches nothing: losses are held against loops over the values that are there."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.models import build_model
from foreframe.training.objectives import LOSSES, forecast, next_frames

ONE = {
    "mse": lambda p, y: (p - y) ** 2,
    "mae": lambda p, y: abs(p - y),
    "cross_entropy": lambda p, y: -(y * math.log(p) + (1 - y) * math.log(1 - p)),
    "mix": lambda p, y: 0.5 * (p - y) ** 2 + 0.5 * abs(p - y),
}
losses = pytest.mark.parametrize("name", LOSSES)


def made(seed: int = 0, share: float = 0.4) -> tuple[Tensor, Tensor]:
    """Forecasts in (0,1) and truth, of which that share is missing, (B,T,C,H,W)."""
    draw = torch.Generator().manual_seed(seed)
    P, Y = (torch.rand(2, 3, 1, 4, 5, generator=draw) * 0.98 + 0.01 for _ in range(2))
    Y[torch.rand(Y.shape, generator=draw) < share] = torch.nan
    return P, Y


@pytest.mark.parametrize("name", ONE)
def test_the_mean_is_over_what_is_there(name: str) -> None:
    P, Y = made()
    there = [
        (p, y) for p, y in zip(P.flatten().tolist(), Y.flatten().tolist(), strict=True) if y == y
    ]
    each = [ONE[name](p, y) for p, y in there]
    assert LOSSES[name](P, Y).item() == pytest.approx(sum(each) / len(each), rel=1e-5)


@losses
def test_no_gradient_where_the_truth_is_missing(name: str) -> None:
    P, Y = made()
    P.requires_grad_()
    LOSSES[name](P, Y).backward()
    assert P.grad is not None
    assert torch.equal(P.grad == 0, Y.isnan())


@losses
def test_what_is_forecast_there_does_not_matter_and_nothing_there_is_no_loss(name: str) -> None:
    P, Y = made()
    assert LOSSES[name](torch.where(Y.isnan(), 0.99, P), Y) == LOSSES[name](P, Y)
    P.requires_grad_()
    loss = LOSSES[name](P, torch.full_like(Y, torch.nan))
    loss.backward()
    assert loss == 0
    assert P.grad is not None
    assert not P.grad.any()


def filled_by_hand(frames: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    filled, last = frames.copy(), last.copy()
    for index in np.ndindex(*last.shape):
        value = last[index]
        b, *place = index
        for t in range(frames.shape[1]):
            value = (
                frames[(b, t, *place)]
                if frames[(b, t, *place)] == frames[(b, t, *place)]
                else value
            )
            filled[(b, t, *place)] = 0 if value != value else value
        last[index] = value
    return filled, last


@pytest.mark.parametrize("carried", [False, True])
def test_gaps_are_filled_forward(carried: bool) -> None:
    _, frames = made(share=0.6)
    last = made(1, share=0.5)[1][:, 0] if carried else None
    filled, after = fill_missing(frames, last)
    by_hand = filled_by_hand(
        frames.numpy(), np.full((2, 1, 4, 5), np.nan) if last is None else last.numpy()
    )
    np.testing.assert_array_equal(filled.numpy(), by_hand[0].astype(np.float32))
    np.testing.assert_array_equal(after.numpy(), by_hand[1].astype(np.float32))


def test_filling_in_pieces_equals_filling_at_once() -> None:
    _, frames = made(share=0.6)
    at_once, last = fill_missing(frames)
    first, carried = fill_missing(frames[:, :1])
    second, end = fill_missing(frames[:, 1:], carried)
    torch.testing.assert_close(torch.cat([first, second], 1), at_once)
    torch.testing.assert_close(end, last, equal_nan=True)


@pytest.mark.parametrize("way", ["forecast", "next_frames"])
def test_training_sees_no_nan_and_scores_none(way: str) -> None:
    torch.manual_seed(0)
    network = build_model("tutorial", {"core": {"convlstm": {"hidden": [4, 4]}}})
    clips = torch.rand(2, 5, 1, 8, 8)
    clips[torch.rand(clips.shape) < 0.3] = torch.nan
    window = Window(3, 2)
    P, Y, _ = (
        forecast(network, clips, window)
        if way == "forecast"
        else next_frames(network, clips, window, 0.5)
    )
    torch.testing.assert_close(
        Y, clips[:, 3:] if way == "forecast" else clips[:, 1:], equal_nan=True
    )
    assert P.isfinite().all()
    LOSSES["mse"](P, Y).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert max(gradient.abs().max() for gradient in gradients) > 0
    assert all(gradient.isfinite().all() for gradient in gradients)
