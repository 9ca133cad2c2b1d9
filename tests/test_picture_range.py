"""A forecaster that was trained on [0, 1] takes pictures of 8 bits, forecasts them as 0 to 255, and
refuses numbers that it cannot mean; one of values with units refuses colours.
"""

import json

import numpy as np
import pytest
from PIL import Image

from foreframe import Clip, Forecaster, Scaling, Window, evaluate
from foreframe.cli import main
from foreframe.data import Recordings
from foreframe.models import build_model
from foreframe.visuals import write_mp4
from refusals import refused
from test_outputs import write_forecast


def pictures(t: int, side: int = 64) -> np.ndarray:
    """A bright square that walks to the right, (T,H,W,3) uint8."""
    frames = np.zeros((t, side, side, 3), np.uint8)
    for k in range(t):
        frames[k, 20:40, 4 + k : 24 + k] = 255
    return frames


def test_python_takes_a_clip_of_pictures_and_still_refuses_a_bare_array_of_them() -> None:
    forecaster = Forecaster(build_model("guided"), Window(10, 10), Scaling(kind="range"))
    frames = pictures(10)[..., 0][:, None]
    future = forecaster.predict(Clip(frames), 2)
    same = forecaster.predict(frames.astype(np.float32) / 255, 2)
    np.testing.assert_array_equal(future.frames, 255 * same)
    live = forecaster.stream(2)
    for frame in frames:
        ahead = live.push(frame)
    np.testing.assert_allclose(ahead, future.frames, atol=0.01)
    with pytest.raises(ValueError, match="divide by 255"):
        forecaster.predict(frames, 2)


def test_a_forecast_of_a_film_is_drawn_as_bright_as_the_film(tmp_path) -> None:
    """The picture of a grey film and its forecast, which is that film's last frame."""
    past = Clip(np.full((3, 1, 16, 16), 200, np.uint8))
    future = Clip(np.full((2, 1, 16, 16), 200, np.float32))
    write_forecast(tmp_path / "film.png", past, future, Scaling())
    drawn = np.asarray(Image.open(tmp_path / "film.png").convert("L"))
    assert (drawn == 200).mean() > 0.2
    scaled = (Clip(np.asarray(of.frames) / np.float32(255)) for of in (past, future))
    write_forecast(tmp_path / "same.png", *scaled, Scaling())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "same.png").convert("L")), drawn)


def test_colours_are_no_values_of_a_unit(tmp_path, monkeypatch, capsys) -> None:
    """A model of any channels does not take them; where they are grey they may stand for values."""
    monkeypatch.chdir(tmp_path)
    write_mp4("film.mp4", pictures(24, 32), 10)
    network = build_model("persistence")
    Forecaster(network, scaling=Scaling(250, 310, "K", "minmax")).save("kelvin")
    live = ["stream", "kelvin", "film.mp4", "--steps", "2"]
    ahead = ["predict", "kelvin", "film.mp4", "--steps", "2", "-o", "future.npy"]
    score = ["evaluate", "kelvin", "--data", "film.mp4", "--split", "all", "--clips", "1"]
    score += ["-o", "report", "--baselines", "[]"]
    for command in (ahead, live, score):
        said = refused(capsys, *command)
        assert "film.mp4: its 3 channels are colours, but the model was trained on K" in said
        assert not (tmp_path / "report").exists()
        assert main([*command, "--reading.colour", "grey"]) == 0
        capsys.readouterr()


def test_colours_in_memory_are_no_values_of_a_unit_either() -> None:
    frames = pictures(24, 32).transpose(0, 3, 1, 2)
    network = build_model("persistence")
    forecaster = Forecaster(network, Window(4, 2), Scaling(250, 310, "K", "minmax"))
    for data in (frames, frames[None], Recordings(frames, "all", Window(4, 2))):
        with pytest.raises(ValueError, match="colours, but the model was trained on K"):
            evaluate(forecaster, data, split="all" if isinstance(data, np.ndarray) else None)
    kelvin = 250 + frames.astype(np.float32) / 9  # three fields
    card = evaluate(forecaster, kelvin, clips=1, split="all", baselines=["persistence"])
    assert card["clips"] == 1


def test_evaluate_scores_pictures_on_the_range_of_training(tmp_path, monkeypatch, capsys) -> None:
    """And refuses numbers that cannot be brought to it."""
    monkeypatch.chdir(tmp_path)
    write_mp4("film.mp4", pictures(30), 10)
    Forecaster(build_model("mean"), Window(4, 4)).save("run")
    command = ["evaluate", "run", "--reading.colour", "grey", "--split", "all", "--clips", "2"]
    command += ["--baselines", "[persistence]"]
    assert main([*command, "--data", "film.mp4", "--output", "report"]) == 0
    card = json.loads((tmp_path / "report" / "scorecard.json").read_text())
    # A walking square covers 400 of 4,096 pixels: a square forecast elsewhere is off by 800.
    for name in ("persistence", "model"):
        assert 10 < card["scores"][name]["openstl"]["mse"]["overall"] < 800
    np.save("field.npy", np.random.default_rng(0).gamma(1, 20, (240, 32, 32)).astype(np.float32))
    assert "trained on [0, 1]" in refused(capsys, *command, "--data", "field.npy")
