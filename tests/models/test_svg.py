"""SVG-LP: what its latents do, by key and without, and its objective."""

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.distributions.kl import kl_divergence as expected_kl

from foreframe.clips.clip import Window
from foreframe.clips.keyed import mixed
from foreframe.models import SVG, Model, build_model
from foreframe.models.svg import Norm, _noise, kl_divergence
from foreframe.training.objectives import mse

KEYS = torch.tensor([3, -(2**63), 2**40 + 1])
HERE = torch.zeros(len(KEYS), 2, dtype=torch.int64)


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


def test_the_divergence_in_closed_form() -> None:
    torch.manual_seed(0)
    posterior, prior = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    p, q = (
        Independent(Normal(mean, (log_variance / 2).exp()), 1)
        for mean, log_variance in (posterior.chunk(2, -1), prior.chunk(2, -1))
    )
    torch.testing.assert_close(kl_divergence(posterior, prior), expected_kl(p, q))
    assert not kl_divergence(prior, prior).abs().max() > 1e-12


# Forecasts


@torch.no_grad()
def test_latents_are_drawn_around_the_priors_mean_as_wide_as_it_says() -> None:
    """The frame predictor is shown, at lead time k, mean + deviation · noise of (key, k)."""
    model, shown, foreseen = small(), [], []
    model.prior.register_forward_hook(lambda module, given, out: foreseen.append(out[0]))
    model.frame_predictor.register_forward_hook(
        lambda module, given, out: shown.append(given[0][..., -3:])
    )
    state = model.encode(some())
    shown.clear(), foreseen.clear()
    model.decode(state | {"key": KEYS}, 3)
    noise = _noise(KEYS, HERE, 1, 1, 3, 3)
    for k, (z, latents) in enumerate(zip(shown, foreseen, strict=True)):
        mean, log_variance = latents.chunk(2, dim=-1)
        expected = Normal(mean, (log_variance / 2).exp()).icdf(
            Normal(0, 1).cdf(noise[:, k].unsqueeze(3))
        )
        torch.testing.assert_close(z, expected, atol=1e-4, rtol=1e-4)


def test_noise_is_standard_normal_and_of_its_own_everywhere() -> None:
    noise = _noise(mixed(torch.arange(40)), HERE[:1].expand(40, 2), 3, 2, 10, 8)
    assert noise.shape == (40, 10, 3, 2, 8)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
    assert len(noise.flatten().unique()) > 0.98 * noise.numel()


@torch.no_grad()
def test_large_frames_have_a_code_for_each_place() -> None:
    model, past = small(), some(2, 3, 70, 130)
    state = model.encode(past)
    assert state["prior_h"].shape == (2, 2, 3, 1, 6)
    forecast = model.decode(state | {"key": KEYS[:2]}, 2)
    assert forecast.shape == (2, 2, 1, 70, 130)


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"width": 1}, "width must be at least 2"),
        ({"latent": 0}, "latent must be at least 1"),
        ({"layers": 17}, "layers must be from 1 to 16"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"inputs": 2}, "inputs"),
    ],
)
def test_sizes_that_make_no_network_are_refused(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        build_model("svg", args)
    assert "\n" not in str(told.value)
    assert issubclass(SVG, Model)
