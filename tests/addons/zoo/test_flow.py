"""Members by flow matching: of a distribution that is known, by key and place; how it learns."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from foreframe import Forecaster, Window
from foreframe.addons.zoo.flow import Flow, _noise
from foreframe.models import members, placed


def flow(of: str = "persistence", **changes) -> Flow:
    """One that draws errors as large as if it had learnt."""
    torch.manual_seed(0)
    model = Flow(of, **{"frames": 2, "width": 8, "blocks": 1} | changes)
    nn.init.normal_(model.network.out.weight, std=0.02)
    return model


class Known(nn.Module):
    """The mean of r given r_t where r is normal with a deviation of its own."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, r_t, t, shown, spread):
        t = t.view(-1, 1, 1, 1, 1)
        share = t * self.deviation**2 / ((t * self.deviation) ** 2 + ((1 - t) * spread) ** 2)
        return share * r_t


@torch.no_grad()
def test_many_passes_draw_what_is_known() -> None:
    """Where r is normal, members differ by its deviation, and no two values of one are alike."""
    model = flow(times=[k / 100 for k in range(100)], spread=0.5)
    model.network = Known(0.2)
    past = torch.rand(1, 3, 1, 12, 8)
    drawn = model.decode(members(model.encode(past), 400), 2) - past[:, -1:]
    assert drawn.mean(dim=0).abs().max() < 0.05
    assert (drawn.std(dim=0) - 0.2).abs().max() < 0.035
    values = drawn.flatten(1)
    assert (torch.corrcoef(values.T) - torch.eye(values.shape[1])).abs().max() < 0.25


@torch.no_grad()
def test_passes_are_of_second_order() -> None:
    """Where r is normal, its path leads from σ · z to its deviation · z: of twice as many passes a
    quarter of the error is left, and five lose little of what members differ by.
    """
    past = torch.zeros(1, 3, 1, 12, 8)

    def drawn(times: list[float]) -> torch.Tensor:
        model = flow(times=times, spread=0.5)
        model.network = Known(0.2)
        return model.decode(members(model.encode(past), 64), 2)

    exact = 0.2 * _noise(members({"frames": past}, 64), 2, 2, 1)[:, 0]
    errors = [(drawn([k / n for k in range(n)]) - exact).abs().mean() for n in (16, 32, 64, 128)]
    assert all(3.5 < a / b < 5.5 for a, b in pairwise(errors)), errors
    assert drawn([0.0, 0.3, 0.5, 0.7, 0.85]).std() / exact.std() > 0.85  # of first order .76


def test_what_members_lack_in_spread_is_seen_in_training_and_added() -> None:
    """A network that takes errors for smaller than they are: members differ as the truth does all
    the same, at the lead times that were trained.
    """
    model = flow(frames=3, times=[0.0, 0.3, 0.5, 0.7, 0.85])
    model.network = Known(0.15)
    past = torch.zeros(1, 3, 1, 12, 8)
    state = members(model.encode(past), 100)
    generator = torch.Generator().manual_seed(1)
    error = torch.tensor([0.2, 0.25]).view(1, 2, 1, 1, 1)
    clips = [
        torch.cat([past, error * torch.randn(1, 2, 1, 12, 8, generator=generator)], dim=1)
        for _ in range(60)
    ]
    clips[0][0, 3, 0, 0, 0] = torch.nan
    with torch.no_grad():
        few = model.decode(state, 3).std(dim=(0, 2, 3, 4))
        for clip in clips:
            model.eval().teacher_forced(clip, Window(3, 2))
        assert torch.equal(model.inflation, torch.ones(3))
        for clip in clips:
            model.train().teacher_forced(clip, Window(3, 2))
        drawn = model.eval().decode(state, 3).std(dim=(0, 2, 3, 4))
    assert few.max() < 0.15
    torch.testing.assert_close(drawn[:2], error.flatten(), rtol=0.05, atol=0)
    assert drawn[2] == few[2]
    # It is kept with the weights, in half precision too.
    half = {name: value.half() for name, value in model.state_dict().items()}
    again = flow(frames=3)
    again.network = Known(0.15)
    again.load_state_dict(half)
    torch.testing.assert_close(again.inflation, model.inflation, rtol=2e-3, atol=0)
    # And may be taken farther, to make up for what a cut to a range takes of members.
    farther = flow(frames=3, times=model.args["times"], inflate=1.2)
    farther.network = Known(0.15)
    farther.load_state_dict(model.state_dict())
    assert farther.args == model.args | {"inflate": 1.2}
    with torch.no_grad():
        wider = farther.eval().decode(state, 3).std(dim=(0, 2, 3, 4))
    torch.testing.assert_close(wider, 1.2 * drawn, rtol=1e-2, atol=0)


@torch.no_grad()
def test_the_forecast_without_members_is_that_of_its_forecaster() -> None:
    model = flow({"quick": {"core": {"convlstm": {"hidden": [8]}}}})
    past = torch.rand(2, 3, 1, 16, 16)
    assert torch.equal(model(past, 5), model.of(past, 5))
    member = model.decode(members(model.encode(past), 1), 5)
    assert (member - model(past, 5)).abs().min(dim=2).values.max() > 0.01
    # It goes on from its own frames, which its forecaster sees as it saw the past.
    on = model.encode(member[:, :2], model.encode(past))
    near = model.of(torch.cat([past, member[:, :2]], dim=1), 2)
    torch.testing.assert_close(model.decode(on, 2), near, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_tile_has_the_noise_of_the_whole() -> None:
    model = flow(times=[0.0, 0.5], spread=0.4)
    past = torch.rand(1, 2, 1, 40, 44)
    whole = model.decode(members(model.encode(past), 2), 2)
    tile = placed(members(model.encode(past[..., 8:, 12:]), 2), 8, 12)
    # Each of two passes sees two places around it.
    torch.testing.assert_close(
        model.decode(tile, 2)[..., 16:, 16:], whole[..., 24:, 28:], atol=1e-5, rtol=1e-5
    )
    other = members(model.encode(past[..., 8:, 12:]), 2)
    assert (model.decode(other, 2) - whole[..., 8:, 12:])[..., 16:, 16:].abs().mean() > 0.01
    forecaster = Forecaster(model, Window(2, 2))
    wide = torch.rand(1, 2, 1, 70, 90)
    tiles = forecaster.predict(wide, 2, members=2, tile=60, overlap=48)
    near = forecaster.predict(wide, 2, members=2)
    assert (tiles - near).abs().max() < 1e-5


def test_what_it_learns_is_the_error_of_what_is_meant() -> None:
    """Against the formula, value by value; what is missing or beyond the window does not count."""
    times, spread = [0.0, 0.3, 0.7], 0.5
    model = flow("persistence", frames=3, times=times, spread=spread, levels=3)
    clips = torch.rand(2, 4, 1, 8, 8)
    clips[0, 3, 0, 2, 5] = torch.nan
    seen = []

    class Watched(nn.Module):
        def forward(self, r_t, t, shown, spread):
            seen.append((r_t, t, shown))
            return 0.5 * r_t

    model.network = Watched()
    made = model.teacher_forced(clips, Window(2, 2))
    r_t, t, shown = seen[0]
    assert sorted(t[:3].tolist()) == sorted(t[3:].tolist()) == pytest.approx(times)
    last = clips[:, 1:2]
    torch.testing.assert_close(shown[::3], torch.cat([last] * 3 + [clips[:, :1], clips[:, :2]], 1))
    total, count = 0.0, 0
    for k, (clip, at) in enumerate((k // 3, t[k].item()) for k in range(6)):
        r = clips[clip, 2:] - last[clip]
        there = r.isfinite()
        r = r.nan_to_num()
        z = (r_t[k, :2] - at * r) / ((1 - at) * spread)
        assert 0.5 < z[there].std() < 1.5 if at else not r_t[k].any()
        total += ((0.5 * r_t[k, :2] - r)[there] ** 2).sum().item() / (1 - at)
        count += int(there.sum())
    assert model.terms(made)["flow"].item() == pytest.approx(total / count / spread**2, rel=1e-4)
    assert made.forecast.shape == (2, 2, 1, 8, 8)


def test_no_weights_of_it_are_trained_with_dropout_or_statistics() -> None:
    """Its forecaster stays as in a forecast while the flow trains."""
    model = flow("svg_small")
    model.train()
    assert model.network.training
    assert not any(module.training for module in model.of.modules())


def test_the_pass_at_the_beginning_is_made_once_for_all_members() -> None:
    model = flow(times=[0.0, 0.5])
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append((len(args[0]), args[1][0])))
    state = model.encode(torch.rand(2, 3, 1, 8, 8))
    with torch.no_grad():
        drawn = model.decode(members(model.precompute(state, 2), 4), 2)
        assert seen == [(2, 0.0), (8, 0.5)]
        apart = model.decode(members(state, 4), 2)
    torch.testing.assert_close(drawn, apart, atol=1e-6, rtol=1e-5)
