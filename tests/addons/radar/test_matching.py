"""Probability matching: numpy's quantiles and scipy's ranks as outside references."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import rankdata

import foreframe
from foreframe import Clip, Forecaster, Scaling, Window
from foreframe.addons.radar.matching import GUIDE, LAST, matched
from foreframe.cli import main
from foreframe.data import Recordings, chosen
from foreframe.data.cf import write_grid
from foreframe.evaluation import ScoreOptions
from foreframe.evaluation.card import score_clips
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.rolling import Rolling
from foreframe.models import build_model
from foreframe.models.guides import Guides


def brute(forecast: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A frame of any shape, by mean ranks and quantiles."""
    new, seen = forecast.copy(), np.isfinite(forecast)
    values, goal = forecast[seen].astype(float), target[np.isfinite(target)].astype(float)
    if not len(values) or not len(goal):
        return new
    place = (rankdata(values, "average") - 1) / max(1, len(values) - 1)
    quantiles = np.quantile(goal, np.clip(place, 0, 1))
    new[seen] = np.where(values <= 0, np.minimum(values, quantiles), quantiles)
    return new


def rain(*shape: int, seed: int = 0, wet: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < wet, rng.gamma(0.7, 0.3, shape), 0).astype(np.float32)


def of(forecast: np.ndarray, target: np.ndarray) -> np.ndarray:
    return matched(torch.from_numpy(forecast), torch.from_numpy(target)).numpy()


@pytest.mark.parametrize("size", [(9, 11), (5, 4), (1, 1), (20, 31)])
def test_numpy_and_scipy_agree(size: tuple[int, int]) -> None:
    """For each clip, lead time and channel of its own; the sizes may differ."""
    forecast, target = rain(2, 3, 2, 9, 11), rain(2, 3, 2, *size, seed=1, wet=0.6)
    for k, frames in enumerate((forecast, target)):
        frames[np.random.default_rng(k).random(frames.shape) < 0.2] = np.nan
    forecast[0, 1, 1] = np.nan
    target[1, 0, 0] = np.nan
    expected = np.empty_like(forecast)
    for place in np.ndindex(2, 3, 2):  # clip, lead time, channel
        expected[place] = brute(forecast[place], target[place])
    np.testing.assert_allclose(of(forecast, target), expected, atol=1e-6)


def test_what_was_never_seen_takes_no_part() -> None:
    forecast, last = rain(1, 2, 1, 6, 6, wet=1), rain(1, 1, 6, 6, seed=1)
    guide = rain(1, 2, 1, 6, 6, seed=2)
    last[..., :2] = np.nan
    forecast[..., :2] = 9  # the network knows no better
    guide[..., :2] = 9
    targets = (LAST, np.stack([last] * 2, axis=1)), (GUIDE, guide)
    for match, target in targets:
        new = match.values(*map(torch.from_numpy, (forecast, last, guide)), False).numpy()
        assert (new[..., :2] == 9).all()
        np.testing.assert_array_equal(
            np.sort(new[..., 2:].reshape(2, -1)), np.sort(target[..., 2:].reshape(2, -1))
        )


# Forecasts


def guided() -> Forecaster:
    """Rain that a guide moves and that is mixed with blurs of it, by weights of chance."""
    torch.manual_seed(0)
    output = {"blend": {"guides": ["linear_motion"], "blurs": [2.0]}}
    network = build_model("nowcast", {"core": {"convlstm": {"hidden": [4]}}, "output": output})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Forecaster(network, Window(4, 3), Scaling(0.5, 100, "mm/h", "log"))


def showers(t: int = 4, h: int = 24, w: int = 30) -> np.ndarray:
    """Rain that moves by a column a frame, in mm/h, with a corner that no radar reaches."""
    field = 20 * rain(1, h, w + t, wet=0.3)
    frames = np.stack([field[..., t - k : w + t - k] for k in range(t)])
    frames[..., -6:, -5:] = np.nan
    return frames


def ranked(forecaster: Forecaster, plain: np.ndarray, match: str, target: np.ndarray) -> np.ndarray:
    """What ranks are taken from: for a match to the guide the mean of both, where it rains."""
    if match == "last":
        return plain
    both = [forecaster.scaling.to_network(of) for of in (plain, target)]
    return np.where(plain > 0, sum(both) / 2, plain)


def test_predict_gives_the_values_of_the_last_frame_and_of_the_guide() -> None:
    forecaster, past = guided(), showers()
    plain = forecaster.predict(past, 3)
    guide = Forecaster(forecaster.model.guide, scaling=forecaster.scaling).predict(past, 3)
    for match, target in (("last", past[-1:].repeat(3, axis=0)), ("guide", guide)):
        new = forecaster.predict(past, 3, match=match)
        ranks = ranked(forecaster, plain, match, target)
        expected = [[brute(*pair)] for pair in zip(ranks[:, 0], target[:, 0], strict=True)]
        np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(np.nanmax(new), np.nanmax(target), rtol=1e-3)
        assert not np.allclose(plain, new, equal_nan=True, rtol=0.1)
        as_clip = forecaster.predict(Clip(past, units="mm/h"), 3, match=match).frames
        np.testing.assert_array_equal(as_clip, new)
        batch = forecaster.predict(np.stack([past * 0.3, past]), 3, match=match)
        np.testing.assert_allclose(batch[1], new, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("match", ["last", "guide"])
def test_tiles_are_matched_when_they_are_joined(match: str) -> None:
    forecaster, past = guided(), showers(h=30, w=40)
    # Tiles know it as the whole does.
    forecaster.model.output.guide = Guides(["persistence"])
    tiled = forecaster.predict(past, 3, tile=24, overlap=6)
    new = forecaster.predict(past, 3, tile=24, overlap=6, match=match)
    ranks = ranked(forecaster, tiled, match, past[-1])
    expected = [[brute(frame, past[-1, 0])] for frame in ranks[:, 0]]
    np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("match", ["last", "guide"])
def test_streams_and_rolling_forecasts_are_matched_alike(match: str) -> None:
    forecaster, frames = guided(), showers(5)
    live = forecaster.stream(3, match=match)
    for k, frame in enumerate(frames):
        np.testing.assert_allclose(
            live.push(frame),
            forecaster.predict(frames[: k + 1], 3, match=match),
            rtol=1e-3,
            atol=1e-3,
        )
    np.testing.assert_array_equal(live.fork().forecast(like=frames), live.forecast(like=frames))
    options = PredictOptions(steps=3, past=4, every=1, match=match)
    rolled = list(Rolling(forecaster, Clip(frames, units="mm/h"), "it", options))[:2]
    for first, (_, future, _) in zip((4, 5), rolled, strict=True):
        expected = forecaster.predict(frames[first - 4 : first], 3, match=match)
        np.testing.assert_array_equal(future.frames, expected)


def test_scores_have_a_row_for_each() -> None:
    """The same as of what `predict` gives, scored apart."""
    forecaster, frames = guided(), showers(16)
    data = Recordings(frames, "all", forecaster.window, forecaster.scaling)
    options = ScoreOptions(
        clips=5, batch_size=2, baselines=(), thresholds=(2,), match=["last", "guide"]
    )
    card = score_clips(forecaster, data, options)
    rows = ["model", "model matched to last", "model matched to guide"]
    assert [list(card[of]) for of in ("scores", "events")] == [rows, rows]
    assert list(card["comparison"]) == rows[1:]
    clips = [frames[k : k + 7] for k in chosen_starts(data, 5)]
    for row, match in zip(rows, (None, "last", "guide"), strict=True):
        made = np.stack([forecaster.predict(clip[:4], 3, match=match) for clip in clips])
        errors = np.square(made - np.stack([clip[4:] for clip in clips]))
        expected = np.sqrt(np.nanmean(errors, axis=(0, 2, 3, 4)))
        np.testing.assert_allclose(
            card["scores"][row]["physical"]["rmse"]["per_lead"], expected, rtol=1e-3
        )


def test_each_member_is_matched() -> None:
    forecaster, past = guided(), showers()
    args = {"channels": 1, "core": {"convlstm": {"hidden": [4]}}}
    forecaster.model = build_model("dressed", {"of": {"nowcast": args}})
    plain, new = (forecaster.predict(past, 2, members=2, match=m) for m in ("none", "last"))
    for member, step in np.ndindex(2, 2):
        expected = brute(plain[member, step, 0], past[-1, 0])
        np.testing.assert_allclose(new[member, step, 0], expected, rtol=1e-3, atol=1e-4)
    data = Recordings(showers(12), "all", forecaster.window, forecaster.scaling)
    card = score_clips(
        forecaster, data, ScoreOptions(clips=2, batch_size=2, baselines=(), match="last", members=2)
    )
    assert list(card["ensemble"]) == ["seed", "model", "model matched to last", "lagged"]


def chosen_starts(data: Recordings, clips: int) -> list[int]:
    return [data.windows[k][1] for k in chosen(data, clips)]


def test_what_cannot_be_matched_is_refused() -> None:
    still, frames = Forecaster(build_model("persistence"), Window(2, 2)), np.zeros((3, 1, 8, 8))
    for how in (still.predict, still.stream):
        given = (frames, 2) if how == still.predict else (2,)
        with pytest.raises(ValueError, match="has no guide; choose last"):
            how(*given, match="guide")
    with pytest.raises(ValueError, match="no guide"):
        score_clips(still, Recordings(showers(), "all", Window(1, 1)), ScoreOptions(match="guide"))
    still.predict(frames, 2, match="last")


def test_weights_say_how_they_are_best_used(tmp_path: Path) -> None:
    forecaster, past = guided(), showers()
    each = {of: forecaster.predict(past, 3, match=of) for of in MATCHES}
    assert not np.array_equal(each["none"], each["guide"])
    forecaster.match = "guide"
    again = Forecaster.load(forecaster.save(tmp_path / "saved"))
    np.testing.assert_allclose(again.predict(past, 3), each["guide"], rtol=1e-4, atol=1e-4)
    plain = again.predict(past, 3, match="none")
    np.testing.assert_allclose(plain, each["none"], rtol=1e-4, atol=1e-5)
    live = again.stream(steps=3)
    for frame in past:
        forecast = live.push(frame)
    np.testing.assert_allclose(forecast, each["guide"], atol=1e-4)
    data = Recordings(showers(12), "all", forecaster.window, forecaster.scaling)
    options = ScoreOptions(clips=2, baselines=())
    assert "model matched to guide" in score_clips(again, data, options)["scores"]
    plain = score_clips(again, data, replace(options, match="none"))
    assert list(plain["scores"]) == ["model"]


def test_commands_pass_on_match_and_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rain = np.linspace(0, 8, 6 * 12 * 16, dtype=np.float32).reshape(6, 1, 12, 16)
    times = np.datetime64("2026-01-01") + np.arange(6) * np.timedelta64(5, "m")
    write_grid("rain.nc", Clip(rain, times, "mm/h", name="rain", variable="rain"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AMX")
    forecaster = guided()
    forecaster.save("run")
    chosen = {"match": "guide", "precision": "auto"}
    words = ["--match", "guide", "--precision", "auto", "--device", "cpu"]
    assert main(["predict", "run", "rain.nc", "-o", "out.nc", *words]) == 0
    with xr.open_dataset("out.nc") as out:
        assert "forecast from run, matched to its guide" in out.attrs["history"]
        half = {"match": "guide", "precision": "bf16-mixed"}
        expected = forecaster.predict(rain[2:], 3, **half)
        np.testing.assert_allclose(out["rain"].values, expected[:, 0], rtol=1e-5)
    assert np.abs(expected - forecaster.predict(rain[2:], 3, match="guide")).max() > 0
    rolled = foreframe.predict(forecaster, "rain.nc", every=1, **chosen)
    np.testing.assert_array_equal([future.frames for _, future, _ in rolled][-1], expected)
    split = {"split": "all", "past": 2, "future": 2, "baselines": ()}
    card = foreframe.evaluate("run", "rain.nc", match="last", precision="auto", **split)
    assert card["precision"] == "bf16-mixed"
    assert list(card["scores"])[:2] == ["model", "model matched to last"]


MATCHES = ("none", "last", "guide")
