"""The promise of foreframe.models, held over every model, every preset (small where it is big) and
every way to step ahead.
"""

import json

import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.models import BASELINES, CORES, PRESETS, Flow, Model, build_model, members
from foreframe.training.objectives import mse


def convlstm(*hidden: int) -> dict:
    return {"core": {"convlstm": {"hidden": list(hidden)}}}


STRIDED = {"codec": {"strided": {"widths": [4, 8]}}}
SMALL = {
    "tutorial": convlstm(6, 6),
    "shi2015": convlstm(8, 6, 6),
    "fc_lstm": convlstm(6, 6) | {"codec": {"patches": {"size": 16}}},
    "openstl": convlstm(6, 6),
    "quick": convlstm(8),
    "nowcast": convlstm(8) | STRIDED,
}
for name, (model, _) in PRESETS.items():
    if model == "simvp":
        SMALL[name] = {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}
    if model == "svg":
        SMALL[name] = {"width": 2, "code": 6, "latent": 2, "hidden": 5}
        SMALL[name] |= {"last_frame_skip": name == "svg_small"}
WAYS: dict[str, tuple[str, dict]] = {
    "frames fed back": (
        "encoder_decoder",
        convlstm(5, 4)
        | {
            "codec": {"patches": {"size": 2, "show_last": True}},
            "start": "states",
            "output": {"draw": {"feed": "frame"}},
        },
    ),
    "at once": (
        "at_once",
        convlstm(5) | {"codec": {"patches": {"size": 2}}, "horizon": 3},
    ),
    "at once, strided": (
        "at_once",
        convlstm(6) | {"codec": {"strided": {"widths": [4, 6], "show_last": True}}, "horizon": 4},
    ),
    "guided by yesterday": (
        "encoder_decoder",
        convlstm(5)
        | {
            "codec": {"patches": {"size": 2, "show_last": True}},
            "start": "states",
            "output": {"correct": {"guide": {"cycle": {"period": 3}}}},
        },
    ),
    "guided, from zeros": (
        "encoder_decoder",
        convlstm(5, 4) | {"output": {"mix": {"guide": "linear_motion", "blurs": [2.0]}}},
    ),
    "fed nothing": (
        "encoder_decoder",
        convlstm(4, 5)
        | {"start": "states", "output": {"draw": {"feed": "nothing", "over": "all"}}},
    ),
    "fed nothing, from zeros": (
        "encoder_decoder",
        convlstm(4, 5) | {"output": {"draw": {"feed": "nothing"}}},
    ),
    "carried colours": (
        "encoder_decoder",
        convlstm(4, 4)
        | {
            "channels": 3,
            "codec": {"patches": {"size": 4}},
            "output": {"carry": {"over": "all"}},
        },
    ),
    "drawn from strided maps": (
        "encoder_decoder",
        convlstm(8)
        | {"codec": {"strided": {"widths": [4, 8], "show_last": True}}, "start": "states"},
    ),
    "last frame and embedding": (
        "encoder_decoder",
        convlstm(5, 5)
        | {"codec": {"strided": {"widths": [4, 6], "show_last": True}}, "embedding": True},
    ),
    "embedding to all": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [4, 4], "peepholes": True}},
            "codec": {"patches": {"size": 4}},
            "start": "mirrored",
            "embedding": True,
        },
    ),
    "three colours": (
        "next_frame",
        convlstm(4, 4) | {"channels": 3, "draw": {"over": "all", "sigmoid": False}},
    ),
    "read both ways": (
        "encoder_decoder",
        convlstm(4, 5)
        | {"start": "mirrored", "output": {"draw": {"feed": "nothing"}}, "backward": 3},
    ),
    "guided, with two inputs": (
        "encoder_decoder",
        convlstm(5)
        | STRIDED
        | {"output": {"correct": {"guide": "linear_motion"}}, "inputs": 2, "channels": 2},
    ),
    "blended and seen small, with an input": (
        "encoder_decoder",
        convlstm(5)
        | STRIDED
        | {
            "output": {
                "blend": {
                    "guides": [{"cycle": {"period": 3}}, "dense_motion", "mean"],
                    "hindcast": 2,
                    "short": 8,
                }
            },
            "channels": 2,
            "inputs": 1,
        },
    ),
    "blended, in patches": (
        "guided",
        convlstm(5)
        | {
            "codec": {"patches": {"size": 2, "show_last": True}},
            "output": {"blend": {"guides": ["mean", "dense_motion"], "short": 8}},
        },
    ),
    "its own frames, with an input": (
        "next_frame",
        convlstm(4) | {"codec": {"patches": {"size": 2}}, "inputs": 1},
    ),
    "with noise": (
        "encoder_decoder",
        convlstm(5)
        | STRIDED
        | {"start": "states", "output": {"carry": {}}, "noise": {"whole": 2, "local": 2}},
    ),
    "with noise, blended": (
        "encoder_decoder",
        convlstm(5)
        | STRIDED
        | {
            "start": "states",
            "output": {
                "blend": {
                    "guides": ["dense_motion", "persistence"],
                    "blurs": [2.0],
                    "hindcast": 2,
                    "short": 8,
                }
            },
            "noise": {"whole": 2, "local": 2},
        },
    ),
    "with noise, guided": (
        "encoder_decoder",
        convlstm(5)
        | {
            "codec": {"patches": {"size": 2}},
            "output": {"correct": {"guide": "linear_motion"}},
            "inputs": 1,
            "noise": {"whole": 2},
        },
    ),
    "with noise, its own frames": (
        "encoder_decoder",
        convlstm(4, 3)
        | {
            "codec": {"patches": {"size": 2}},
            "output": {"draw": {"feed": "frame", "over": "all"}},
            "noise": {},
        },
    ),
    "with noise, one core": (
        "next_frame",
        convlstm(4, 3) | {"codec": {"patches": {"size": 2}}, "noise": {"whole": 2}},
    ),
    "with noise, at once": ("at_once", convlstm(4) | {"horizon": 3, "noise": {"whole": 2}}),
    **{
        f"with noise, {translator}": (
            "simvp",
            {
                "frames": 3,
                "spatial": 8,
                "temporal": 16,
                "blocks": 2,
                "translator": translator,
                "noise": {"whole": 2, "local": 1},
            },
        )
        for translator in ("inception", "gated", "mixing")
    },
    "several": (
        "several",
        {
            "of": [
                {"simvp": {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}},
                {
                    "encoder_decoder": convlstm(4)
                    | {"codec": {"patches": {"size": 2}}, "noise": {"whole": 2}}
                },
                {"next_frame": convlstm(3)},
            ]
        },
    ),
    "a flow": (
        "flow",
        {
            "of": {"simvp": {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}},
            "frames": 3,
            "width": 16,
            "blocks": 2,
            "times": [0.0, 0.4],
        },
    ),
    "a flow of motion, with two colours": (
        "flow",
        {"of": "dense_motion", "channels": 2, "frames": 2, "width": 8, "blocks": 1},
    ),
    "a flow, with an input": (
        "flow",
        {
            "of": {"next_frame": convlstm(4) | {"codec": {"patches": {"size": 2}}}},
            "inputs": 1,
            "frames": 4,
            "width": 8,
            "blocks": 1,
        },
    ),
    "with attention": (
        "encoder_decoder",
        convlstm(4, 5) | {"codec": STRIDED["codec"], "start": "states", "attention": 4},
    ),
    "all that the past gives": (
        "encoder_decoder",
        convlstm(5, 4)
        | {
            "start": "mirrored",
            "output": {"draw": {"feed": "frame"}},
            "embedding": True,
            "attention": 9,
            "backward": 9,
        },
    ),
    "latents, through VGG networks": (
        "svg",
        {"width": 2, "code": 6, "latent": 2, "hidden": 5, "backbone": "vgg", "channels": 2},
    ),
}
DRAWING = [
    "several",
    "svg_small",
    *(name for name, (kind, args) in WAYS.items() if "noise" in args or kind == "flow"),
]
LAGGED = {
    "lagged persistence": ("lagged", {"of": "persistence", "lags": 3}),
    "lagged motion": ("lagged", {"of": "linear_motion", "lags": 5}),
}
LEARNING = [*PRESETS, *WAYS, *(f"a core of {name}" for name in CORES)]
NAMES = [*LEARNING, *BASELINES, *LAGGED]


def built(name: str) -> Model:
    torch.manual_seed(0)
    core = {name.removeprefix("a core of "): {"hidden": [5, 4]}}
    other = (
        "encoder_decoder",
        {"core": core, "start": "mirrored", "output": {"draw": {"feed": "frame"}}},
    )
    kind, args = (WAYS | LAGGED).get(name, other if "core" in name else (name, SMALL.get(name)))
    return build_model(kind, args)


def some(model: Model, b: int = 3, t: int = 5, h: int = 24, w: int = 16) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(b, t, model.takes or 1, h, w)


@pytest.fixture(params=NAMES)
def model(request) -> Model:
    if request.param == "optical_flow":
        pytest.importorskip("cv2", reason="needs opencv-python-headless")
    return built(request.param)


@torch.no_grad()
def test_any_frame_size_and_any_horizon(model: Model) -> None:
    for h, w in ((16, 16), (13, 21), (3, 9)):
        for t, steps in ((1, 1), (2, 7)):
            past = some(model, 2, t, h, w)
            made = model(past, steps)
            c = past.shape[2] - model.inputs
            assert made.shape == (2, steps, c, *past.shape[3:])
            assert made.dtype == torch.float32
            assert made.isfinite().all()


@torch.no_grad()
def test_forward_is_decode_of_encode(model: Model) -> None:
    past = some(model)
    torch.testing.assert_close(model(past, 4), model.decode(model.encode(past), 4), atol=0, rtol=0)


@torch.no_grad()
def test_encoding_goes_on_from_a_state(model: Model) -> None:
    past = some(model)
    whole = model.encode(past)
    state = None
    for frame in past.split([2, 1, 2], dim=1):
        state = model.encode(frame, state)
    assert whole.keys() == state.keys()
    torch.testing.assert_close(model.decode(state, 4), model.decode(whole, 4), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_state_is_left_as_it_was(model: Model) -> None:
    state = model.encode(some(model))
    before = {name: value.clone() for name, value in state.items()}
    first = model.decode(state, 5)
    model.encode(some(model), state)
    assert all(torch.equal(state[name], before[name]) for name in before)
    torch.testing.assert_close(model.decode(state, 5), first, atol=0, rtol=0)


@torch.no_grad()
def test_the_first_frames_do_not_depend_on_how_far_one_looks(model: Model) -> None:
    past = some(model)
    torch.testing.assert_close(model(past, 9)[:, :2], model(past, 2), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(model: Model) -> None:
    past = some(model)
    state = model.encode(past)
    assert all(value.shape[0] == 3 for value in state.values())
    alone = model.decode({name: value[1:2] for name, value in state.items()}, 5)
    torch.testing.assert_close(model(past, 5)[1:2], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(past[1:2], 5), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LEARNING)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = built(name).double()
    for parameter in model.parameters():
        if not parameter.any():  # what a head begins with; it hides what is behind it
            torch.nn.init.normal_(parameter, std=0.01)
    state = model.encode(some(model).double())
    state = members(state, 3) if model.draws else state
    learnt = model.learn(some(model).double(), Window(2, 3), mse)  # it may have networks for this
    loss = model.decode(state, 6).square().sum() if learnt is None else learnt.loss
    loss.backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert learning
    for parameter_name, parameter in learning.items():
        assert parameter.grad is not None, f"{parameter_name} is dead"
        assert parameter.grad.abs().max() > 0, f"{parameter_name} never learns"


@pytest.fixture(params=DRAWING)
def drawing(request) -> Model:
    return built(request.param)


@torch.no_grad()
def test_a_key_is_a_future(drawing: Model) -> None:
    """The same key to the bit, another key another future; without a key it is as it was."""
    state = drawing.encode(some(drawing))
    one = drawing.decode(members(state, 4, seed=1), 5)
    assert torch.equal(drawing.decode(members(state, 4, seed=1), 5), one)
    apart = (one.unflatten(0, (3, 4)).diff(dim=1)).abs().flatten(2).amax(dim=2)
    assert apart.min() > 1e-6  # little, untrained
    assert (drawing.decode(members(state, 4, seed=2), 5) - one).abs().amax() > 1e-6
    weights = drawing.state_dict()
    without = type(drawing)(**{n: v for n, v in drawing.args.items() if n != "noise"})
    if without.state_dict().keys() <= weights.keys():
        without.load_state_dict({n: weights[n] for n in without.state_dict()})
        assert torch.equal(without(some(drawing), 5), drawing(some(drawing), 5))


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
    """And in a forecast that looks less far, too. To the bit, but for a network that runs for all
    members at once or for one clip of each: such sums are rounded otherwise.
    """
    state = drawing.encode(some(drawing))
    each = drawing.decode(members(state, 3, seed=1), 5)
    before = set(state)
    shared = drawing.shared(state, 5)
    assert set(state) == before
    assert all(value.shape[0] == 3 for value in shared.values())
    near = 1e-5 if isinstance(drawing, Flow) else 0
    again = drawing.decode(members(shared, 3, seed=1), 5)
    torch.testing.assert_close(again, each, atol=near, rtol=near)
    torch.testing.assert_close(
        drawing.decode(members(shared, 3, seed=1), 2), each[:, :2], atol=1e-5, rtol=1e-5
    )


def test_members_are_streamed_and_resumed(drawing: Model, tmp_path) -> None:
    past = some(drawing)[0]
    forecaster = Forecaster(drawing)
    live = forecaster.stream(4, members=3, seed=7)
    for t, frame in enumerate(past[:4]):
        made = live.push(frame)
        assert made.shape[:2] == (3, 4)
        whole = forecaster.predict(past[: t + 1], 4, members=3, seed=7)
        torch.testing.assert_close(made, whole, atol=1e-5, rtol=1e-5)
    live.save(tmp_path / "live")
    again = forecaster.stream(4, members=3, seed=7).restore(tmp_path / "live")
    assert torch.equal(again.push(past[4]), live.push(past[4]))


def test_a_model_is_rebuilt_from_its_args(model: Model) -> None:
    args = json.loads(json.dumps(model.args))
    again = type(model)(**args)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(some(model), 3), model(some(model), 3), atol=0, rtol=0)


def test_saved_and_loaded_forecasts_are_the_same(model: Model, tmp_path) -> None:
    past = some(model)
    Forecaster(model).save(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = Forecaster.load(tmp_path / "saved")
    # As `load` lays weights: sums are then rounded alike.
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        again.predict(past, 7), Forecaster(model).predict(past, 7), atol=0, rtol=0
    )


def test_streamed_equals_whole(model: Model) -> None:
    forecaster = Forecaster(model)
    past = some(model)[0]
    live = forecaster.stream(steps=4)
    for t, frame in enumerate(past):
        torch.testing.assert_close(
            live.push(frame), forecaster.predict(past[: t + 1], 4), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", LEARNING)
@torch.no_grad()
def test_half_precision_is_near(name: str) -> None:
    model = built(name)
    past = some(model)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(past, 5)
    assert near.dtype == torch.float32
    exact = model(past, 5)
    torch.testing.assert_close(near, exact, atol=3e-2 * max(1.0, exact.abs().max().item()), rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_a_gpu_forecasts_what_a_cpu_does(model: Model) -> None:
    past = some(model)
    expected = model(past, 5)
    torch.testing.assert_close(
        model.to("cuda")(past.to("cuda"), 5).cpu(), expected, atol=1e-3, rtol=1e-3
    )
