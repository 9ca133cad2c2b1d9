"""Frames made of other frames, against numpy's slices of the same numbers; and sizes, by hand."""

import numpy as np
import pytest

from foreframe.clips.frames import ArrayFrames, Concatenated, Section, resized

VALUES = np.random.default_rng(2).normal(size=(12, 3, 2, 4)).astype(np.float32)
SOURCE = ArrayFrames(VALUES, {3, 8, 9})


def test_joined_frames_go_on_across_their_ends() -> None:
    joined = Concatenated([Section(SOURCE, 0, 5), ArrayFrames(VALUES[5:6]), Section(SOURCE, 6, 12)])
    assert (joined.shape, joined.broken) == (VALUES.shape, {3, 8, 9})
    for first in range(12):
        for last in range(first, 12):
            np.testing.assert_array_equal(joined[first:last], VALUES[first:last])
    assert joined[7:7].dtype == np.float32
    assert joined[7, 2, 1, 3] == SOURCE[7, 2, 1, 3] == VALUES[7, 2, 1, 3]
    np.testing.assert_array_equal(np.stack(list(joined)), VALUES)


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (2, [True, False]),
        (4, [True, False, False, False]),  # half of the second is known
        (5, [True, True, False, False, False]),
    ],
)
def test_a_resized_pixel_is_missing_where_most_of_it_is(width: int, missing: list[bool]) -> None:
    frames = np.full((1, 1, 4, 8), 7.0, np.float32)
    frames[..., :3] = np.nan
    small = resized(frames, 2, width, frames.dtype)[0, 0, 0]
    assert np.isnan(small).tolist() == missing
    np.testing.assert_allclose(small[~np.isnan(small)], 7)


def test_resized_whole_numbers_are_rounded_and_stay_in_their_range() -> None:
    frames = np.array([[0, 255, 255, 0], [1, 255, 255, 0]], np.uint8)[None, None]
    np.testing.assert_array_equal(resized(frames, 1, 2, frames.dtype)[0, 0], [[128, 128]])
    grown = resized(frames, 4, 8, frames.dtype)
    assert (grown.shape, grown.dtype, grown.max()) == ((1, 1, 4, 8), np.uint8, 255)
