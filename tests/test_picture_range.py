"""A forecaster that was trained on [0, 1] takes pictures of 8 bits, and refuses numbers that it
cannot mean.
"""

import json

import numpy as np
import pytest

from foreframe import Clip, Forecaster
from foreframe.cli import main
from foreframe.visuals import write_gif, write_mp4


def pictures(t: int, side: int = 64) -> np.ndarray:
    """A bright square that walks to the right, (T,H,W,3) uint8."""
    frames = np.zeros((t, side, side, 3), np.uint8)
    for k in range(t):
        frames[k, 20:40, 4 + k : 24 + k] = 255
    return frames


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_the_published_weights_forecast_pictures(kind, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write = {"gif": write_gif, "mp4": write_mp4}[kind]
    write(f"past.{kind}", pictures(12), 10)
    grey = ["--reading.colour", "grey"]
    command = ["predict", "moving-mnist", f"past.{kind}", "--steps", "3", "-o", "future.npy", *grey]
    assert main(command) == 0
    future = np.load("future.npy")
    assert future.shape == (3, 1, 64, 64)
    assert 0.5 < future.max() < 1.5  # on [0,1], and there is something to see
    command = ["stream", "moving-mnist", f"past.{kind}", "--steps", "3", "--output", "live", *grey]
    assert main(command) == 0
    np.testing.assert_allclose(np.load("live/frame-000011.npy").max(), future.max(), atol=0.2)


def test_python_takes_a_clip_of_pictures_and_still_refuses_a_bare_array_of_them() -> None:
    forecaster = Forecaster.load("moving-mnist")
    frames = pictures(10)[..., 0][:, None]
    future = forecaster.predict(Clip(frames), 2)
    same = forecaster.predict(frames.astype(np.float32) / 255, 2)
    np.testing.assert_array_equal(future.frames, same)
    with pytest.raises(ValueError, match="divide by 255"):
        forecaster.predict(frames, 2)


def test_evaluate_scores_pictures_on_the_range_of_training(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_mp4("film.mp4", np.concatenate([pictures(30), pictures(30), pictures(30)]), 10)
    shares = ["--data_args.shares", "[0.5,0.25,0.25]"]
    command = ["evaluate", "moving-mnist", "--data", "film.mp4", "--data_args.colour", "grey"]
    assert main([*command, *shares, "--clips", "2", "--output", "report"]) == 0
    card = json.loads((tmp_path / "report" / "scorecard.json").read_text())
    # A walking square covers 400 of 4,096 pixels: a square forecast elsewhere is off by 800.
    assert card["scores"]["persistence"]["openstl"]["mse"]["overall"] < 800
    assert card["scores"]["model"]["openstl"]["mse"]["overall"] < 800


def test_evaluate_refuses_numbers_that_cannot_be_brought_to_the_range(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("field.npy", np.random.default_rng(0).gamma(1, 20, (240, 32, 32)).astype(np.float32))
    assert main(["evaluate", "moving-mnist", "--data", "field.npy", "--clips", "2"]) == 2
    said = capsys.readouterr().err
    assert "trained on [0, 1]" in said
    assert len(said.splitlines()) == 1
