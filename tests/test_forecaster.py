"""Forecasts in the data's own units, from saved folders and runs, and what is refused."""

import json

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.clip import check_frames
from foreframe.models import build_model


@pytest.fixture
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"hidden": (8,)}), Window(5, 5))


def test_rank_and_kind_come_back_as_given(forecaster) -> None:
    single, many = np.random.rand(4, 1, 16, 16).astype(np.float32), torch.rand(2, 4, 1, 16, 16)
    assert forecaster.predict(single, 3).shape == (3, 1, 16, 16)
    assert isinstance(forecaster.predict(single, 3), np.ndarray)
    assert forecaster.predict(many, 12).shape == (2, 12, 1, 16, 16)
    assert isinstance(forecaster.predict(many, 3), torch.Tensor)


def test_units_go_in_and_come_out() -> None:
    kelvin = Forecaster(build_model("persistence"), scaling=Scaling(250, 310, "K"))
    past = torch.full((3, 1, 8, 8), 287.5)
    torch.testing.assert_close(kelvin.predict(past, 2)[1], past[0])
    bytes_ = Forecaster(build_model("persistence"), scaling=Scaling(0, 255))
    assert bytes_.predict(np.full((3, 1, 8, 8), 200, np.uint8), 2).max() == pytest.approx(200)


def test_scaling() -> None:
    fitted = Scaling.fit(np.array([[2.0, np.nan], [6.0, 4.0]]), "mm/h")
    assert (fitted.low, fitted.high, fitted.units) == (2, 6, "mm/h")
    np.testing.assert_allclose(fitted.to_network(np.array([2.0, 5.0])), [0, 0.75])
    np.testing.assert_allclose(fitted.to_units(fitted.to_network(np.array([3.3]))), [3.3])
    with pytest.raises(ValueError, match="two different"):
        Scaling.fit(np.ones(4))
    with pytest.raises(ValueError, match="low < high"):
        Scaling(1, 1)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 16, 16), np.float32), "has 3 axes; give"),
        (np.zeros((4, 3, 16, 16), np.float32), "3 channels"),
        (np.zeros((4, 1, 16, 16), np.uint8), "divide by 255"),
        (np.zeros((4, 1, 16, 16), bool), "no measure of brightness"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((0, 1, 16, 16), np.float32), "holds nothing"),
        (np.full((4, 1, 16, 16), np.nan, np.float32), "every value is missing"),
        (np.full((4, 1, 16, 16), np.inf, np.float32), "1024 of 1024 values are NaN or infinite"),
        (np.full((4, 1, 16, 16), 3, np.float32), r"outside \[0, 1\]"),
    ],
)
def test_frames_that_are_refused(forecaster, frames, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        forecaster.predict(frames, 3)
    assert "\n" not in str(told.value)


def test_what_is_no_array() -> None:
    with pytest.raises(ValueError, match="a str where"):
        check_frames("clip.npy")


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_that_are_refused(forecaster, steps) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        forecaster.predict(torch.rand(4, 1, 16, 16), steps)


def test_a_refused_frame_leaves_the_stream_as_it_was(forecaster) -> None:
    live = forecaster.stream(2)
    good = torch.rand(2, 1, 16, 16)
    live.push(good[0])
    with pytest.raises(ValueError, match="outside"):
        live.push(good[0] + 7)
    torch.testing.assert_close(live.push(good[1]), forecaster.predict(good, 2), atol=1e-5, rtol=1e-5)


def test_a_saved_folder_explains_itself(forecaster, tmp_path) -> None:
    forecaster.about["data"] = "moving_mnist"
    forecaster.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["window"] == {"past": 5, "future": 5, "stride": 1}
    assert config["model"] == "convlstm"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "forecast 5 frames from 5" in card
    assert "moving_mnist" in card
    again = Forecaster.load(tmp_path / "out")
    assert again.window == Window(5, 5)
    assert again.about == forecaster.about


def test_what_cannot_be_loaded(forecaster, tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        Forecaster.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds neither"):
        Forecaster.load(tmp_path)
    saved = forecaster.save(tmp_path / "saved")
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        Forecaster.load(saved)
    (saved / "model.safetensors").write_bytes(whole)
    (saved / "config.json").write_text((saved / "config.json").read_text().replace("[\n      8\n    ]", "[16]"))
    with pytest.raises(ValueError, match="does not hold"):
        Forecaster.load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        Forecaster.load(saved)
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="cut short"):
        Forecaster.load(tmp_path / "cut.ckpt")


def test_no_pickle_is_loaded(tmp_path) -> None:
    """A checkpoint that carries code is refused, and the code does not run."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"forecaster": Bomb(), "state_dict": {}}, tmp_path / "bomb.ckpt")
    with pytest.raises(ValueError, match="cannot be read"):
        Forecaster.load(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "exploded").exists()


def test_clip_and_window() -> None:
    clip = Clip(np.zeros((6, 1, 4, 4)), times=np.arange(6), units="K")
    assert len(clip[2:4]) == 2
    assert clip[2:4].times.tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"\(T,C,H,W\)"):
        Clip(np.zeros((6, 4, 4)))
    with pytest.raises(ValueError, match="times"):
        Clip(np.zeros((6, 1, 4, 4)), times=np.arange(5))
    with pytest.raises(ValueError, match="at least 1"):
        Window(0, 3)
    past, future = Window(2, 3).split(torch.arange(6.0).view(1, 6, 1, 1, 1))
    assert past.flatten().tolist() == [0, 1]
    assert future.flatten().tolist() == [2, 3, 4]


def test_public_names() -> None:
    for name in foreframe.__all__:
        assert getattr(foreframe, name) is not None
    assert set(foreframe.__all__) <= set(dir(foreframe))
    with pytest.raises(AttributeError):
        foreframe.nothing  # noqa: B018
