"""The weights that come with foreframe: there at once, small, good on digits that they have not seen, and what their card says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.cli import main
from foreframe.forecaster import WEIGHTS, published
from foreframe.models import build_model


def test_they_are_small_enough() -> None:
    assert published() == ["moving-mnist"]
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 16 * 2**20


def test_they_forecast_unseen_digits() -> None:
    forecaster = Forecaster.load("moving-mnist")
    assert all(value.dtype == torch.float32 for value in forecaster.model.parameters())
    card = evaluate(forecaster, MovingMNIST("test"), clips=64)
    mse = {name: of["openstl"]["mse"]["overall"] for name, of in card["scores"].items()}
    assert mse["model"] < 0.6 * min(value for name, value in mse.items() if name != "model")
    told = next(line for line in (WEIGHTS / "moving-mnist" / "README.md").read_text().splitlines() if line.startswith("| model |"))
    assert mse["model"] == pytest.approx(float(told.split("|")[2]), rel=0.2)  # of more clips, where these are 64


def test_the_card_says_how_they_were_made() -> None:
    folder = WEIGHTS / "moving-mnist"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for told in ("foreframe train --config", "seed: 0", "persistence", "(openstl)", "(standard)", "CC BY-SA 3.0"):
        assert told in card
    assert "/" not in json.dumps(json.loads((folder / "config.json").read_text())["about"])  # nobody's paths


def test_the_commands_know_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("clip.npy", MovingMNIST("test", length=10)[3].numpy())
    assert main(["predict", "moving-mnist", "--input", "clip.npy", "-o", "future.npy"]) == 0
    assert np.load("future.npy").shape == (10, 1, 64, 64)
    assert main(["evaluate", "moving-mnist", "--clips", "4"]) == 0
    assert (tmp_path / "runs" / "moving-mnist" / "evaluation" / "scorecard.json").is_file()
    capsys.readouterr()
    assert main(["predict", "moving-mist", "--input", "clip.npy", "-o", "x.npy"]) == 2
    assert "moving-mnist, which comes with foreframe" in capsys.readouterr().err


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Forecaster(build_model("persistence")).save("moving-mnist")
    assert type(Forecaster.load("moving-mnist").model).__name__ == "Persistence"


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    forecaster = Forecaster(build_model("quick"))
    whole, half = (forecaster.save(tmp_path / name, half=name == "half") / "model.safetensors" for name in ("whole", "half"))
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    past = torch.rand(5, 1, 32, 32)
    torch.testing.assert_close(Forecaster.load(tmp_path / "half").predict(past, 3), forecaster.predict(past, 3), atol=1e-2, rtol=0)
