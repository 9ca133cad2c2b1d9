"""Splits, by rules that are checked over many lengths and shares of numbered frames."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foreframe.clips.clip import Clip, Window
from foreframe.data.data_options import SplitOptions
from foreframe.data.splits import SPLITS, UNDECIDED, split_clips

SMALL = Window(2, 1)


def numbered_recordings(lengths: Sequence[Sequence[int]]) -> dict[str, list[list[Clip]]]:
    """Recordings of parts of so many frames; no two frames hold the same number."""
    ends = iter(np.cumsum([n for parts in lengths for n in parts]).tolist())
    return {UNDECIDED: [[numbered(n, next(ends) - n) for n in parts] for parts in lengths]}


def numbered(t: int, start: int) -> Clip:
    """Frames of one pixel that hold their number."""
    return Clip(np.arange(start, start + t, dtype=np.float32).reshape(-1, 1, 1, 1))


def numbers_of(clip: Clip) -> list[int]:
    return np.asarray(clip.frames).ravel().astype(int).tolist()


shares_of_splits = (
    st.tuples(*[st.integers(0, 8)] * 3).filter(any).map(lambda s: tuple(n / sum(s) for n in s))
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=3), min_size=1, max_size=14),
    shares_of_splits,
    st.builds(Window, st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from(["auto", "recording", "time"]),
)
def test_no_frame_is_in_two_splits(
    lengths: list[list[int]],
    shares: tuple[float, float, float],
    window: Window,
    by: str,
) -> None:
    recordings = numbered_recordings(lengths)
    clips = split_clips(recordings, SplitOptions(by, shares), window)
    sets = {split: {k for clip in clips[split] for k in numbers_of(clip)} for split in SPLITS}
    assert sum(len(clip) for parts in clips.values() for clip in parts) == len(
        set().union(*sets.values())
    )
    for split, share in zip(SPLITS, shares, strict=True):
        assert share > 0 or not sets[split]
        assert all(len(clip) for clip in clips[split])
    whole = [[k for part in parts for k in numbers_of(part)] for parts in recordings[UNDECIDED]]
    owners = []
    for frames in whole:
        spans = [sorted(sets[split] & set(frames)) for split in SPLITS]
        for before, after in pairwise(filter(None, spans)):
            # in order, and so many frames between them belong to nobody
            assert after[0] - before[-1] > window.future
        if by == "recording":
            (owner,) = (k for k, span in enumerate(spans) if span)
            assert spans[owner] == frames
            owners.append(owner)
    assert owners == sorted(owners)
    if by == "recording" and len(lengths) >= 3:
        assert {s for s in range(3) if shares[s] > 0} == set(owners)
