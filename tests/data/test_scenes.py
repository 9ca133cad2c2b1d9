"""Drawn scenes: keys, ranges, and motion that is what the scene says of it."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.utils.data import DataLoader

import foreframe.data
from foreframe.cli import main
from foreframe.data import Scenes, collate, film_scenes
from foreframe.data.rain_scenes import _state, draw_rain


@pytest.mark.parametrize("kind", ["film", "rain"])
def test_a_clip_is_a_function_of_its_key(kind: str) -> None:
    Scenes = functools.partial(foreframe.data.Scenes, kind=kind, clean=True)
    data = Scenes("train", clips=50, length=5)
    batch = data.batch([(0, 7), (3, 7), (0, 9)])
    assert batch.shape == (3, 5, 1, 64, 64)
    assert torch.equal(batch[0], data[7])
    assert torch.equal(batch[2], data[9])
    assert torch.equal(batch[1], Scenes("train", clips=50, length=5)[3, 7])
    assert torch.equal(data[-1], data[49])
    assert not torch.equal(batch[0], batch[1])
    assert not torch.equal(data[7], Scenes("train", clips=50, length=5, seed=1)[7])
    fixed = Scenes("train", clips=50, length=5, fixed=True)
    assert torch.equal(fixed[7], fixed[3, 7])
    test = Scenes("test", length=5)
    assert torch.equal(test[7], test[3, 7])
    assert not torch.equal(test[7], Scenes("validation", length=5)[7])


@pytest.mark.parametrize("kind", ["film", "rain"])
def test_the_same_clips_on_any_number_of_workers_and_in_any_order(kind: str) -> None:
    data = Scenes("test", kind, clips=9, length=3)
    alone = list(DataLoader(data, batch_size=4, collate_fn=collate))
    shared = list(DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2))
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert torch.equal(data.batch(range(9)[::-1]).flip(0), torch.cat(alone))


def test_no_random_state_outside_is_touched() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    Scenes(length=3).batch(range(3))
    Scenes(kind="rain", length=3).batch(range(3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize(("kind", "channels"), [("film", 1), ("film", 3), ("rain", 1)])
@pytest.mark.parametrize("canvas", [16, (37, 90)])
def test_bytes_hold_the_same_clips_on_any_canvas(kind: str, channels: int, canvas) -> None:
    data = Scenes(kind=kind, canvas=canvas, channels=channels, length=4)
    clips, bytes_ = data.batch(range(12)), data.compact(range(12))
    height, width = (canvas, canvas) if isinstance(canvas, int) else canvas
    assert clips.shape == (12, 4, channels, height, width)
    assert clips.dtype == torch.float32
    assert bytes_.dtype == torch.uint8
    assert torch.equal(clips, bytes_.float() / 255)
    assert sum(clip.std() > 0 for clip in clips) > 9  # a small part of a dry day may be dry
    if channels == 3:
        assert (clips[:, :, 0] != clips[:, :, 2]).float().mean() > 0.5


def test_films_are_as_various_as_films() -> None:
    clips = Scenes("validation").batch(range(50))[:, :, 0].numpy()
    means, spreads = clips.mean((1, 2, 3)), clips.std((1, 2, 3))
    assert np.quantile(means, 0.1) < 0.3
    assert np.quantile(means, 0.9) > 0.6
    assert np.quantile(spreads, 0.2) < 0.1
    assert np.quantile(spreads, 0.8) > 0.15
    step = np.square(np.diff(clips, axis=1)).mean((1, 2, 3))
    assert np.quantile(step, 0.1) < 1e-4
    assert 1e-3 < np.quantile(step, 0.9) < 3e-2


def test_the_camera_stands_still_in_half_of_the_films() -> None:
    """The corners of most backgrounds are free of things that move."""
    data = Scenes("validation", clean=True, length=8)
    still = 0
    for key in range(40):
        moved, _ = data.motion(key)
        edges = np.concatenate([moved[..., 0, :], moved[..., -1, :]], axis=-1)
        still += np.median(np.abs(edges)) == 0
    assert 0.3 < still / 40 < 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_move_as_the_truth_says(channels: int) -> None:
    """The next frame, carried back by the motion (scipy's cubic interpolation), is this frame
    wherever it is still seen; without the motion it is far from it.
    """
    data = Scenes("validation", clean=True, channels=channels, canvas=(48, 64), length=6)
    rows, columns = np.mgrid[:48, :64]
    carried, left, seen = [], [], []
    for key in range(24):
        clip = data[key].numpy()
        moved, visible = data.motion(key)
        assert moved.shape == (5, 2, 48, 64)
        assert set(np.unique(visible)) <= {0, 1}
        for t in range(5):
            for now, later in zip(clip[t], clip[t + 1], strict=True):
                places = [rows + moved[t, 1], columns + moved[t, 0]]
                back = map_coordinates(later, places, order=3, mode="nearest")
                on = visible[t] > 0
                carried.append(np.square(back - now)[on].sum())
                left.append(np.square(later - now)[on].sum())
                seen.append(on.mean())
    count = sum(seen) * 48 * 64
    assert np.mean(seen) > 0.75
    assert math.sqrt(sum(carried) / count) < 0.009  # of which 0.0016 is rounding to 1/255
    assert sum(carried) < 0.2 * sum(left)


def test_what_bends_is_carried_as_the_truth_says() -> None:
    """As above, where a surface bends to and fro, and only there."""
    data = Scenes("validation", clean=True, canvas=(48, 64), length=3)
    rows, columns = np.mgrid[:48, :64]
    carried = left = 0.0
    bent = 0
    for key in range(120):
        layers = data._layers(data._keys([key])[0])
        if layers[0].bends is None or data.motion(key)[0][0].std() < 0.1:
            continue
        bent += 1
        clip, (moved, visible) = data[key][:, 0].numpy(), data.motion(key)
        places = [rows + moved[0, 1], columns + moved[0, 0]]
        back = map_coordinates(clip[1], places, order=3, mode="nearest")
        on = visible[0] > 0
        carried += np.square(back - clip[0])[on].sum()
        left += np.square(clip[1] - clip[0])[on].sum()
        moves = moved[0][:, on]
        assert np.abs(moves - np.median(moves, axis=1, keepdims=True)).max() > 0.05
    assert bent > 5
    assert carried < 0.1 * left


def test_some_surfaces_shimmer_though_nothing_moves() -> None:
    """What shimmers is left out of clean films, in which all that changes is carried."""
    noisy, clean = (Scenes("validation", clean=clean, length=4) for clean in (False, True))
    shimmer = []
    for key in range(100):
        back = noisy._layers(noisy._keys([key])[0])[0]
        if back.shimmers is not None and back.bends is None:
            moved, visible = noisy.motion(key)
            still = (moved[0] == 0).all(axis=0) & (visible[0] > 0)
            changes = [np.abs(np.diff(data[key][:2, 0], axis=0))[0] for data in (noisy, clean)]
            shimmer += [] if still.sum() < 500 else [[c[still].mean() for c in changes]]
    assert len(shimmer) > 1
    assert all(a > 0.002 and b < 0.001 for a, b in shimmer)


def test_a_few_films_repeat_frames() -> None:
    """As drawn ones do that have a picture for every second frame."""
    times = [film_scenes.exposure_times(np.random.default_rng(k), 20)[:, -1] for k in range(600)]
    repeats = np.array([(np.diff(t) < 0.5).sum() for t in times])
    assert 0.03 < (repeats > 0).mean() < 0.12
    assert max(repeats) >= 9  # on twos
    assert all((np.diff(t) > -1e-9).all() and t[0] >= -2 for t in times)


def test_what_is_hidden_is_told_apart() -> None:
    """Where something in front arrives, what was there is not seen any more: there the frames
    differ, though the motion is told.
    """
    data = Scenes("validation", clean=True, length=4)
    hidden = wrong = 0.0
    rows, columns = np.mgrid[:64, :64]
    for key in range(40):
        clip = data[key][:, 0].numpy()
        moved, visible = data.motion(key)
        y, x = rows + moved[0, 1], columns + moved[0, 0]
        inside = (y >= 0) & (x >= 0) & (y <= 63) & (x <= 63) & (visible[0] == 0)
        error = np.abs(map_coordinates(clip[1], [y, x], order=1, mode="nearest") - clip[0])
        hidden, wrong = hidden + inside.sum(), wrong + error[inside].sum()
    assert hidden > 1000
    assert wrong / hidden > 0.02


def test_something_large_comes_in_and_turns_back() -> None:
    """How much of the screen it covers grows to a time and shrinks after it, from nothing or to
    nothing in many clips; at its largest it is a tenth of the screen or more in most clips.
    """
    digits = np.zeros((1, 28, 28), np.uint8)
    times = np.arange(20.0)
    largest, turned, empty = [], 0, 0
    for seed in range(60):
        scene = film_scenes._Scene(np.random.default_rng(seed), 20, 48, 64, 1, digits)
        scene.camera = None
        visitor = scene.visitor()
        seen = film_scenes._cover(visitor, times, 48, 64).mean(axis=(1, 2))
        if visitor.bends is not None or seen.max() < 0.02:
            continue  # it stays outside, or what is seen of it is a haze
        peak = int(seen.argmax())
        slack = 0.02 * seen.max() + 0.004  # it leans
        assert (np.diff(seen[: peak + 1]) > -slack).all()
        assert (np.diff(seen[peak:]) < slack).all()
        largest.append(seen.max())
        turned += 2 <= peak <= 17
        empty += seen.min() < 0.1 * seen.max()
    assert len(largest) > 35
    assert turned > 20
    assert empty > 20
    assert np.median(largest) > 0.1


def test_clean_films_have_the_same_scene_without_grain() -> None:
    clean = Scenes("test", clean=True, length=3).batch(range(20))
    noisy = Scenes("test", length=3).batch(range(20))
    rough = [np.abs(np.diff(clips, 2, axis=1)).mean((1, 2, 3, 4)) for clips in (clean, noisy)]
    assert np.median(rough[1]) > 1.5 * np.median(rough[0])
    pairs = zip(clean.flatten(1).numpy(), noisy.flatten(1).numpy(), strict=True)
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.9


def test_rain_is_like_rain() -> None:
    """Shares, rates and spectra about those of radar in Finland, the Netherlands and Switzerland,
    and its likeness from frame to frame.
    """
    data = Scenes("validation", "rain")
    clips = data.batch(range(80))
    rate = data.scaling.to_units(clips).numpy()[:, :, 0]
    assert data.scaling.units == "mm/h"
    assert rate.min() == 0
    dry = (rate == 0).mean((1, 2, 3))
    assert 0.7 < np.median(dry) < 0.92
    assert np.quantile(dry, 0.1) < 0.5
    assert rate[rate > 0].min() > 0.04
    assert 4 < np.median(rate.max((1, 2, 3))) < 40
    wet = clips[:, :, 0].numpy()[dry < 0.9]
    slopes = [_slope(clip[9]) for clip in wet]
    assert -2.6 < np.median(slopes) < -1.4
    alike = [np.corrcoef(clip[9].ravel(), clip[10].ravel())[0, 1] for clip in wet]
    assert 0.6 < np.median(alike) < 0.92


def _slope(frame: np.ndarray) -> float:
    """Of the power spectrum, between wavelengths of 32 and 3 pixels, on logarithmic axes."""
    n = len(frame)
    window = np.outer(np.hanning(n), np.hanning(n))
    power = np.square(np.abs(np.fft.fft2((frame - frame.mean()) * window)))
    at = np.fft.fftfreq(n) * n
    ring = np.hypot(at, at[:, None]).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    return float(np.polyfit(np.log(np.arange(2, 22)), np.log(mean[2:22]), 1)[0])


def test_rain_is_carried_as_the_truth_says() -> None:
    """Carried back, the next frame is much more like this one, though rain grows and decays; the
    other way it is less like it than where it lies.
    """
    data = Scenes("validation", "rain", clean=True, length=4, canvas=(48, 64))
    rows, columns = np.mgrid[:48, :64]
    error = {1: 0.0, 0: 0.0, -1: 0.0}
    for key in range(40):
        clip = data[key][:, 0].numpy()
        moved, visible = data.motion(key)
        assert moved.shape == (3, 2, 48, 64)
        on = visible[1] > 0
        for sign in error:
            places = [rows + sign * moved[1, 1], columns + sign * moved[1, 0]]
            back = map_coordinates(clip[2], places, order=1, mode="nearest")
            error[sign] += np.square(back - clip[1])[on].sum()
    assert error[1] < 0.4 * error[0]
    assert error[0] < error[-1]


def test_rain_goes_on_round_the_rims_of_its_tiles() -> None:
    """As scipy's interpolation on a grid that wraps does, over many tiles; and it goes from state
    to state with the same deviation.
    """
    rng = np.random.default_rng(0)
    rain = replace(draw_rain(rng, 20, 64, 64), turned=0.0, stretched=1.0)
    for band in rain.bands:
        x = torch.linspace(-3, 3, 4001).expand(30, 1, -1) * band.side
        y = torch.full_like(x, 0.3 * band.side)
        shifts = rng.random((60, 2))
        field = _state(rain, band, shifts, x, y).numpy()
        n = len(band.tile)
        places = [
            (at[0, 0].numpy() / band.side + shift) * n - 0.5
            for at, shift in ((y, shifts[0, 1]), (x, shifts[0, 0]))
        ]
        expected = map_coordinates(band.tile.numpy(), places, order=1, mode="grid-wrap")
        np.testing.assert_allclose(field[0, 0], expected, atol=0.01)
        assert 0.5 < field.std() < 1.6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"split": "dev"}, "split 'dev' is unknown"),
        ({"kind": "snow"}, "kind 'snow' of scenes is unknown; choose film, rain"),
        ({"channels": 2}, "1 channel, grey, or 3, colour, not 2"),
        ({"kind": "rain", "channels": 3}, "rain has 1 channel, not 3"),
        ({"canvas": 12}, "at least 16x16, not 12x12"),
        ({"canvas": [64]}, "canvas is one number or two"),
        ({"length": 0}, "at least 1"),
        ({"canvas": 5000}, "draw shorter or smaller ones"),
        ({"clips": 10**9}, "at most"),
    ],
)
def test_bad_choices_are_told_in_one_line(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        Scenes(**bad)
    assert "\n" not in str(told.value)


def test_an_index_outside_the_set() -> None:
    with pytest.raises(IndexError):
        Scenes("test", clips=5)[5]


def test_scenes_have_a_name_on_the_command_line(tmp_path, capsys) -> None:
    output = tmp_path / "scene.gif"
    words = ["data", "--data", "scenes", "--data_args.canvas", "[24,32]", "--past", "2"]
    assert main([*words, "--future", "2", "--output", str(output)]) == 0
    assert "clip 0: T=4 C=1 H=24 W=32" in capsys.readouterr().out
    assert output.is_file()
    assert main([*words, "--reading.size", "[8,8]"]) == 2
    assert "scenes is drawn, not read" in capsys.readouterr().err
    assert main(["data", "--data", "scenes", "--data_args.canvas", "9"]) == 2


def test_a_few_films_fade_in_or_out() -> None:
    shown = np.stack([film_scenes._faded(np.random.default_rng(k), 20) for k in range(200)])
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert ((np.diff(shown) >= 0).all(1) | (np.diff(shown) <= 0).all(1)).all()
    steps = np.abs(np.diff(shown, 2)).max(1)
    assert np.median(steps) > 0.005  # most of them begin or end meanwhile
    clips = Scenes("validation").batch(range(150))[:, :, 0].mean((2, 3))
    assert 4 <= ((clips[:, -1] - clips[:, 0]).abs() > 0.1).sum() <= 25
