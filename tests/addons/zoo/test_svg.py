"""SVG-LP: what its latents do, by key and without, and its objective."""

import pytest
import torch

from foreframe.addons.zoo.svg import SVG, Norm, kl_divergence
from foreframe.clips.clip import Window
from foreframe.clips.keyed import mixed
from foreframe.models import build_model
from foreframe.training.objectives import mse


def small(**changes) -> SVG:
    """With weights as drawn, and norms that have seen some frames."""
    torch.manual_seed(0)
    model = SVG(**{"width": 4, "code": 8, "latent": 3, "hidden": 6, **changes})
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.teacher_forced(some(), Window(3, 1))
    for norm in norms:
        norm.momentum = 0.1
    return model


def loss_of(model: SVG, clips: torch.Tensor, window: Window) -> torch.Tensor:
    made = model.teacher_forced(clips, window)
    return mse(made.forecast, made.truth) + model.terms(made)["kl"]


def some(b: int = 3, t: int = 4, h: int = 24, w: int = 16) -> torch.Tensor:
    return torch.rand(b, t, 1, h, w, generator=torch.Generator().manual_seed(1))


def test_parameters_are_those_of_the_authors_code() -> None:
    """But for the biases before norms, one for each channel of a norm."""
    with torch.device("meta"):
        model = build_model("svg_lp")
    biases = sum(norm.weight.numel() for norm in model.modules() if isinstance(norm, Norm))
    assert sum(value.numel() for value in model.parameters()) + biases == 12_614_057


# Forecasts


@torch.no_grad()
def test_skips_are_of_the_last_frame_seen_or_of_its_own_last() -> None:
    state = small().encode(some())
    frozen, own = (small(last_frame_skip=on).decode(state, 3) for on in (False, True))
    torch.testing.assert_close(frozen[:, 0], own[:, 0], atol=0, rtol=0)
    assert (frozen[:, 1:] - own[:, 1:]).abs().amax(dim=(0, 2, 3, 4)).min() > 1e-6


@torch.no_grad()
def test_starts_at_the_mean() -> None:
    model = small()
    model.start_at(0.05)
    assert 0.03 < model(some(), 2).mean().item() < 0.07
    model.start_at(0.0)  # no sigmoid is 0
    assert model(some(), 2).isfinite().all()


# The objective


def test_the_objective_is_the_loss_and_the_divergence() -> None:
    model = small(beta=0.5)
    torch.manual_seed(2)
    made = model.teacher_forced(some(), Window(3, 1))
    assert made.forecast.shape == made.truth.shape == (3, 3, 1, 24, 16)
    divergence = kl_divergence(made.state["posterior"], made.state["prior"]).mean()
    assert divergence > 0
    torch.testing.assert_close(model.terms(made), {"kl": 0.5 * divergence})
    torch.manual_seed(2)
    assert torch.equal(model.teacher_forced(some(), Window(3, 1)).forecast, made.forecast)
    assert not torch.equal(model.teacher_forced(some(), Window(3, 1)).forecast, made.forecast)


def test_missing_truth_is_left_out_of_the_loss() -> None:
    model, clips = small(), some()
    torch.manual_seed(0)
    whole = loss_of(model, clips, Window(3, 1))
    clips[:, 2:, :, :5] = torch.nan
    torch.manual_seed(0)
    some_missing = loss_of(model, clips, Window(3, 1))
    assert some_missing.isfinite()
    assert some_missing != whole
    some_missing.backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())


def test_a_batch_is_normed_by_itself_in_training_alone() -> None:
    model, clips = small(), some()
    kept = model.encoder.stages[0][1].running_mean.clone()
    for mode in (True, False):
        model.train(mode)
        with torch.no_grad():
            forecast = model(clips, 2)
            assert torch.equal(model.encoder.stages[0][1].running_mean, kept)
            torch.testing.assert_close(model(clips[:1], 2), forecast[:1], atol=1e-5, rtol=0)
    model.teacher_forced(1 - clips, Window(3, 1))
    assert not torch.equal(model.encoder.stages[0][1].running_mean, kept)
    assert not any(norm.of_the_batch for norm in model.modules() if isinstance(norm, Norm))


@pytest.mark.slow
def test_latents_learn_what_no_past_tells() -> None:
    """The left half of a frame is white or the right, by chance: whoever knows nothing says grey,
    and is wrong by a quarter.
    """
    torch.manual_seed(1)
    model = SVG(width=2, code=8, latent=4, hidden=16, layers=1, beta=1e-4)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    left, errors = torch.arange(8) < 4, []
    for _ in range(150):
        clips = ((torch.rand(8, 2, 1, 1, 1) < 0.5) ^ left).float().expand(-1, -1, -1, 8, -1)
        made = model.teacher_forced(clips, Window(1, 1))
        error = mse(made.forecast, made.truth)
        optimizer.zero_grad()
        (error + model.terms(made)["kl"]).backward()
        optimizer.step()
        errors.append(error.item())
    assert sum(errors[:10]) / 10 > 0.2
    assert sum(errors[-10:]) / 10 < 0.1
    with torch.no_grad():
        state = model.encode(clips[:1, :1].expand(32, -1, -1, -1, -1))
        future = model.decode(state | {"key": mixed(torch.arange(32))}, 1)
    whites = future[..., :4].mean(dim=(1, 2, 3, 4))
    assert whites.min() < 0.25, "no member has its left half black"
    assert whites.max() > 0.75, "no member has its left half white"
