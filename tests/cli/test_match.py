"""--match of predict, stream and evaluate: what it changes, says and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.data.cf import write_grid
from foreframe.models import build_model


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch) -> Forecaster:
    """A forecaster with a guide in `run`, one without in `plain`, and 8 frames of rain."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    output = {"blend": {"guides": ["linear_motion"], "blurs": [2.0]}}
    network = build_model("nowcast", {"core": {"convlstm": {"hidden": [4]}}, "output": output})
    scaling = Scaling(0.5, 100, "mm/h", "log")
    forecaster = Forecaster(network, Window(3, 2), scaling)
    forecaster.save("run")
    Forecaster(build_model("mean"), Window(3, 2), scaling).save("plain")
    rng = np.random.default_rng(0)
    frames = np.where(rng.random((8, 1, 16, 20)) < 0.4, rng.gamma(0.7, 4, (8, 1, 16, 20)), 0)
    times = np.datetime64("2020-01-01", "ns") + np.arange(8) * np.timedelta64(5, "m")
    write_grid("rain.nc", Clip(frames.astype(np.float32), times, "mm/h", variable="rain"))
    return forecaster


@pytest.mark.parametrize(("match", "said"), [("last", "the last frame"), ("guide", "its guide")])
def test_predict(run, match: str, said: str) -> None:
    assert main(["predict", "run", "rain.nc", "-o", "out.nc", "--match", match]) == 0
    clip = run.open("rain.nc")
    with xr.open_dataset("out.nc") as out:
        expected = run.predict(clip[-3:], 2, match=match).frames
        np.testing.assert_allclose(out["rain"].values, expected[:, 0], rtol=1e-5)
        assert f"forecast from run, matched to {said}" in out.attrs["history"]
    assert (
        main(["predict", "run", "rain.nc", "-o", "out.npy", "--every", "2", "--match", match]) == 0
    )
    expected = run.predict(clip[2:5], 2, match=match).frames
    np.testing.assert_allclose(np.load("out.npy")[1], expected, rtol=1e-5)
    assert main(["stream", "run", "rain.nc", "-o", "live", "--match", match]) == 0
    expected = run.predict(clip, 2, match=match).frames
    np.testing.assert_allclose(np.load("live/frame-000007.npy"), expected, rtol=1e-3, atol=1e-3)


def test_evaluate(run, capsys) -> None:
    given = ["evaluate", "run", "--data", "rain.nc", "--split", "all", "--thresholds", "[1]"]
    assert main([*given, "-o", "report", "--match", "[last,guide]"]) == 0
    out = capsys.readouterr().out
    card = json.loads(Path("report/scorecard.json").read_text())
    rows = ["model", "model matched to last", "model matched to guide"]
    assert list(card["scores"])[:3] == list(card["events"])[:3] == rows
    assert all(out.count(row) == 2 for row in rows[1:])  # RMSE and CSI
    assert "model matched to last" in card["comparison"]
    assert Path("report/curves.png").is_file()
    called = foreframe.evaluate("run", "rain.nc", split="all", match="last")
    assert list(called["scores"])[1] == rows[1]
    assert called["scores"][rows[1]] == card["scores"][rows[1]]


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "plain", "rain.nc", "-o", "new.nc"],
        ["evaluate", "plain", "--data", "rain.nc", "--split", "all", "-o", "new.nc"],
        ["stream", "plain", "rain.nc", "-o", "new.nc"],
    ],
)
@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("guide", "match guide: this model draws upon no guide; choose last, which takes"),
        ("median", "--match is "),
    ],
)
def test_refused_in_one_line(command: list[str], match: str, message: str, capsys) -> None:
    assert main([*command, "--match", match]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("new.nc").exists() or not any(Path("new.nc").iterdir())


def test_forecasts_made_elsewhere_have_no_match(capsys) -> None:
    np.save("zeros.npy", np.zeros((2, 10, 1, 64, 64), np.float32))
    given = ["evaluate", "--data", "moving_mnist", "--clips", "2", "--forecasts", "zeros.npy"]
    assert main([*given, "--match", "last"]) == 2
    assert "name a RUN" in capsys.readouterr().err
