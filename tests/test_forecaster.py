"""Forecasts in the data's own units, of recordings read as in training; what is refused."""

import itertools
import json

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.forecasting.checkpoint_files import write_checkpoint
from foreframe.forecasting.forecast_options import matches
from foreframe.forecasting.tiles import _tiles, tile_layout
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from small import available, built


def test_rank_and_kind_come_back_as_given(forecaster) -> None:
    single, many = np.random.rand(4, 1, 16, 16).astype(np.float32), torch.rand(2, 4, 1, 16, 16)
    assert forecaster.predict(single, 3).shape == (3, 1, 16, 16)
    assert isinstance(forecaster.predict(single, 3), np.ndarray)
    assert forecaster.predict(many, 12).shape == (2, 12, 1, 16, 16)
    assert isinstance(forecaster.predict(many, 3), torch.Tensor)
    flat = forecaster.predict(single[:, 0], 3)  # grey frames (T,H,W), as `fit` takes them
    np.testing.assert_array_equal(flat, forecaster.predict(single, 3))
    assert forecaster.predict(many[0, :, 0], 3).shape == (3, 1, 16, 16)


@pytest.mark.parametrize(
    "forecast",
    [
        lambda of, past: of.predict(past, 2),
        lambda of, past: next(of.rollout(past, 2)),
        lambda of, past: of.stream(steps=2).push(past[0]),
        lambda of, past: foreframe.evaluate(of, [past], past=2, future=1, baselines=[]),
    ],
    ids=["predict", "rollout", "stream", "evaluate"],
)
def test_a_forecast_leaves_a_network_training(forecast) -> None:
    """Also the parts that do not train, such as a frozen encoder."""
    model = built("quick").train()
    model.encoder.eval()
    before = [module.training for module in model.modules()]
    forecast(Forecaster(model, Window(2, 1)), np.zeros((4, 1, 16, 16), np.float32))
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((16, 16), np.float32), "is neither .T,C,H,W. nor"),
        (np.zeros((3, 16, 0), np.float32), "with at least one frame"),
        (np.zeros((4, 3, 16, 16), np.float32), "3 channels"),
        (np.zeros((4, 1, 16, 16), np.uint8), "dtype uint8, but float32 is needed: use astype"),
        (np.zeros((4, 1, 16, 16), bool), "dtype bool, but float32 is needed: use astype"),
        (Clip(np.zeros((4, 1, 16, 16), bool), name="wet.npy"), "^wet.npy: dtype bool"),
        (Clip(np.zeros((4, 1, 16, 16), np.int32), name="wet.npy"), "^wet.npy: dtype int32"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((0, 1, 16, 16), np.float32), "with at least one frame"),
        (np.full((4, 1, 16, 16), np.nan, np.float32), "1024 of 1024 values are NaN"),
        (np.full((4, 1, 16, 16), np.inf, np.float32), "1024 of 1024 values are infinite"),
        (np.full((4, 1, 16, 16), 3, np.float32), r"outside \[0, 1\]"),
        (np.array([np.nan, 0, np.inf, 0], np.float32).reshape(1, 1, 2, 2), "^frames: 1 of 4 valu"),
    ],
)
def test_frames_that_are_refused(forecaster, frames, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        forecaster.predict(frames, 3)
    assert "\n" not in str(told.value)


def test_a_saved_folder_explains_itself(forecaster, tmp_path) -> None:
    forecaster.about["title"], forecaster.trained = (
        "Two digits",
        Trained("moving_mnist", {"motion": "svg"}, frame=(64, 64), seed=3),
    )
    forecaster.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["window"] == {"past": 5, "future": 5, "stride": 1}
    assert config["model"] == "encoder_decoder"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "forecasts 5 frames from 5" in card
    assert "# Two digits" in card
    assert '"data": "moving_mnist"' in card
    again = Forecaster.load(tmp_path / "out")
    assert again.window == Window(5, 5)
    assert again.about == forecaster.about
    assert again.trained == forecaster.trained


def test_what_cannot_be_loaded(forecaster, tmp_path) -> None:
    for path, said in ((tmp_path / "nowhere", "there is no folder"), (tmp_path, "holds neither")):
        with pytest.raises(ValueError, match=said):
            Forecaster.load(path)
    config, weights = (
        forecaster.save(tmp_path / "saved") / name for name in ("config.json", "model.safetensors")
    )
    whole, plain = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        Forecaster.load(tmp_path / "saved")
    weights.write_bytes(whole)
    config.write_text(plain.replace('"hidden": [\n          8', '"hidden": [\n          16'))
    with pytest.raises(ValueError, match="does not hold"):
        Forecaster.load(tmp_path / "saved")
    config.unlink()
    with pytest.raises(ValueError, match=r"No such file .*config\.json"):
        Forecaster.load(tmp_path / "saved")


def test_no_pickle_is_loaded(tmp_path) -> None:
    """A checkpoint that carries code is refused, and the code does not run."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    write_checkpoint(tmp_path / "bomb.ckpt", {"forecaster": {}, "state_dict": Bomb()})
    with pytest.raises(ValueError, match="cannot be read"):
        Forecaster.load(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "exploded").exists()


# Frame by frame

ROLLED = available(
    "quick", "radar", "at_once", "svg_lp", "persistence", "flow", "dressed", "perturbed",
    "guided_with_two_inputs",
)  # fmt: skip


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize("name", ROLLED)
def test_frames_come_one_by_one_as_far_as_somebody_looks(name: str) -> None:
    """To the bit those of `predict`; and beyond what is computed at a time, to rounding."""
    model = built(name)
    forecaster = Forecaster(model, Window(4, 3), Scaling(10, 20, "K", "minmax"))
    past = 10 + 10 * np.random.default_rng(0).random(
        (5, (model.channels or 2) + model.inputs, 12, 16)
    )
    past = past.astype(np.float32)
    past[2, 0, :3], past[:, 0, 11] = np.nan, np.nan
    suiting = ["none", *["last"] * (name == "quick"), *["guide"] * (model.guide is not None)]
    for members in [None, 3] if model.draws else [None]:
        axis = 0 if members is None else 1
        for match in {*suiting} & {*matches()}:
            options = {"members": members, "match": match, "seed": 2}
            rolled = itertools.islice(forecaster.rollout(past, 7, **options), 7)
            expected = forecaster.predict(past, 7, **options)
            np.testing.assert_array_equal(np.stack([*rolled], axis), expected)
        rolled = itertools.islice(forecaster.rollout(past, members=members), 11)
        expected = forecaster.predict(past, 11, members=members)
        np.testing.assert_allclose(np.stack([*rolled], axis), expected, atol=1e-3)


def test_a_rollout_is_of_clips_too_and_refuses_before_the_first_frame(forecaster) -> None:
    clip = Clip(np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16)).astype(np.uint8))
    rolled = itertools.islice(forecaster.rollout(clip), 3)
    np.testing.assert_array_equal(np.stack([*rolled]), forecaster.predict(clip, 5).frames[:3])
    for frames, steps, said in (
        (np.zeros((2, 4, 1, 16, 16), np.float32), 3, "of one past"),
        (np.zeros((4, 3, 16, 16), np.float32), 3, "3 channels"),
        (np.zeros((4, 1, 16, 16), np.float32), 0, "steps"),
    ):
        with pytest.raises(ValueError, match=said):
            forecaster.rollout(frames, steps)
    with pytest.raises(ValueError, match="budget"):
        forecaster.rollout(np.zeros((4, 1, 16, 16), np.float32), budget=0.0)


# Big frames in tiles


def local(name: str) -> Forecaster:
    """A network whose pixels see only their surroundings: no group norm, and one layer."""
    torch.manual_seed(0)
    return Forecaster(build_model(name, {"core": {"convlstm": {"hidden": [4]}}}), Window(3, 2))


@pytest.mark.parametrize(("b", "h", "w"), [(1, 60, 60), (2, 51, 57), (1, 20, 66)])
def test_tiles_equal_the_whole(b: int, h: int, w: int) -> None:
    """The surroundings that a pixel sees lie within the third of the overlap that is thrown
    away.
    """
    forecaster = local("tutorial")
    past = torch.rand(b, 3, 1, h, w)
    whole = forecaster.predict(past, 2)
    assert (forecaster.predict(past, 2, tile=48, overlap=42) - whole).abs().max() < 1e-5
    seams = (forecaster.predict(past, 2, tile=16, overlap=0) - whole).abs()
    assert seams.max() > 1e-4
    assert seams[..., :4, :4].max() < 1e-5  # far from any seam
    torch.testing.assert_close(forecaster.predict(past, 2, tile=128), whole, atol=0, rtol=0)


def test_tiles_of_a_strided_model() -> None:
    forecaster = local("shi2015")
    assert forecaster.model.stride == 4
    past = torch.rand(1, 2, 1, 83, 86)
    whole = forecaster.predict(past, 1)
    # 78 becomes 80.
    assert (forecaster.predict(past, 1, tile=78, overlap=74) - whole).abs().max() < 1e-5
    assert (forecaster.predict(past, 1, tile=32, overlap=0) - whole).abs().max() > 1e-4
    for tile in (1, 3, 5):  # smaller than the blocks that it sees as one
        assert forecaster.predict(past[..., :13, :18], 1, tile=tile, overlap=0).isfinite().all()


def test_members_are_values_that_frames_may_have() -> None:
    """Of a range, beyond which frames are refused; of other scalings they are as they are drawn."""
    torch.manual_seed(0)
    args = {"of": "linear_motion", "by": "persistence", "lags": 2}
    model, past = build_model("dressed", args), 50 * torch.rand(2, 1, 16, 16)
    ranged, free = (
        Forecaster(model, Window(2, 2), Scaling(0, 50, "K", kind)) for kind in ("range", "minmax")
    )
    drawn = free.predict(past, 2, members=4)
    assert drawn.min() < -1
    torch.testing.assert_close(ranged.predict(past, 2, members=4), drawn.clamp(0, 50))
    live = ranged.stream(2, members=4)
    for frame in past:
        ahead = live.push(frame)
    torch.testing.assert_close(ahead, drawn.clamp(0, 50))


def test_tiles_are_of_whole_blocks_and_see_all_the_same_ones() -> None:
    """Blocks of 8 pixels, of which each is k x k: of all tiles of a frame the same k."""
    model = build_model("guided", {"core": {"convlstm": {"hidden": [4]}}})
    assert [model.stride_in((h, 900)) for h in (112, 167, 169, 300, 560)] == [8, 8, 16, 24, 40]
    forecaster, draw = Forecaster(model), np.random.default_rng(0)
    for _ in range(300):
        h, w, asked = (int(n) for n in draw.integers((20, 20, 8), (1500, 1500, 500)))
        tile, stride = tile_layout(forecaster.model, asked, h, w)
        assert asked <= tile < 2 * asked + 8
        assert tile % stride == 0
        rows, columns = (_tiles(n, tile, tile // 4, stride) for n in (h, w))
        sizes = {(r.stop - r.start, c.stop - c.start) for r in rows for c in columns}
        assert {model.stride_in(size) for size in sizes} == {stride}
    dressed = build_model("dressed", {"of": {"guided": model.args}})
    assert dressed.stride_in((300, 900)) == 24
    assert tile_layout(build_model("quick"), 30, 100, 100) == (32, 8)


def test_tiles_with_missing_values_and_in_a_clip(forecaster) -> None:
    frames = np.random.default_rng(0).random((4, 1, 40, 44)).astype(np.float32)
    frames[:, :, 10:20, 10:20] = np.nan
    made = forecaster.predict(Clip(frames), 2, tile=24).frames
    np.testing.assert_array_equal(np.isnan(made), np.isnan(forecaster.predict(frames, 2)))


@pytest.mark.parametrize(("tile", "overlap"), [(-1, None), (16, 16), (16, -1), (16, 15)])
def test_tiles_that_cannot_be_laid(forecaster, tile, overlap) -> None:
    with pytest.raises(ValueError, match="tile"):
        forecaster.predict(torch.rand(2, 1, 40, 40), 1, tile=tile, overlap=overlap)


# Streams


def informed() -> Forecaster:
    torch.manual_seed(0)
    args = {"core": {"convlstm": {"hidden": [6]}}, "inputs": 2}
    network = build_model("encoder_decoder", args)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Forecaster(network, scaling=Scaling(250, 300, "K", inputs=((0, 1000), (-1, 1))))


def informed_past() -> np.ndarray:
    draw = np.random.default_rng(0)
    past = np.stack(
        [draw.uniform(250, 300, (5, 16, 16)), *draw.uniform(-1, 1, (2, 5, 16, 16))], axis=1
    )
    past[:, 1] *= 1000
    return past.astype(np.float32)


def test_inputs_are_scaled_each_and_what_is_known_of_them_is_used() -> None:
    forecaster, past = informed(), informed_past()
    known = informed_past()[:3, 1:]
    future = forecaster.predict(past, 3, known=known)
    assert future.shape == (3, 1, 16, 16)
    network = forecaster.model.eval()
    on_scale = torch.from_numpy(past).clone()
    on_scale[:, 0] = (on_scale[:, 0] - 250) / 50
    on_scale[:, 1] /= 1000
    on_scale[:, 2] = (on_scale[:, 2] + 1) / 2
    with torch.no_grad():
        expected = network(on_scale[None], 3, on_scale[None, :3, 1:])[0] * 50 + 250
    np.testing.assert_allclose(future, expected.numpy(), rtol=1e-4)
    assert np.abs(future - forecaster.predict(past, 3)).max() > 1e-2
    several = forecaster.predict(np.stack([past, past]), 3, known=np.stack([known, known]))
    np.testing.assert_allclose(several[1], future, rtol=1e-5)


def test_an_input_that_is_not_known_stays_as_it_was_last() -> None:
    forecaster, past = informed(), informed_past()
    still = np.repeat(past[-1:, 1:], 3, axis=0)
    unknown = np.full_like(still, np.nan)
    expected = forecaster.predict(past, 3)
    for known in (still, unknown):
        np.testing.assert_allclose(forecaster.predict(past, 3, known=known), expected, rtol=1e-5)
    live = forecaster.stream(3)
    for frame in past:
        streamed = live.push(frame, known=still)
    np.testing.assert_allclose(streamed, expected, rtol=1e-4)
    tiles = forecaster.predict(past, 3, tile=16, known=still)
    np.testing.assert_allclose(tiles, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (np.zeros((3, 1, 16, 16)), r"known inputs of shape \(1, 3, 1, 16, 16\), but .* 2 inputs"),
        (np.zeros((3, 2, 8, 16)), r"give \(S,2,16,16\)"),
        (np.full((3, 2, 16, 16), np.inf), "infinite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(known: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        informed().predict(informed_past(), 3, known=known)
