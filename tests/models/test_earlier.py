"""What version 0.1 wrote and called things: arguments, configs, saved folders, checkpoints of then.

That the numbers are the same, way by way, is proved by tests/golden.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from foreframe import Forecaster, Window
from foreframe.cli.train import parse
from foreframe.forecasting.checkpoint_files import write_checkpoint
from foreframe.models import Model, build_model, earlier, preset
from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.fit import train
from foreframe.training.preparation import prepared

GATES = {"bias": True, "peepholes": False, "forget_bias": 0.0}
STEM: dict[str, Any] = {"patch": 1, "widths": [], "skip": "none", "norm": "group"}
HEAD: dict[str, Any] = {
    "kernel": 3, "over": "last", "sigmoid": True, "horizon": 1, "carry": False, "blurs": [],
}  # fmt: skip
# The arguments of each preset as version 0.1 wrote them into config.json and its checkpoints.
WRITTEN: dict[str, dict[str, Any]] = {
    "tutorial": {
        "channels": 1, "hidden": [64, 64], "kernel": 3, "gates": GATES, "stem": STEM, "head": HEAD,
        "decoder": "fresh", "ahead": "hidden", "guide": "persistence",
    },
    "shi2015": {
        "channels": 1, "hidden": [128, 64, 64], "kernel": 5, "gates": GATES | {"peepholes": True},
        "stem": STEM | {"patch": 4}, "head": HEAD | {"kernel": 1, "over": "all"},
        "decoder": "mirrored", "ahead": "nothing", "guide": "persistence",
    },
    "openstl": {
        "channels": 1, "hidden": [128] * 4, "kernel": 5, "gates": GATES | {"bias": False},
        "stem": STEM | {"patch": 4}, "head": HEAD | {"kernel": 1, "sigmoid": False},
        "decoder": "same", "ahead": "frame", "guide": "persistence",
    },
    "quick": {
        "channels": 1, "hidden": [64], "kernel": 3, "gates": GATES | {"forget_bias": 1.0},
        "stem": STEM | {"widths": [16, 32, 64], "skip": "frame"},
        "head": HEAD | {"sigmoid": False, "carry": True},
        "decoder": "handed", "ahead": "hidden", "guide": "persistence",
    },
    "nowcast": {
        "channels": 1, "hidden": [48], "kernel": 3, "gates": GATES | {"forget_bias": 1.0},
        "stem": STEM | {"widths": [24, 48], "skip": "frame", "norm": "none"},
        "head": HEAD | {"sigmoid": False, "blurs": [1.5, 4.0, 10.0]},
        "decoder": "handed", "ahead": "guided", "guide": "optical_flow",
    },
}  # fmt: skip


def same(a: Model, b: Model) -> bool:
    return (type(a), a.args) == (type(b), b.args)


def on_meta(name: str, args: dict) -> Model:
    with torch.device("meta"):
        return build_model(name, args)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_preset_is_what_it_was(name: str) -> None:
    today, args = earlier.arguments("convlstm", WRITTEN[name])
    with torch.device("meta"):
        now = preset(name)
    assert same(on_meta("convlstm", WRITTEN[name]), now)
    assert (type(build_model(today, {})), args) == (type(now), now.args)  # none left to a default
    # By the preset's name, any one of them turns all into today's.
    for key, value in WRITTEN[name].items():
        assert same(on_meta(name, {key: value}), now), key


def test_arguments_of_today_stay_as_they_are() -> None:
    for name, args in (
        ("quick", {"channels": 3}),
        ("quick", {"core": {"convlstm": {"hidden": [3]}}, "attention": 2}),
        ("next_frame", {"draw": {"kernel": 1}}),
        ("simvp_small", {"frames": 3}),
        ("cycle", {"period": 3}),
        ("mine", {"hidden": 3, "head": 4}),
        (None, 3),
    ):
        assert earlier.arguments(name, args) == (name, args)


CORE = {"convlstm": {"hidden": [64, 64], "kernel": 3, **GATES}}
PATCHES = {"patches": {"size": 1, "show_last": False}}


@pytest.mark.parametrize(
    ("old", "name", "now"),
    [
        ({}, "encoder_decoder", {"start": "zeros", "output": {"draw": {"feed": "maps"}}}),
        ({"decoder": "handed"}, "encoder_decoder", {"start": "states"}),
        ({"decoder": "mirrored"}, "encoder_decoder", {"start": "mirrored"}),
        ({"decoder": "same", "ahead": "frame"}, "next_frame", {}),
        (
            {"decoder": "same", "ahead": "at_once", "head": {"horizon": 4, "over": "all"}},
            "at_once",
            {"horizon": 4, "draw": {"over": "all"}},
        ),
        (
            {"decoder": "handed", "ahead": "frame"},
            "encoder_decoder",
            {"start": "states", "output": {"draw": {"feed": "frame"}}},
        ),
        (
            {"decoder": "handed", "ahead": "nothing", "head": {"kernel": 5}},
            "encoder_decoder",
            {"start": "states", "output": {"draw": {"feed": "nothing", "kernel": 5}}},
        ),
        ({"stem": {"skip": "embedding"}}, "encoder_decoder", {"embedding": True}),
        (
            {"stem": {"skip": "both", "widths": [4, 8], "norm": "none"}},
            "encoder_decoder",
            {
                "embedding": True,
                "codec": {"strided": {"widths": [4, 8], "norm": "none", "show_last": True}},
            },
        ),
        (
            {"stem": {"skip": "frame", "patch": 2}},
            "encoder_decoder",
            {"codec": {"patches": {"size": 2, "show_last": True}}},
        ),
        (
            {"head": {"carry": True, "sigmoid": False, "over": "all"}},
            "encoder_decoder",
            {"output": {"carry": {"over": "all"}}},
        ),
        (
            {"gates": {"bias": False, "forget_bias": 1.5}, "channels": 3, "kernel": 5},
            "encoder_decoder",
            {
                "channels": 3,
                "core": {"convlstm": {"bias": False, "forget_bias": 1.5, "kernel": 5}},
                "output": {"draw": {"bias": False}},
            },
        ),
        (
            {
                "decoder": "handed",
                "ahead": "guided",
                "head": {"sigmoid": False},
                "guide": {"name": "cycle", "period": 3},
            },
            "encoder_decoder",
            {"start": "states", "output": {"correct": {"guide": {"cycle": {"period": 3}}}}},
        ),
        (
            {"decoder": "handed", "ahead": "guided", "head": {"sigmoid": False, "blurs": [2.0]}},
            "encoder_decoder",
            {"start": "states", "output": {"mix": {"guide": "persistence", "blurs": [2.0]}}},
        ),
    ],
)
def test_each_switch_of_then_is_a_part_of_now(old: dict, name: str, now: dict) -> None:
    whole = build_model(name, now)
    assert earlier.arguments("convlstm", old) == (name, whole.args)
    assert same(build_model("convlstm", old), whole)


@pytest.mark.parametrize(
    ("name", "old", "now"),
    [
        ("quick", {"stem": {"skip": "none"}}, {"codec": {"strided": {"show_last": False}}}),
        ("quick", {"hidden": [8]}, {"core": {"convlstm": {"hidden": [8]}}}),
        (
            "quick",
            {"kernel": 5, "channels": 3},
            {"core": {"convlstm": {"kernel": 5}}, "channels": 3},
        ),
        ("quick", {"head": {"carry": False}}, {"output": {"draw": {"sigmoid": False}}}),
        ("tutorial", {"kernel": 5}, {"core": {"convlstm": {"kernel": 5}}}),
        ("shi2015", {"gates": {"peepholes": False}}, {"core": {"convlstm": {"peepholes": False}}}),
        ("openstl", {"stem": {"patch": 2}}, {"codec": {"patches": {"size": 2}}}),
        ("nowcast", {"head": {"blurs": [2]}}, {"output": {"mix": {"blurs": [2]}}}),
        ("nowcast", {"head": {"blurs": []}}, {"output": {"correct": {"guide": "optical_flow"}}}),
        (
            "nowcast",
            {"guide": {"name": "cycle", "period": 24}},
            {"output": {"mix": {"guide": {"cycle": {"period": 24}}}}},
        ),
    ],
)
def test_changes_of_then_to_a_preset(name: str, old: dict, now: dict) -> None:
    assert same(on_meta(name, old), on_meta(name, now))


@pytest.mark.parametrize(
    ("name", "old", "message"),
    [
        ("convlstm", {"layers": 3}, "takes no argument 'layers'"),
        ("quick", {"hidden": [4], "core": "convlstm"}, "takes no argument 'core'"),
        ("quick", {"stem": {"width": [4]}}, "did you mean widths"),
        ("quick", {"stem": 4}, "quick.stem is names and values, not 4"),
        ("quick", {"hidden": "4"}, "quick.hidden is a list"),
        ("quick", {"ahead": "back"}, "ahead is one of hidden, frame, nothing, guided, at_once"),
        ("convlstm", {"kernel": 4}, "kernel 4x4 is even"),
        ("convlstm", {"head": {"horizon": 5}}, "went with ahead at_once in version 0.1"),
        ("convlstm", {"decoder": "same"}, "decoder same took ahead frame or at_once"),
        ("convlstm", {"ahead": "at_once"}, "ahead at_once took decoder same"),
        ("convlstm", {"stem": {"patch": 2, "widths": [8]}}, "a stem had a patch or widths"),
        (
            "convlstm",
            {"stem": {"skip": "embedding"}, "decoder": "same", "ahead": "frame"},
            "skip embedding took a decoder of its own",
        ),
        ("convlstm", {"head": {"carry": True}}, "head.carry took head.sigmoid false"),
        ("quick", {"ahead": "frame"}, "head.carry took no frames"),
        ("convlstm", {"ahead": "guided"}, "ahead guided took head.sigmoid false"),
        ("convlstm", {"head": {"blurs": [1.0]}}, "head.blurs went with ahead guided"),
        ("convlstm", {"hidden": [4, 8], "decoder": "mirrored"}, "equal ends"),
        ("nowcast", {"guide": {"period": 3}}, "a guide of version 0.1 has a name, not None"),
        ("nowcast", {"guide": {"name": ["x"]}}, "a guide of version 0.1 has a name, not"),
        ("nowcast", {"guide": "oracle"}, "guide 'oracle' is unknown"),
        ("nowcast", {"guide": {"name": "cycle", "perod": 3}}, "did you mean period"),
    ],
)
def test_what_was_no_network_then_is_none_now(name: str, old: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        build_model(name, old)
    assert "\n" not in str(refused.value)


ODD: list[Any] = [
    None, True, -1, 0, 2, 10**30, 5.5, float("nan"), "", "x", "frame", [], [1], [None], [[1]], {},
    {"a": 1}, {"name": "x"}, {"name": ["x"]}, {1: 2}, (3,), b"x",
]  # fmt: skip


def places(args: dict, inside: tuple = ()) -> list[tuple]:
    paths = []
    for name, value in args.items():
        paths.append((*inside, name))
        if isinstance(value, dict):
            paths += places(value, (*inside, name))
    return paths


def outcome(build: Callable[[], object]) -> str:
    message = ""
    try:
        build()
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    return "refused" if message else "built"


@pytest.mark.parametrize("name", WRITTEN)
def test_nonsense_is_one_line(name: str) -> None:
    """Each odd value at each place makes a network or is refused in one line; both happen."""
    came = {"built": 0, "refused": 0}
    whole = WRITTEN[name] | {"hidden": [2] * len(WRITTEN[name]["hidden"])}
    for place in places(whole):
        for odd in ODD:
            args = json.loads(json.dumps(whole))
            at = args
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = odd
            came[outcome(lambda args=args: on_meta("convlstm", args))] += 1
    assert came["built"] > 10
    assert came["refused"] > 200


def test_a_config_of_then_and_flags_of_then(tmp_path: Path) -> None:
    """`hidden` beside arguments of then, which a run's config.yaml holds as they were given."""
    data = {"data_args": {"canvas": 32, "clips": 8}, "past": 2, "future": 2, "batch_size": 2}
    asked = {"model": "quick", "hidden": 4, "model_args": {"stem": {"skip": "none"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(asked | data | {"validation_clips": 2}))
    flags = "--model_args.head.carry false --model_args.gates.peepholes true"
    options = parse(["--config", str(tmp_path / "config.yaml"), *flags.split()])
    groups = (
        options[kind] for kind in (ModelOptions, DataOptions, LearningOptions, MachineOptions)
    )
    _, network, _, _ = prepared(*groups)
    expected = preset(
        "quick",
        core={"convlstm": {"hidden": [4], "peepholes": True}},
        codec={"strided": {"show_last": False}},
        output={"draw": {"sigmoid": False}},
    )
    assert same(network, expected)


WIDTHS: list[dict] = [{"hidden": [4]}, {"core": {"convlstm": {"hidden": [4]}}}]


@pytest.mark.parametrize("model_args", WIDTHS, ids=["then", "now"])
def test_hidden_is_given_once(model_args: dict) -> None:
    data = DataOptions(data_args={"canvas": 32, "clips": 8}, past=2, future=2, batch_size=2)
    model = ModelOptions("quick", hidden=4, model_args=model_args)
    with pytest.raises(ValueError, match="give hidden or the hidden of model_args, not both"):
        prepared(model, data, LearningOptions(), MachineOptions(device="cpu"))


@pytest.mark.parametrize(
    ("example", "old"),
    [
        ("camera", {"stem": {"norm": "group"}, "head": {"blurs": []}}),
        (
            "temperature",
            {
                "hidden": [32],
                "stem": {"widths": [16, 32], "skip": "frame"},
                "head": {"carry": False, "sigmoid": False},
                "ahead": "guided",
                "guide": {"name": "cycle", "period": 24},
            },
        ),
        ("radar", {}),
    ],
)
def test_the_examples_are_the_networks_that_they_were(example: str, old: dict) -> None:
    path = Path(__file__).parents[2] / "examples" / example / f"{example}.yaml"
    config = yaml.safe_load(path.read_text())
    assert same(
        on_meta(config["model"], config.get("model_args", {})), on_meta(config["model"], old)
    )


# Files


NAMES = {
    "codec.": "to_maps.",
    "encoder.cells.": "encoder.",
    "decoder.cells.": "forecaster.",
    "output.last.": "to_frame.last.",
    "output.motion.": "carry.motion.",
    "up.": "to_frame.",
}


def as_then(weights: dict, prefix: str = "") -> dict:
    """A network's weights under the names of version 0.1."""
    renamed = {}
    for key, value in weights.items():
        key = key.removeprefix(prefix)
        before = next((now for now in NAMES if key.startswith(now)), "")
        renamed[prefix + NAMES.get(before, "") + key.removeprefix(before)] = value
    return renamed


OLD: dict[str, dict[str, Any]] = {
    "quick": WRITTEN["quick"] | {"hidden": [4]},
    "openstl": WRITTEN["openstl"] | {"hidden": [3, 3]},
    "nowcast": WRITTEN["nowcast"] | {"hidden": [4], "guide": {"name": "cycle", "period": 2}},
    "shi2015": WRITTEN["shi2015"] | {"hidden": [4, 3, 4]},
}


@pytest.mark.parametrize("name", OLD)
def test_a_saved_folder_of_then(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    forecaster = Forecaster(build_model("convlstm", OLD[name]), Window(3, 2))
    folder = forecaster.save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model": "convlstm", "args": OLD[name]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    names = set(as_then(weights))
    assert not names & set(weights)  # each has another name
    save_file(as_then(weights), folder / "model.safetensors")
    past = torch.rand(3, 1, 16, 16)
    loaded = Forecaster.load(folder)
    forecaster.model.to(memory_format=torch.channels_last)  # as `load` lays weights
    assert torch.equal(loaded.predict(past, 3), forecaster.predict(past, 3))
    again = Forecaster.load(loaded.save(tmp_path / "again"))  # in today's terms
    assert json.loads((tmp_path / "again" / "config.json").read_text())["args"] == loaded.model.args
    assert torch.equal(again.predict(past, 3), forecaster.predict(past, 3))


def test_a_stream_of_then_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file names the network by a digest, which version 0.1 took in its own words."""
    torch.manual_seed(0)
    forecaster = Forecaster(build_model("convlstm", OLD["quick"]), Window(3, 2))
    forecaster.model.to(memory_format=torch.channels_last)  # as `load` lays weights
    frames, live = torch.rand(4, 1, 16, 16), forecaster.stream(2)
    live.take(frames[0])
    then = as_then(forecaster.model.state_dict())
    with monkeypatch.context() as patch:
        config = forecaster.config() | {"model": "convlstm", "args": OLD["quick"]}
        patch.setattr(forecaster, "config", lambda: config)
        patch.setattr(forecaster.model, "state_dict", lambda: then)
        live.save(tmp_path / "state")
    weights = {f"network.{key}": value for key, value in then.items()}
    torch.save({"forecaster": config, "state_dict": weights}, tmp_path / "a.ckpt")
    again = Forecaster.load(tmp_path / "a.ckpt").stream(2).restore(tmp_path / "state")
    assert again.seen == 1
    assert torch.equal(again.push(frames[1]), live.push(frames[1]))
    with torch.no_grad():
        next(forecaster.model.parameters()).add_(1)
    weights["network.to_maps.down.0.0.weight"] = next(forecaster.model.parameters())
    torch.save({"forecaster": config, "state_dict": weights}, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match="saved by another model"):
        Forecaster.load(tmp_path / "b.ckpt").stream(2).restore(tmp_path / "state")


def trained(run: Path, model: ModelOptions, steps: int, resume: bool = False) -> dict:
    train(
        model,
        DataOptions(
            data_args={"canvas": 32, "clips": 12},
            past=2,
            future=2,
            batch_size=4,
            validation_clips=2,
        ),
        LearningOptions(epochs=9),
        MachineOptions(device="cpu", devices=1, trainer={"max_steps": steps}),
        RunOptions(**{"resume" if resume else "run": str(run)}, picture_every=0),
    )
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "not sealed"])
@pytest.mark.parametrize(
    ("name", "model_args"),
    [
        ("quick", {"gates": {"peepholes": True}}),  # 32 weights, of which each has its own moments
        ("openstl", {"hidden": [3, 3], "stem": {"patch": 8}}),
    ],
)
def test_a_run_of_then_goes_on_to_the_bit(name, model_args, sealed, tmp_path: Path) -> None:
    """Its weights, and Adam's state of them, which is kept by their order."""
    model = ModelOptions(name, hidden=None if "hidden" in model_args else 4, model_args=model_args)
    whole = trained(tmp_path / "whole", model, 5)
    run = tmp_path / "run"
    checkpoint = trained(run, model, 3)
    full = WRITTEN[name] | {"hidden": model_args.get("hidden", [4])}
    for key in ("gates", "stem"):
        full[key] = full[key] | model_args.get(key, {})
    checkpoint["forecaster"] |= {"model": "convlstm", "args": full}
    assert checkpoint["state_dict"].keys() != as_then(checkpoint["state_dict"], "network.").keys()
    checkpoint["state_dict"] = as_then(checkpoint["state_dict"], "network.")
    for file in (run / "checkpoints").glob("*.ckpt"):
        write_checkpoint(file, checkpoint) if sealed else torch.save(checkpoint, file)
    loaded = Forecaster.load(run)
    assert loaded.model.args == whole["forecaster"]["args"]
    gone_on = trained(run, model, 5, resume=True)
    assert gone_on["global_step"] == whole["global_step"] == 5
    assert gone_on["forecaster"]["args"] == whole["forecaster"]["args"]
    assert gone_on["forecaster"]["model"] == whole["forecaster"]["model"] != "convlstm"
    assert gone_on["state_dict"].keys() == whole["state_dict"].keys()
    for key, value in whole["state_dict"].items():
        assert torch.equal(gone_on["state_dict"][key], value), key
    adam, expected = gone_on["optimizer_states"][0]["state"], whole["optimizer_states"][0]["state"]
    assert len(expected) == len(whole["state_dict"])
    for weight, moments in expected.items():
        for moment, value in moments.items():
            assert torch.equal(adam[weight][moment], value), (weight, moment)


def test_strangers_checkpoints_in_words_of_then(tmp_path: Path) -> None:
    """Each is read, or refused in one line."""
    draw = random.Random(0)
    torch.manual_seed(0)
    model = build_model("convlstm", OLD["openstl"])
    config = Forecaster(model, Window(2, 2)).config() | {"model": "convlstm"}
    weights = {f"network.{key}": value for key, value in as_then(model.state_dict()).items()}
    refused = 0
    for _ in range(60):
        args = json.loads(json.dumps(OLD["openstl"]))
        place = draw.choice(places(args))
        at = args
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = draw.choice([odd for odd in ODD if odd != b"x"])
        state: Any = draw.choice([weights, weights, weights, None, [], "x", {}, {1: 2}, {"x": 3}])
        forecaster = config | {"args": draw.choice([args, args, 3, None])}
        torch.save({"forecaster": forecaster, "state_dict": state}, tmp_path / "a.ckpt")
        refused += outcome(lambda: Forecaster.load(tmp_path / "a.ckpt")) == "refused"
    assert refused > 30
