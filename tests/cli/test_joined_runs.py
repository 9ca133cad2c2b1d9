"""Several runs as one forecaster."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = build_model("quick", {"core": {"convlstm": {"hidden": [4]}}})
        trained = Trained("moving_mnist", preset="quick", seed=seed)
        Forecaster(model, Window(4, 3), trained=trained).save(folder / name)
    Forecaster(model, Window(4, 3), Scaling(0.0, 255.0, "", "range")).save(folder / "bytes")
    colour = build_model("quick", {"core": {"convlstm": {"hidden": [4]}}, "channels": 3})
    Forecaster(colour, Window(4, 3)).save(folder / "colour")
    np.save(folder / "clip.npy", np.random.default_rng(0).random((5, 1, 16, 16), np.float32))
    return folder


def test_its_forecast_is_the_mean_and_its_members_are_the_runs(folder: Path, capsys) -> None:
    runs = [str(folder / name) for name in ("first", "second")]
    assert main(["ensemble", *runs, "-o", str(folder / "both")]) == 0
    assert "the ensemble of 2 runs lies in" in capsys.readouterr().out
    clip = np.load(folder / "clip.npy")
    each = np.stack([Forecaster.load(run).predict(clip, 6) for run in runs])
    both = Forecaster.load(folder / "both")
    assert (both.about["members"], both.trained.seed) == (["first", "second"], None)
    np.testing.assert_allclose(both.predict(clip, 6), each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(both.predict(clip, 6, members=2), each, atol=1e-6)
    out = str(folder / "members.npy")
    given = [str(folder / "both"), str(folder / "clip.npy"), "--members"]
    assert main(["predict", *given, "2", "-o", out, "--past", "5"]) == 0
    np.testing.assert_allclose(np.load(out), each[:, :3], atol=1e-5)
    assert capsys.readouterr().err == ""
    scored = ["--data", given[1], "--split", "all", "--past", "2", "--future", "2"]
    for command in (["predict", *given, "3", "-o", out], ["stream", *given, "3"]):
        assert main(command) == 2
        assert "joins 2 runs, its members: 2 at most" in capsys.readouterr().err
    assert main(["evaluate", given[0], *scored, "--members", "3"]) == 2
    assert "joins 2 runs, its members: 2 at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (["first"], "an ensemble is of 2 runs or more, not 1"),
        (
            ["first", "bytes"],
            "on one scale, but bytes scales them otherwise than first; train both",
        ),
        (["first", "colour"], "forecast as many channels"),
        (["first", "nobody"], "there is no folder"),
    ],
)
def test_what_is_no_ensemble(folder: Path, capsys, runs: list[str], words: str) -> None:
    output = folder / "never"
    assert main(["ensemble", *(str(folder / run) for run in runs), "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not output.exists()
    taken = ["ensemble", str(folder / "first"), str(folder / "second"), "-o", str(folder)]
    assert main(taken) == 2
    assert "is there already" in capsys.readouterr().err
