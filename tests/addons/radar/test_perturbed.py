"""Members of rain that is multiplied by noise: the formula, its limit, and what it learns."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from foreframe import Clip, Forecaster, Window
from foreframe.addons.radar.perturbed import SmoothNoise
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.streaming import note_time
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model, members
from foreframe.models.noise import EnsembleRequest, forecast_of, placed

RAIN = Scaling(0.5, 100, "mm/h", "log")


def rain() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 1, 40, 56, generator=g) / 2


def test_a_member_is_the_forecast_times_noise_that_grows_with_lead_time() -> None:
    model = build_model("perturbed", {"of": "persistence"}).in_units(RAIN)
    state = members(model.encode(rain()), 200, seed=1)
    last = RAIN.to_units(rain()[:, -1])
    grown = (RAIN.to_units(model.decode(state, 4)) / last).log()
    # Smaller values, which nothing limits.
    free = grown[..., last[0, 0] < last.max() / 40]
    for lead in range(4):
        expected = 0.17 * math.sqrt(5 * (lead + 1))
        assert free[:, lead].std().item() == pytest.approx(expected, rel=0.1)
        assert abs(free[:, lead].mean().item()) < 0.2 * expected
        torch.testing.assert_close(free[:, lead], free[:, 0] * math.sqrt(lead + 1))
    # Near each other pixels are alike, far ones are not.
    first = grown[:, 0, 0] - grown[:, 0, 0].mean(dim=0)
    near, far = ((first[:, :, :-k] * first[:, :, k:]).mean() / first.var() for k in (1, 50))
    assert near > 0.7
    assert far < 0.5


def test_noise_grows_with_minutes_not_frames() -> None:
    """Frames of a recording, whether forecast at once or by a stream that knows its times."""
    model = build_model("perturbed", {"of": "persistence"})
    forecaster = Forecaster(model, Window(3, 1), RAIN, Trained(step=300))
    frames = RAIN.to_units(rain()[0]).numpy()

    def members_after(minutes: int, lead: int) -> np.ndarray:
        times = np.datetime64("2026-01-01T00:00") + np.arange(3) * np.timedelta64(minutes, "m")
        past = Clip(frames, times=times, units="mm/h")
        made = forecaster.predict(past, lead, members=2).frames[:, -1]
        *_, ahead = islice(forecaster.rollout(past, members=2), lead)
        np.testing.assert_array_equal(ahead, made)
        live = forecaster.stream(lead, ForecastOptions(members=2))
        for frame, time in zip(frames, times, strict=True):
            note_time(live.source, time)
            streamed = live.push(frame)
        np.testing.assert_allclose(streamed[:, -1], made, rtol=1e-5)
        return made

    np.testing.assert_allclose(members_after(15, 1), members_after(5, 3), rtol=1e-5)


def test_no_member_has_more_than_half_more_than_the_last_frame() -> None:
    model = build_model("perturbed", {"of": "persistence"}).in_units(RAIN)
    past = rain()
    past[..., :10, :] = 0
    made = RAIN.to_units(model.decode(members(model.encode(past), 20, seed=1), 12))
    assert made.amax().item() == pytest.approx(1.5 * RAIN.to_units(past[:, -1]).max().item())
    assert torch.equal(made[..., :10, :], torch.zeros(20, 12, 1, 10, 56))


def test_without_members_it_is_the_forecaster() -> None:
    of = build_model("dense_motion")
    model = build_model("perturbed", {"of": "dense_motion"}).in_units(RAIN)
    assert torch.equal(model(rain(), 3), of(rain(), 3))


def test_all_members_share_a_guide() -> None:
    """That of the forecaster, whether asked for with members or alone."""
    of = {"guided": {"output": {"blend": {"guides": ["persistence", "mean"]}}}}
    model = build_model("perturbed", {"of": of}).in_units(RAIN)
    state = model.encode(rain())
    alone = forecast_of(model, state, 3, guided=True)
    drawn = forecast_of(model, state, 3, guided=True, ensemble=EnsembleRequest(4), group=3)
    assert alone[1] is not None
    torch.testing.assert_close(alone[1], rain()[:, -1:].expand(-1, 3, -1, -1, -1))
    assert drawn[1] is not None
    assert torch.equal(alone[1], drawn[1])
    assert drawn[0].std(dim=0).mean() > 0.01


def test_it_learns_how_unlike_members_are() -> None:
    """The CRPS has a gradient for the spread of each size, and for nothing else."""
    model = build_model("perturbed", {"of": {"guided": {}}}).in_units(RAIN)
    model.decode(members(model.encode(rain()), 2), 2).square().sum().backward()
    learnt = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learnt == {"log_spread"}
    assert (model.log_spread.grad != 0).all()


def blending(short: int | None) -> Forecaster:
    """A network of large steps that draws members, without group norm."""
    torch.manual_seed(0)
    args = {
        "core": {"convlstm": {"hidden": [4]}},
        "codec": {"strided": {"widths": [4, 8], "norm": "none"}},
        "start": "states",
        "output": {"blend": {"guides": ["persistence", "black"], "blurs": [1.0], "short": short}},
    }
    model = build_model("perturbed", {"of": {"encoder_decoder": args}})
    torch.nn.init.normal_(model.of.output.last.weight, std=0.5)
    return Forecaster(model, Window(1, 2))


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize(
    ("short", "size", "tile", "overlap"),
    [(None, (100, 107), 96, 92), (84, (184, 200), 176, 168)],
)
def test_members_in_tiles_are_those_of_the_whole(short, size, tile, overlap) -> None:
    """By pixels: the noise of a place is the same whichever tile it lies in, also where frames are
    seen two or three times smaller.
    """
    forecaster, past = blending(short), torch.rand(1, 1, 1, *size)
    for drawn in ({}, {"members": 2}):
        whole = forecaster.predict(past, 2, **drawn)
        tiles = forecaster.predict(past, 2, tile=tile, overlap=overlap, **drawn)
        assert (tiles - whole).abs().max() < 1e-3  # places are rounded, counted from elsewhere
    assert (whole - forecaster.predict(past, 2)).abs().mean() > 0.02
    other = forecaster.predict(past, 2, tile=tile, overlap=overlap, members=2, seed=1)
    assert (other - whole).abs().max() > 0.1


STATE = {"frame": torch.arange(6.0).view(2, 3)}


def test_noise_is_normal_everywhere_and_alike_nearby() -> None:
    drawn = SmoothNoise([3, 3])(members(STATE, 2000), (6, 8))
    assert drawn.shape == (4000, 1, 2, 6, 8)
    some = drawn[::2, 0]  # one clip; the other clip has the same noise
    assert some.mean(dim=0).abs().max() < 0.12
    assert (some.var(dim=0) - 1).abs().max() < 0.16
    near, far = some[..., 1:] * some[..., :-1], some[..., 6:] * some[..., :-6]
    assert near.mean(dim=0).min() > 0.5
    assert far.mean(dim=0).abs().max() < 0.12


def test_each_channel_of_noise_is_a_draw_of_its_own() -> None:
    drawn = SmoothNoise([1, 2, 3])(members(STATE, 500), (4, 4))
    columns = drawn.view(1000, 3, 16)[::2].transpose(0, 1).flatten(1)
    together = torch.corrcoef(columns) - torch.eye(3)
    assert together.abs().max() < 0.15


def test_a_tile_has_a_part_of_the_noise_of_the_whole() -> None:
    noise = SmoothNoise([1, 2, 5])
    state = members(STATE, 2, seed=1)
    whole = noise(state, (12, 16))
    tile = noise(placed(state, 5, 7), (6, 8))
    torch.testing.assert_close(tile, whole[..., 5:11, 7:15], rtol=0, atol=1e-6)
