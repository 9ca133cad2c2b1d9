"""The model interface, tested for every model, every preset and every way to step ahead."""

import copy

import pytest
import torch

import small
from foreframe import Forecaster, Window
from foreframe.models import CORES, MODELS, PRESETS, MembersOf, Model, State, members
from foreframe.models.interface import TrainingForecast
from foreframe.training.objectives import mse
from small import EACH_WAY, FREE, SMALL, available, built

# As they are before any test adds its own.
KINDS, OWN_CORES = set(MODELS), set(CORES)
AT_ONCE = available("unet", "simvp_v1", "simvp_v2", "tau", "predformer", "earthformer")
GIVING_MEMBERS = ("svg_small", "flow", "dressed", "perturbed")
DRAWING = [name for name, (kind, _) in SMALL.items() if kind in GIVING_MEMBERS]


def test_every_preset_model_and_core_is_in_the_list() -> None:
    """A missing name needs a line in tests/small.py."""
    assert small.PRESETS.keys() == PRESETS.keys()
    kinds = {PRESETS.get(kind, (kind,))[0] for kind, _ in (SMALL | FREE).values()}
    assert kinds == KINDS
    cores = {core for _, args in SMALL.values() for core in args.get("core", ())}
    assert cores == OWN_CORES


def test_a_small_preset_has_the_parts_of_the_preset() -> None:
    for name, changes in small.PRESETS.items():
        _, args = PRESETS[name]
        for part in changes.keys() & {"core", "codec", "output"}:
            assert changes[part].keys() == args[part].keys(), (name, part)


@pytest.fixture(autouse=True)
def types_are_checked_once(request: pytest.FixtureRequest) -> None:
    """In tests that forecast, train and draw members; the others run the same code."""
    checked = ("any_frame_size", "gradients", "what_members_share")
    if not request.node.name.startswith(tuple(f"test_{name}" for name in checked)):
        request.getfixturevalue("without_types")


def some(model: Model, b: int = 3, t: int = 3, h: int = 24, w: int = 16) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(b, t, model.takes or 1, h, w)


@pytest.fixture(params=[*EACH_WAY, *FREE], scope="module")
def model(request) -> Model:
    """Built once for all tests, which leave it as it is. As forecasts have it: in training batch
    norm sees all clips.
    """
    if request.param == "optical_flow":
        pytest.importorskip("cv2", reason="needs opencv-python-headless")
    return built(request.param).eval()


@torch.no_grad()
def test_any_frame_size_and_any_horizon(model: Model) -> None:
    for (h, w), t, steps in (((13, 21), 1, 1), ((3, 9), 2, 5)):
        past = some(model, 2, t, h, w)
        made = model(past, steps)
        c = past.shape[2] - model.inputs
        assert made.shape == (2, steps, c, *past.shape[3:])
        assert made.dtype == torch.float32
        assert made.isfinite().all()


@torch.no_grad()
def test_encoding_goes_on_from_a_state_and_leaves_it_as_it_was(model: Model) -> None:
    past = some(model)
    state = model.encode(past[:, :1])
    before = {name: value.clone() for name, value in state.items()}
    first = model.decode(state, 3)
    # It does not depend on how far one looks.
    torch.testing.assert_close(model.decode(state, 7)[:, :3], first, atol=1e-5, rtol=1e-5)
    whole, parts = model.encode(past), state
    for frames in past[:, 1:].split(1, dim=1):
        parts = model.encode(frames, parts)
    assert whole.keys() == parts.keys()
    torch.testing.assert_close(model.decode(parts, 3), model.decode(whole, 3), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(state[name], before[name]) for name in before)
    # Also: forward is decode of encode.
    torch.testing.assert_close(model(past[:, :1], 3), first, atol=0, rtol=0)


@torch.no_grad()
def test_nothing_in_a_state_depends_on_how_much_was_seen(model: Model) -> None:
    """The same names and shapes from before the first frame on, which is as None, and after each
    step.
    """
    past, few = some(model, t=10), some(model)
    start, one, many = model.start(past), model.encode(past[:, :1]), model.encode(past)
    assert shapes(start) == shapes(one) == shapes(many) == shapes(model.encode(few, one))
    begun = model.begin(many | model.exogenous(many, 1))
    _, stepped = model.step(begun)
    assert shapes(begun) == shapes(stepped)
    from_start = model.encode(few, start)
    torch.testing.assert_close(from_start, model.encode(few), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_steps_are_the_forecast(model: Model) -> None:
    state = model.encode(some(model))
    if model.draws:
        state = members(state, 2, seed=1)
    whole = model.decode(state, 5)
    begun = model.begin(state | model.exogenous(state, 5))
    frames = []
    for _ in range(-(-5 // model.horizon)):
        before = {name: value.clone() for name, value in begun.items()}
        made, after = model.step(begun)
        assert all(torch.equal(begun[name], before[name]) for name in before)
        frames.append(made)
        begun = after
    stepped = torch.cat(frames, dim=1)[:, :5]
    torch.testing.assert_close(stepped, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.full
@torch.no_grad()
def test_a_step_looks_at_no_value(model: Model) -> None:
    """It can be traced: nothing in it depends on what a tensor holds, or calls another library."""
    state = model.encode(some(model))
    if model.draws:
        state = members(state, 2, seed=1)
    begun = model.begin(state | model.exogenous(state, 1))
    names = sorted(begun)

    class Step(torch.nn.Module):
        def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            frames, after = model.step(dict(zip(names, values, strict=True)))
            return frames, *after.values()

    traced = torch.export.export(Step(), tuple(begun[name] for name in names), strict=False)
    others = [v * 1.01 if v.is_floating_point() else v for v in map(begun.get, names)]
    expected, found = Step()(*others), traced.module()(*others)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def shapes(state: State) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


@pytest.mark.parametrize("name", AT_ONCE)
@torch.no_grad()
def test_frames_at_once_follow_the_last_ones_and_those_they_made(name: str) -> None:
    """Earlier frames do not matter, a single frame is repeated, and a longer forecast continues
    from its frames.
    """
    model = built(name).eval()
    n, k = model.frames, model.horizon
    past = some(model, 2, t=n + 2)
    made = model(past, 2 * k)
    torch.testing.assert_close(model(past[:, 2:], 2 * k), made)
    alone = past[:, :1]
    torch.testing.assert_close(model(alone, k), model(alone.expand(-1, n, -1, -1, -1), k))
    after = torch.cat([past, made[:, :k]], dim=1)
    torch.testing.assert_close(model(after, k), made[:, k:])


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(model: Model) -> None:
    past = some(model)
    state = model.encode(past)
    assert all(value.shape[0] == 3 for value in state.values())
    alone = model.decode({name: value[1:2] for name, value in state.items()}, 3)
    torch.testing.assert_close(model.decode(state, 3)[1:2], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(past[1:2], 3), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EACH_WAY)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = built(name).double()
    assert sum(weight.numel() for weight in model.parameters()) < 50_000
    past = some(model, t=5).double()
    state = model.encode(past)
    state = members(state, 3) if model.draws else state
    # It may have networks for this.
    learnt = model.teacher_forced(past, Window(2, 3))
    if learnt is None:
        forecast, after = model.rollout(state, 5)
        learnt = TrainingForecast(forecast, torch.zeros_like(forecast), after)
    loss = mse(learnt.forecast, learnt.truth) + sum(model.terms(learnt).values())
    loss.backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert learning
    for parameter_name, parameter in learning.items():
        assert parameter.grad is not None, f"{parameter_name} is dead"
        assert parameter.grad.abs().max() > 0, f"{parameter_name} never learns"


@pytest.fixture(params=DRAWING, scope="module")
def drawing(request) -> Model:
    return built(request.param)


@pytest.mark.exact
@torch.no_grad()
def test_a_key_is_a_future(drawing: Model) -> None:
    """The same key to the bit, another key another future."""
    state = drawing.encode(some(drawing))
    one = drawing.decode(members(state, 4, seed=1), 5)
    assert torch.equal(drawing.decode(members(state, 4, seed=1), 5), one)
    apart = (one.unflatten(0, (3, 4)).diff(dim=1)).abs().flatten(2).amax(dim=2)
    assert apart.min() > 1e-6  # little, untrained
    assert (drawing.decode(members(state, 4, seed=2), 5) - one).abs().amax() > 1e-6


@torch.no_grad()
def test_members_do_not_see_each_other(drawing: Model) -> None:
    """A member alone, in a batch of others, of a clip in a batch of others: the same future; and
    its first frames do not depend on how far one looks.
    """
    state = drawing.encode(some(drawing))
    all_of = drawing.decode(members(state, 4, seed=1), 5).unflatten(0, (3, 4))
    of_clip = {name: value[1:2] for name, value in state.items()}
    alone = drawing.decode(members(of_clip, 1, seed=1, first=2), 3)
    torch.testing.assert_close(alone[0], all_of[1, 2, :3], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_members_share_is_what_each_has(drawing: Model) -> None:
    """And in a forecast that looks less far, too. Bit-exact, except for a network that runs for all
    members in one batch: its sums are rounded differently.
    """
    state = drawing.encode(some(drawing))
    each = drawing.decode(members(state, 3, seed=1), 5)
    before = set(state)
    shared = drawing.precompute(state, 5)
    assert set(state) == before
    assert all(value.shape[0] == 3 for value in shared.values())
    near = 1e-5 if isinstance(drawing, MembersOf) else 0
    again = drawing.decode(members(shared, 3, seed=1), 5)
    torch.testing.assert_close(again, each, atol=near, rtol=near)
    torch.testing.assert_close(
        drawing.decode(members(shared, 3, seed=1), 2), each[:, :2], atol=1e-5, rtol=1e-5
    )


@pytest.mark.exact
def test_members_are_streamed_and_resumed(drawing: Model, tmp_path) -> None:
    past = some(drawing)[0]
    forecaster = Forecaster(drawing)
    live = forecaster.stream(4, members=3, seed=7)
    for t in (0, 1):
        made = live.push(past[t])
        assert made.shape[:2] == (3, 4)
        whole = forecaster.predict(past[: t + 1], 4, members=3, seed=7)
        torch.testing.assert_close(made, whole, atol=1e-5, rtol=1e-5)
    live.save(tmp_path / "live")
    again = forecaster.stream(4, members=3, seed=7).restore(tmp_path / "live")
    assert torch.equal(again.push(past[2]), live.push(past[2]))


@torch.no_grad()
def test_rebuilt_and_loaded_forecasts_are_the_same(model: Model, tmp_path) -> None:
    """From its arguments, as JSON has them, and its weights."""
    past = some(model)
    Forecaster(model).save(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = Forecaster.load(tmp_path / "saved")
    # As `load` lays weights: sums are then rounded alike.
    alike = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(again.model.eval()(past, 3), alike(past, 3), atol=0, rtol=0)


@pytest.mark.parametrize("name", EACH_WAY)
@torch.no_grad()
def test_half_precision_is_near(name: str) -> None:
    model = built(name)
    past = some(model)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(past, 3)
    assert near.dtype == torch.float32
    exact = model(past, 3)
    assert (near - exact).square().mean().sqrt() < 3e-2 * exact.square().mean().sqrt()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_a_gpu_forecasts_what_a_cpu_does(model: Model) -> None:
    past = some(model)
    expected = model(past, 5)
    there = copy.deepcopy(model).to("cuda")
    torch.testing.assert_close(there(past.to("cuda"), 5).cpu(), expected, atol=1e-3, rtol=1e-3)
