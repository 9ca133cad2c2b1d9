"""A stream gives the forecasts that `predict` gives, frame by frame; what it refuses, and saves."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from foreframe import Forecaster, Scaling, Window
from foreframe.base.budget import OverBudgetError
from foreframe.forecasting.forecast_options import EXACT, HALF
from foreframe.forecasting.streaming import Stream
from foreframe.models import build_model
from small import available, built

STREAMED = [
    *((name, EXACT) for name in available("quick", "guided", "unet", "svg_small", "persistence")),
    *((name, HALF) for name in available("tutorial", "guided", "svg_small")),
]
NEAR = 4e-2  # some roundings to bfloat16, each of 2**-9 at most


def apart(made: np.ndarray, expected: np.ndarray) -> float:
    """The root mean squared difference, as a share of what is expected; NaN in the same places."""
    np.testing.assert_array_equal(np.isnan(made), np.isnan(expected))
    return float(np.sqrt(np.nanmean(np.square(made - expected)) / np.nanmean(np.square(expected))))


def small_forecaster(name: str) -> Forecaster:
    return Forecaster(built(name), Window(5, 5), Scaling(0, 1, "", "minmax"))


def gappy(t: int = 5) -> np.ndarray:
    """Frames with a pixel never seen, one seen late, one lost, and a whole frame lost."""
    frames = np.random.default_rng(0).random((t, 1, 16, 20)).astype(np.float32)
    frames[:, 0, 0, 0] = np.nan
    frames[:3, 0, 1, 1] = np.nan
    frames[2:, 0, 2, 2] = np.nan
    frames[3] = np.nan
    return frames


@pytest.mark.parametrize(("name", "precision"), STREAMED)
def test_a_stream_is_the_forecast_from_all_frames_so_far(
    name: str, precision: str, tmp_path, request
) -> None:
    """Also with missing values, forked, and when it is saved and restored on the way."""
    if precision == HALF:
        request.getfixturevalue("without_types")
    forecaster, again, frames = small_forecaster(name), small_forecaster(name), gappy()
    live = forecaster.stream(3, precision=precision)
    for t, frame in enumerate(frames):
        made = live.push(frame)
        expected = forecaster.predict(frames[: t + 1], 3, precision=precision)
        assert made.dtype == np.float32
        if precision == EXACT:
            np.testing.assert_allclose(made, expected, atol=1e-5)
        else:
            assert apart(made, expected) < NEAR / 8
        fork = live.fork()
        assert fork.forecast(7).shape == (7, *made.shape[1:])
        np.testing.assert_array_equal(fork.forecast().numpy(), made)
        fork.take(np.zeros_like(frame))  # changes only the fork
        live.save(tmp_path / "state")
        live = again.stream(3, precision=precision).restore(tmp_path / "state")
        assert live.seen == t + 1
        np.testing.assert_array_equal(live.forecast().numpy(), made)


def test_a_sector_that_fails_for_the_whole_window_is_missing(tmp_path) -> None:
    """As in `predict` of that window, also after a restart; the rest goes on."""
    forecaster = Forecaster(built("persistence"), Window(3, 2), Scaling(0, 1, "", "minmax"))
    frames = np.random.default_rng(0).random((7, 1, 8, 8)).astype(np.float32)
    frames[2:6, :, 2:5] = np.nan
    frames[4] = np.nan  # an outage
    live = forecaster.stream(2)
    for t, frame in enumerate(frames):
        made = live.push(frame)
        window = frames[max(0, t - 2) : t + 1]
        np.testing.assert_array_equal(made, forecaster.predict(window, 2))
        live.save(tmp_path / "state")
        live = forecaster.stream(2).restore(tmp_path / "state").fork()
    assert live.seen == 7


def test_a_stream_says_what_it_is(forecaster) -> None:
    live = forecaster.stream(2)
    live.take(torch.rand(1, 16, 16))
    assert repr(live) == "Stream of encoder_decoder: 2 frames ahead, 1 frame seen"
    drawn = Forecaster(build_model("lagged", {"lags": 2}), Window(4, 3)).stream(members=2)
    assert repr(drawn) == "Stream of lagged: 3 frames ahead of 2 members, 0 frames seen"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((1, 16, 17), np.float32), r"of \(1, 16, 17\), but .* began with \(1, 16, 16\)"),
        (np.zeros((16, 16), np.float32), r"\(C,H,W\), one at a time, not \(16, 16\)"),
        (np.full((1, 16, 16), 7, np.float32), "outside"),
        (np.full((1, 16, 16), np.inf, np.float32), "infinite"),
        ("frame.npy", "not str"),
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


def test_a_saved_stream_of_a_baseline_keeps_its_scale(tmp_path) -> None:
    frames = np.random.default_rng(0).uniform(260, 300, (4, 1, 8, 8)).astype(np.float32)
    whole = Forecaster.load("linear_motion").stream(2)
    for frame in frames[:3]:
        whole.push(frame)
    whole.save(tmp_path / "state")
    again = Forecaster.load("linear_motion").stream(2).restore(tmp_path / "state")
    np.testing.assert_array_equal(again.push(frames[3]), whole.push(frames[3]))


def test_saved_streams_that_are_refused(forecaster, tmp_path) -> None:
    live = forecaster.stream(2)
    with pytest.raises(ValueError, match="nothing to save"):
        live.save(tmp_path / "state")
    live.take(torch.rand(1, 16, 16))
    live.save(tmp_path / "state")
    with pytest.raises(ValueError, match="no saved stream of this model"):
        small_forecaster("tutorial").stream().restore(tmp_path / "state")
    torch.manual_seed(1)  # the same network, other weights
    with pytest.raises(ValueError, match="no saved stream of this model"):
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


def seen(name: str) -> Stream:
    live = small_forecaster(name).stream(2)
    for frame in gappy()[:3]:
        live.take(frame)
    return live


def remade(content: bytes, **tensors: torch.Tensor) -> bytes:
    """The bytes of a stream with other tensors."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return save(load(content) | tensors, header["__metadata__"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"last": torch.zeros(1, 1, 16, 24)},
        {"last": torch.zeros(1, 2, 16, 20)},
        {"last": torch.zeros(2, 1, 16, 20)},
        {"last": torch.full((1, 1, 16, 20), torch.inf)},
        {"last": torch.zeros(1, 1, 0, 20)},
        {"age": torch.zeros(1, 1, 16, 24, dtype=torch.short)},
        {"age": torch.zeros(1, 1, 16, 20)},
        {"state.seen": torch.zeros(1, 1)},
        {"state.seen": torch.full((1,), torch.inf)},
        {"state.more": torch.zeros(1)},
    ],
)
def test_a_state_that_the_model_does_not_make_is_refused(wrong) -> None:
    live = seen("guided")
    with pytest.raises(ValueError, match="this is no saved stream of this model, or a damaged"):
        live.loads(remade(live.dumps(), **wrong))
    assert live.seen == 3


@pytest.mark.parametrize("count", [-5.0, 0.0, 4.0, 1e30])
@pytest.mark.parametrize("name", ["guided", "all_of_the_past", "dressed"])
def test_a_state_with_counts_that_cannot_be_is_refused(name, count) -> None:
    live = seen(name)
    content = live.dumps()
    counts = {key: value for key, value in load(content).items() if value.ndim == 1}
    assert counts
    for key, value in counts.items():
        with pytest.raises(ValueError, match="no saved stream of this model"):
            live.loads(remade(content, **{key: torch.full_like(value, count)}))
    assert live.loads(content).seen == 3


def test_a_stream_of_frames_too_big_for_the_budget_does_not_begin(monkeypatch) -> None:
    monkeypatch.setattr("foreframe.forecasting.compute.footprint", lambda *_: 2**20)
    content = seen("persistence").dumps()
    little = small_forecaster("persistence").stream(2, budget=1e-4)
    with pytest.raises(OverBudgetError, match="1x16x20"):
        little.take(gappy()[0])
    with pytest.raises(OverBudgetError, match="1x16x20"):
        little.loads(content)
    assert little.seen == 0


def test_a_saved_stream_knows_that_its_frames_were_pictures() -> None:
    live = Forecaster(built("persistence")).stream(1)
    live.take(np.full((1, 4, 4), 51, np.uint8))
    live.take(np.full((1, 4, 4), np.nan, np.float32))  # an outage
    again = Forecaster(built("persistence")).stream(1).loads(live.dumps())
    assert live.fork().pictures
    assert again.pictures
    assert again.forecast(like=np.zeros(0, np.uint8)).max() == 51
