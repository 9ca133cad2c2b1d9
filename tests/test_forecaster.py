"""Forecasts in the data's own units, from saved folders and runs, and what is refused."""

import gc
import itertools
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.clip import check_frames
from foreframe.forecaster import _ramp, _tiles
from foreframe.models import PRESETS, build_model
from foreframe.trained import Trained


@pytest.fixture
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"core": {"convlstm": {"hidden": [8]}}}), Window(5, 5))


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
    torch.testing.assert_close(
        live.push(good[1]), forecaster.predict(good, 2), atol=1e-5, rtol=1e-5
    )


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
    assert "forecast 5 frames from 5" in card
    assert "# Two digits" in card
    assert "**data**: moving_mnist" in card
    again = Forecaster.load(tmp_path / "out")
    assert again.window == Window(5, 5)
    assert again.about == forecaster.about
    assert again.trained == forecaster.trained


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
    config = json.loads((saved / "config.json").read_text())
    config["args"]["core"]["convlstm"]["hidden"] = [16]
    (saved / "config.json").write_text(json.dumps(config))
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


# Big frames in tiles


def local(name: str) -> Forecaster:
    """A network whose pixels see only their surroundings: no group norm, and one layer."""
    torch.manual_seed(0)
    return Forecaster(build_model(name, {"core": {"convlstm": {"hidden": [4]}}}), Window(3, 2))


def test_tiles_are_laid_over_everything() -> None:
    for side, tile, overlap, stride in itertools.product(
        (17, 32, 50, 101), (8, 12, 16), (0, 3, 8), (1, 2, 4)
    ):
        if overlap > tile - stride:
            continue
        tiles = _tiles(side, tile, overlap, stride)
        assert tiles[0].start == 0
        assert tiles[-1].stop == side
        assert all(
            one.start % stride == 0 and one.stop - one.start < tile + stride for one in tiles
        )
        assert all(a.stop - b.start >= overlap for a, b in itertools.pairwise(tiles))
        weights = np.zeros(side)
        for one in tiles:
            weights[one] += _ramp(one, side, overlap).numpy()
        assert weights.min() > 1e-3  # no pixel is left to a tile that cannot know it


@pytest.mark.parametrize(("h", "w"), [(64, 64), (61, 83), (20, 90)])
@pytest.mark.parametrize("b", [1, 2])
def test_tiles_equal_the_whole(h: int, w: int, b: int) -> None:
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
    past = torch.rand(1, 2, 1, 83, 94)
    whole = forecaster.predict(past, 1)
    # 78 becomes 80.
    assert (forecaster.predict(past, 1, tile=78, overlap=74) - whole).abs().max() < 1e-5
    assert (forecaster.predict(past, 1, tile=32, overlap=0) - whole).abs().max() > 1e-4
    for tile in (1, 3, 5):  # smaller than the blocks that it sees as one
        assert forecaster.predict(past[..., :13, :18], 1, tile=tile, overlap=0).isfinite().all()


def test_tiles_with_missing_values_and_in_a_clip(forecaster) -> None:
    frames = np.random.default_rng(0).random((4, 1, 40, 44)).astype(np.float32)
    frames[:, :, 10:20, 10:20] = np.nan
    made = forecaster.predict(Clip(frames), 2, tile=24).frames
    np.testing.assert_array_equal(np.isnan(made), np.isnan(forecaster.predict(frames, 2)))


@pytest.mark.parametrize(("tile", "overlap"), [(-1, None), (16, 16), (16, -1), (16, 15)])
def test_tiles_that_cannot_be_laid(forecaster, tile, overlap) -> None:
    with pytest.raises(ValueError, match="tiles"):
        forecaster.predict(torch.rand(2, 1, 40, 40), 1, tile=tile, overlap=overlap)


# Streams


STREAMED = [*PRESETS, "persistence", "mean", "linear_motion"]


def small(name: str) -> Forecaster:
    torch.manual_seed(0)
    width = {"tutorial": [4, 4], "shi2015": [4, 4, 4], "fc_lstm": [4, 4], "openstl": [4, 4]}.get(
        name, [8]
    )
    changes: dict = {}
    if name in PRESETS:
        changes = {"core": {"convlstm": {"hidden": width}}}
        if PRESETS[name][0] == "simvp":
            changes = {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}
    if name == "fc_lstm":
        changes["codec"] = {"patches": {"size": 8}}
    network = build_model(name, changes)
    return Forecaster(network, Window(5, 5), Scaling(0, 1, "", "minmax"))


def gappy(t: int = 6) -> np.ndarray:
    """Frames with a pixel never seen, one seen late, one lost, and a whole frame lost."""
    frames = np.random.default_rng(0).random((t, 1, 16, 20)).astype(np.float32)
    frames[:, 0, 0, 0] = np.nan
    frames[:3, 0, 1, 1] = np.nan
    frames[2:, 0, 2, 2] = np.nan
    frames[3] = np.nan
    return frames


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_is_the_forecast_from_all_frames_so_far(name: str, tmp_path) -> None:
    """Also with missing values, and when it is saved and restored on the way."""
    forecaster, frames = small(name), gappy()
    live = forecaster.stream(3)
    for t, frame in enumerate(frames):
        np.testing.assert_allclose(
            live.push(frame), forecaster.predict(frames[: t + 1], 3), atol=1e-5
        )
        live.save(tmp_path / "state")
        live = small(name).stream(3).restore(tmp_path / "state")
        assert live.seen == t + 1


def test_a_fork_goes_its_own_way(forecaster) -> None:
    frames = torch.rand(5, 1, 16, 16)
    live = forecaster.stream(2)
    for frame in frames[:3]:
        live.take(frame)
    fork = live.fork()
    before = live.forecast()
    fork.push(1 - frames[3])
    torch.testing.assert_close(live.forecast(), before, atol=0, rtol=0)
    torch.testing.assert_close(
        live.push(frames[3]), forecaster.predict(frames[:4], 2), atol=1e-5, rtol=1e-5
    )
    other = torch.cat([frames[:3], 1 - frames[3:4]])
    torch.testing.assert_close(fork.forecast(), forecaster.predict(other, 2), atol=1e-5, rtol=1e-5)
    assert (live.seen, fork.seen) == (4, 4)
    assert fork.forecast(7).shape == (7, 1, 16, 16)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            np.zeros((1, 16, 17), np.float32),
            "a frame of 1x16x17, but the stream began with 1x16x16",
        ),
        (np.zeros((16, 16), np.float32), r"a frame is \(C,H,W\)"),
        (np.zeros((1, 1, 16, 16), np.float32), "push frames one at a time"),
        (np.full((1, 16, 16), 7, np.float32), "outside"),
        (np.full((1, 16, 16), np.inf, np.float32), "infinite"),
        ("frame.npy", "not a str"),
    ],
)
def test_frames_that_a_stream_refuses(forecaster, frame, message) -> None:
    live, good = forecaster.stream(2), np.random.rand(2, 1, 16, 16).astype(np.float32)
    with pytest.raises(ValueError, match="seen no frame"):
        live.forecast()
    live.take(good[0])
    with pytest.raises(ValueError, match=message):
        live.take(frame)
    assert live.seen == 1
    np.testing.assert_allclose(live.push(good[1]), forecaster.predict(good, 2), atol=1e-5)


def test_a_frame_that_the_model_breaks_on_leaves_the_stream_as_it_was(
    forecaster, monkeypatch
) -> None:
    """Ctrl-C may come while the network works."""
    live, frames = forecaster.stream(2), gappy()
    live.take(frames[0])

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forecaster.model, "encode", stopped)
        with pytest.raises(KeyboardInterrupt):
            live.take(frames[4])
    np.testing.assert_allclose(live.push(frames[1]), forecaster.predict(frames[:2], 2), atol=1e-5)


def test_saved_streams_that_are_refused(forecaster, tmp_path) -> None:
    live = forecaster.stream(2)
    with pytest.raises(ValueError, match="nothing to save"):
        live.save(tmp_path / "state")
    live.take(torch.rand(1, 16, 16))
    live.save(tmp_path / "state")
    with pytest.raises(ValueError, match="another model"):
        small("tutorial").stream().restore(tmp_path / "state")
    torch.manual_seed(1)  # the same network, other weights
    with pytest.raises(ValueError, match="another model"):
        Forecaster(
            build_model("quick", {"core": {"convlstm": {"hidden": [8]}}}), Window(5, 5)
        ).stream().restore(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no state", whole[100:]):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            live.restore(tmp_path / "damaged")
        assert live.seen == 1
    forecaster.save(tmp_path / "run")
    with pytest.raises(ValueError, match="no saved stream"):
        live.restore(tmp_path / "run" / "model.safetensors")
    with pytest.raises(ValueError, match="there is no saved stream"):
        live.restore(tmp_path / "nowhere")


def test_a_stream_goes_on_in_another_process(forecaster, tmp_path) -> None:
    frames = np.random.rand(4, 1, 16, 16).astype(np.float32)
    forecaster.save(tmp_path / "run")
    live = forecaster.stream(2)
    for frame in frames[:2]:
        live.take(frame)
    live.save(tmp_path / "state")
    np.save(tmp_path / "rest.npy", frames[2:])
    code = (
        "import sys, numpy as np, foreframe\n"
        "live = foreframe.Forecaster.load('run').stream(2).restore('state')\n"
        "for frame in np.load('rest.npy'): future = live.push(frame)\n"
        "np.save('future.npy', future)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    np.testing.assert_allclose(
        np.load(tmp_path / "future.npy"), forecaster.predict(frames, 2), atol=1e-5
    )


@pytest.mark.parametrize(("name", "frames"), [("persistence", 1500), ("tutorial", 30)])
def test_a_stream_needs_no_more_memory_for_more_frames(name: str, frames: int) -> None:
    """Tensors that live are counted, since torch's memory is not Python's, and Python's own by
    tracemalloc.
    """
    live = small(name).stream(1)
    frame = torch.rand(1, 8, 8)

    def held() -> tuple[int, int]:
        gc.collect()
        return sum(
            issubclass(type(one), torch.Tensor) for one in gc.get_objects()
        ), tracemalloc.get_traced_memory()[0]

    for _ in range(5):
        live.push(frame)
    tracemalloc.start()
    live.push(frame)
    tensors, size = held()
    for _ in range(frames):
        live.push(frame)
    later, grown = held()
    tracemalloc.stop()
    assert later == tensors
    assert grown - size < 50_000


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
