"""Frames made of other frames, against numpy's slices of the same numbers; and sizes, by hand."""

import numpy as np
import pytest

from foreframe.clips.frames import resized


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
