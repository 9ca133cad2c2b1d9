"""Moving MNIST against loops written from the papers' descriptions, and its promises: keys, order,
splits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import real_data
from foreframe import MovingMNIST
from foreframe.clips.keyed import double_uniforms, further
from foreframe.data.moving_mnist import SPLITS, _clamped_track, digit_images
from refusals import one_line


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_srivastava_equals_the_step_by_step_rule(seed: int) -> None:
    """Clamped at the wall and turned round, step by step (Srivastava et al. 2015, their released
    generator's rule).

    Random reals, since where a step ends on a wall exactly, rounding decides whether the digit
    turns now or a step later.
    """
    x, y, angle, speed = np.random.default_rng(seed).random(4) * [1, 1, 2 * math.pi, 0.7]
    start, v = np.array([[y, x]]), np.array([[speed * math.sin(angle), speed * math.cos(angle)]])
    place, velocity, expected = start[0].copy(), v[0].copy(), []
    for _ in range(40):
        place += velocity
        for axis in (0, 1):
            if place[axis] <= 0:
                place[axis], velocity[axis] = 0.0, abs(velocity[axis])
            elif place[axis] >= 1:
                place[axis], velocity[axis] = 1.0, -abs(velocity[axis])
        expected.append(place.copy())
    np.testing.assert_allclose(_clamped_track(start, v, 40)[0].T, expected, atol=1e-9)


@pytest.mark.parametrize(("speed", "redraw"), [(1, False), (4, False), (9, False), (4, True)])
def test_svg_equals_the_step_by_step_rule(speed: int, redraw: bool) -> None:
    """A digit is put on the wall and reversed there, or gets a new velocity: 1 to `speed` away from
    the wall, rows before columns (`deterministic=False` in the code of Denton & Fergus 2018).
    """
    motion = {"rule": "svg", "speed": speed, "redraw": redraw}
    data = MovingMNIST("train", motion=motion, canvas=(50, 64), length=60)
    u = double_uniforms(np.arange(30), 8, stream=1).reshape(30, 2, 2, 2)
    at_walls = double_uniforms(np.arange(30), 60 * 8, stream=2).reshape(30, 2, 60, 2, 2)
    tracks, rooms = np.stack(data.positions(np.arange(30)), axis=-1), (18, 32)
    for k, digit in np.ndindex(30, 2):
        place = [int(u[k, digit, axis, 0] * rooms[axis]) for axis in (0, 1)]
        velocity = [int(v * (2 * speed + 1)) - speed for v in u[k, digit, :, 1]]
        for t in range(60):
            for axis in (0, 1):
                if 0 <= place[axis] < rooms[axis]:
                    continue
                below = place[axis] < 0
                velocity[axis] = -velocity[axis]
                if redraw:
                    drawn, other = at_walls[k, digit, t, axis]
                    velocity[axis] = (1 if below else -1) * (1 + int(drawn * speed))
                    velocity[1 - axis] = int(other * (2 * speed + 1)) - speed
                place[axis] = 0 if below else rooms[axis] - 1
            assert tracks[k, digit, t].tolist() == place
            place = [at + by for at, by in zip(place, velocity, strict=True)]


def test_frames_equal_a_plain_loop() -> None:
    """Pixels by a loop over digits and frames, for both overlays."""
    for rule in ("srivastava", "svg"):
        data = MovingMNIST("validation", motion=rule, canvas=(60, 72), count=3, length=6, seed=5)
        keys = further(data._key, np.zeros(4, np.int64), np.arange(4))
        which = (double_uniforms(keys, 3, stream=0) * len(data.images)).astype(int)
        rows, columns = data.positions(keys)
        size = data.motion.digit_px
        frames = np.zeros((4, 6, 60, 72))
        for b in range(4):
            for t in range(6):
                for d in range(3):
                    here = frames[
                        b,
                        t,
                        rows[b, d, t] : rows[b, d, t] + size,
                        columns[b, d, t] : columns[b, d, t] + size,
                    ]
                    digit = data.images[which[b, d]].astype(float)
                    here[:] = np.maximum(here, digit) if rule == "srivastava" else here + digit
        got = data.batch(range(4)).squeeze(2).numpy()
        np.testing.assert_allclose(got, np.minimum(frames, 255) / 255, atol=1e-7)
        assert np.array_equal(data.compact(range(4)).squeeze(2).numpy(), np.minimum(frames, 255))


@pytest.mark.parametrize("count", [1, 3])
def test_eight_bits_hold_the_same_clips_however_many_are_drawn_together(
    monkeypatch, count: int
) -> None:
    data = MovingMNIST("validation", count=count, length=5)
    clips = data.batch(range(7))
    assert data.compact(range(7)).dtype == torch.uint8
    assert torch.equal(clips, torch.stack([data[index] for index in range(7)]))
    # One clip at a time, and three, which leaves one over.
    for block in (1, 3 * count * 5 * 64 * 64):
        monkeypatch.setattr("foreframe.data.moving_mnist.BLOCK", block)
        assert torch.equal(data.batch(range(7)), clips)


def test_a_clip_is_a_function_of_its_key() -> None:
    data = MovingMNIST("train", clips=50)
    batch = data.batch([(0, 7), (3, 7), (0, 9)])
    assert torch.equal(batch[0], data[7])
    assert torch.equal(batch[2], data[9])
    assert torch.equal(batch[1], MovingMNIST("train", clips=50)[3, 7])
    assert not torch.equal(batch[0], batch[1])
    assert not torch.equal(data[7], MovingMNIST("train", clips=50, seed=1)[7])
    fixed = MovingMNIST("train", clips=50, fixed=True)
    assert torch.equal(fixed[7], fixed[3, 7])
    held = MovingMNIST("test")
    assert torch.equal(held[7], held[3, 7])
    assert not torch.equal(held[7], MovingMNIST("validation")[7])


def test_a_golden_clip_never_changes() -> None:
    """The clips behind published scores: this sum was read from the first version."""
    clip = MovingMNIST("test")[0]
    assert clip.shape == (20, 1, 64, 64)
    assert clip.dtype == torch.float32
    assert (clip * 255).sum().item() == 1_627_097


def test_splits_share_no_image() -> None:
    dealt = {split: {image.tobytes() for image in digit_images(split=split)} for split in SPLITS}
    assert sum(len(images) for images in dealt.values()) >= 4_990  # a few of the 5,000 may be twins
    assert not dealt["train"] & dealt["validation"]
    assert not dealt["train"] & dealt["test"]
    assert not dealt["validation"] & dealt["test"]
    assert all(len(images) > 400 for images in dealt.values())


def test_splits_hold_across_sources() -> None:
    """The embedded digits are part of MNIST: one that is tested on here is never trained on
    there.
    """
    whole = real_data("digits/mnist_train.npz")
    train = {image.tobytes() for image in digit_images(whole, "train")}
    test = {image.tobytes() for image in digit_images("mini", "test")}
    assert not train & test
    assert len(train) > 47_000


def test_digits_from_npz_and_torchvision_files(tmp_path) -> None:
    images = digit_images(split="test")[:100]
    raw = b"\x00\x00\x08\x03" + np.array(images.shape, dtype=">i4").tobytes() + images.tobytes()
    np.savez(tmp_path / "some.npz", images=images)
    assert np.array_equal(digit_images(tmp_path / "some.npz", "test"), images)
    with pytest.raises(ValueError, match="too few"):
        digit_images(tmp_path / "some.npz", "train")
    (tmp_path / "torn.npz").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"digits: .*torn.npz cannot be read"):
        digit_images(tmp_path / "torn.npz")

    pytest.importorskip("torchvision")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    labels = (
        b"\x00\x00\x08\x01" + np.array([len(images)], dtype=">i4").tobytes() + bytes(len(images))
    )
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(raw)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    assert np.array_equal(digit_images("mnist", "test", root=tmp_path), images)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"split": "dev"}, "split 'dev' is unknown"),
        ({"motion": "brownian"}, "motion rule 'brownian'"),
        ({"motion": {"rules": "svg"}}, "did you mean rule"),
        ({"motion": {"rule": "srivastava", "redraw": True}}, "only the svg rule"),
        ({"motion": {"rule": "svg", "speed": 1.5}}, "whole pixels"),
        ({"canvas": 28}, "need a canvas larger"),
        ({"digits": "roman"}, "'roman' is unknown"),
        ({"digits": "nowhere.npz"}, "digits: there is no file nowhere.npz"),
        ({"digits": {"source": "mnist", "root": "no-such-folder"}}, "allow the download"),
    ],
)
def test_bad_choices_are_told_in_one_line(bad: dict, message: str) -> None:
    with one_line(message):
        MovingMNIST(**bad)


def test_an_index_outside_the_set() -> None:
    with pytest.raises(IndexError):
        MovingMNIST("test", clips=5)[5]


REDRAWN = {"rule": "svg", "redraw": True}


def test_futures_go_on_from_the_past_and_by_seed() -> None:
    dataset = MovingMNIST("test", motion=REDRAWN, clips=4)
    futures = dataset.futures([0, 3], 8, 3, seed=5)
    assert torch.equal(futures[1:], dataset.futures([3], 8, 3, seed=5))
    assert torch.equal(futures[:, :2], dataset.futures([0, 3], 8, 2, seed=5))
    assert not torch.equal(futures, dataset.futures([0, 3], 8, 3, seed=-1))
    # Where the velocity is before the walls redraw it, there is one next frame.
    assert torch.equal(futures[:, 0, 0], dataset.batch([0, 3])[:, 8])
    single = MovingMNIST("test", motion="svg", clips=2)
    assert torch.equal(single.futures([1], 8, 2)[0, 1], single.batch([1])[0, 8:])
