"""A model with an objective of its own, trained from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_zoo import SIMVP
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.models import build_model
from foreframe.training.objectives import forecast, next_frames

SHORT = [
    *("--past", "3", "--future", "3", "--batch_size", "2", "--data", "array.npy", "--epochs", "1"),
    *("--validation_clips", "2", "--trainer.limit_train_batches", "3"),
    *("--device", "cpu", "--devices", "1"),
]
FLAGS = [
    *("train", "--model", "svg_small", "--model_args.width", "4", "--model_args.code", "8"),
    *("--model_args.hidden", "8", *SHORT, "--picture_every", "2"),
    *("--trainer.log_every_n_steps", "1", "--loss", "mix", "--run", "run"),
]
FLOW = [
    *("train", "--model", "flow", *SHORT, "--model_args.frames", "3"),
    *("--model_args.width", "8", "--model_args.blocks", "1", "--run", "run"),
]
OF = {"simvp": {**SIMVP, "frames": 3}}


def logged() -> EventAccumulator:
    events = EventAccumulator("run")
    events.Reload()
    return events


@pytest.fixture(autouse=True)
def array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("array.npy", np.random.default_rng(0).random((120, 1, 24, 20)).astype(np.float32))


@pytest.mark.slow
def test_a_variational_model_trains_and_forecasts(capsys: pytest.CaptureFixture) -> None:
    assert main(FLAGS) == 0, capsys.readouterr().err
    loss, kl = (logged().Scalars(name)[-1].value for name in ("loss", "kl"))
    assert 0 < kl < loss
    (row,) = map(json.loads, Path("run/validation.jsonl").read_text().splitlines())
    assert row["step"] == 3
    forecaster = Forecaster.load("run")
    past = np.load("array.npy")[:4]
    assert forecaster.predict(past, 5).shape == (5, 1, 24, 20)
    state = forecaster.model.encode(forecaster.scaling.to_network(torch.from_numpy(past))[None])
    future = forecaster.model.decode(state | {"key": torch.tensor([1])}, 2)
    assert future.isfinite().all()


def test_its_members_are_judged_as_they_are_drawn(capsys: pytest.CaptureFixture) -> None:
    """By crps, with which its own objective, of a code that sees the truth, has nothing to do."""
    assert main([*FLAGS, "--loss", "crps"]) == 0, capsys.readouterr().err
    assert {"loss", "kl"} & {*logged().Tags()["scalars"]} == {"loss"}


def test_what_its_objective_does_not_have_is_refused(capsys) -> None:
    assert main([*FLAGS, "--sampling_steps", "2"]) == 2
    said = capsys.readouterr().err.strip()
    assert "model svg learns from networks that see the future, which has no sampling_steps" in said
    assert "\n" not in said
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_flow_begins_with_a_trained_forecaster_and_leaves_it(capsys) -> None:
    Forecaster(build_model("simvp", OF["simvp"]), Window(3, 3)).save("trained")
    assert main([*FLOW, "--weights", "trained"]) == 0, capsys.readouterr().err
    forecaster, trained = Forecaster.load("run"), Forecaster.load("trained")
    past = torch.from_numpy(np.load("array.npy"))[None, :3]
    assert torch.equal(forecaster.model(past, 7), trained.model(past, 7))
    assert main(["predict", "run", "array.npy", "--members", "3", "-o", "members.nc"]) == 0
    said = capsys.readouterr()
    assert "eval mode" not in said.out + said.err
    # What it has learnt goes on from where it was, also by its members and in other passes; and a
    # resumed run needs no weights.
    on = [*FLOW[:-1], "further", "--weights", "run", "--loss", "crps"]
    assert main([*on, "--model_args.times", "[0,0.5]"]) == 0, capsys.readouterr().err
    goes_on = Forecaster.load("further")
    assert goes_on.model.args == forecaster.model.args | {"times": [0, 0.5]}
    assert torch.equal(goes_on.model(past, 7), trained.model(past, 7))
    shutil.rmtree("trained")
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0, capsys.readouterr().err
    resumed = Forecaster.load("run")
    assert torch.equal(resumed.model(past, 7), forecaster.model(past, 7))


@pytest.mark.slow
def test_dressed_members_begin_with_a_forecaster_or_with_that_of_a_flow(capsys) -> None:
    flow = build_model("flow", {"of": OF, "frames": 3, "width": 8, "blocks": 1}).eval()
    for name, model in (("flow", flow), ("trained", flow.of)):
        Forecaster(model, Window(3, 3)).save(name)
    past = torch.from_numpy(np.load("array.npy"))[None, :3]
    forecast = Forecaster.load("trained").model(past, 7)
    words = ["train", "--model", "dressed", "--loss", "crps", "--members", "3", *SHORT]
    for weights in ("trained", "flow"):
        run = f"of_{weights}"
        assert main([*words, "--weights", weights, "--run", run]) == 0, capsys.readouterr().err
        learnt = Forecaster.load(run).model
        assert torch.equal(learnt(past, 7), forecast)
        assert learnt.scale.bias.abs() > 0
    assert main([*words, "--weights", "of_flow", "--loss", "mse", "--run", "other"]) == 2
    assert "model dressed learns to draw members by --loss crps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "train that first, and begin with its weights, --weights RUN"),
        (["--model_args.of", "simvp_small"], "train that first, and begin with its weights"),
        (
            ["--weights", "trained", "--loss", "mae"],
            "learns to draw members by --loss mse or --loss crps, not mae",
        ),
        (
            ["--weights", "other", "--model_args.of.simvp.blocks", "2"],
            "of another network than these options describe: simvp with",
        ),
    ],
)
def test_a_flow_that_cannot_begin_says_why(more: list[str], message: str, capsys) -> None:
    for name, blocks in (("trained", 2), ("other", 3)):
        args = OF["simvp"] | {"blocks": blocks}
        Forecaster(build_model("simvp", args), Window(3, 3)).save(name)
    assert main([*FLOW, *more]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not Path("run").exists()


@pytest.mark.parametrize("way", ["encoder_decoder", "next_frame"])
def test_the_decoupling_term_is_a_mean_over_frames(way: str) -> None:
    """However it is computed, also when memory is saved."""
    core = {"predrnn": {"hidden": [3, 3], "kernel": 3, "decouple": 0.1}}
    network = build_model(way, {"core": core, "codec": {"patches": {"size": 2}}}).double()
    clips, window = torch.rand(2, 7, 1, 8, 8).double(), Window(4, 3)

    def learnt(memory: str) -> list[torch.Tensor]:
        network.memory = memory
        made = next_frames(network, clips, window, 1.0)
        (term,) = network.terms(made).values()
        weights = network.encoder.adapter.weight, network.encoder.cells[0].gates.weight
        return [term, *torch.autograd.grad(term, weights)]

    whole, saved = learnt("keep"), learnt("save")
    torch.testing.assert_close(saved, whole)
    assert 0 < whole[0] < 0.1
    made = forecast(network, clips, window)
    assert made.state[f"{network.last_core}/d0"][0, 1] == (6 if way == "next_frame" else 7)
