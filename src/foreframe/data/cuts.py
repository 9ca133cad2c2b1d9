"""Scene changes and frozen frames: windows must not include either."""

from collections import deque
from collections.abc import Iterator
from itertools import chain, pairwise, product, repeat

import numpy as np
import torch
from jaxtyping import Float, Shaped

from foreframe.base.budget import frames_at_once
from foreframe.clips.frames import Frames, FramesLike, as_frames
from foreframe.data.data_options import BUDGET

FRAMES_READ = 64  # at a time
# frames before and after that must all be unlike, so that a flash shorter than that is no cut
_SIDE = 3
_AROUND = 8  # steps on either side that tell how much this film changes anyway
# mean absolute difference in standard deviations: noise alone gives 1.1, but so do its neighbours
_UNLIKE = 0.45
# share of values in another bin: motion moves objects, a new scene has other objects
_SHIFTED = 0.15
_JUMP = 3.0  # times as much as the film changes anyway
_FROZEN = 20  # frames: shorter pauses belong to a film
_STILL = 0.02  # of the usual change from frame to frame


def find_cuts(frames: FramesLike) -> list[int]:
    """Indices of the first frames of new scenes, in one pass over a few frames at a time.

    A cut at i parts frames that are all unlike: each of the 3 before from each of the 3 from i on,
    in place and in histogram, and far more than consecutive frames around them. A flash of one or
    two frames, a fade, a pan and noise are no cuts. Scenes shorter than 3 frames are not detected.
    Differences are relative to the standard deviation of the frames.

    Args:
        frames: (T,C,H,W); NaN is missing and counts as 0.
    """
    frames = as_frames(frames)
    total = len(frames)
    # The small frames around the boundary that is judged.
    near: deque[np.ndarray] = deque(maxlen=2 * _SIDE)
    steps = np.zeros(total)  # difference of frame i from the one before
    candidates: list[tuple[int, float]] = []
    for k, small in enumerate(chain(_small_frames(frames), repeat(None, _SIDE - 1))):
        if small is not None:
            steps[k] = _difference(near[-1], small) if near else 0.0
            near.append(small)
        # A boundary is judged once the frames after it are read; near the end there are fewer.
        i = k - _SIDE + 1
        after = min(total, i + _SIDE) - i
        around = list(near)
        before, later = around[:-after][-_SIDE:], around[-after:]
        if i < 1 or not before or steps[i] < _UNLIKE:
            continue
        pairs = list(product(before, later))
        least = min(_difference(a, b) for a, b in pairs)
        if least >= _UNLIKE and min(_shifted(a, b) for a, b in pairs) >= _SHIFTED:
            candidates.append((i, least))
    return [
        i
        for i, least in candidates
        if least >= _JUMP * _usual(steps, i) and steps[i] >= steps[max(1, i - 2) : i + 3].max()
    ]


def find_frozen(frames: FramesLike) -> list[tuple[int, int]]:
    """Find stretches of at least 20 frames that hardly change, such as corrupt frames or a still.
    Each is a first frame and an end.

    A frame changes if its difference from the one before is above 2 % of the 75th percentile of all
    differences. Noise, a slow film and a small moving object are changes.

    Args:
        frames: see `find_cuts`.
    """
    frames = as_frames(frames)
    pairs = pairwise(_small_frames(frames))
    changes = [0.0, *(float(np.abs(after - before).mean()) for before, after in pairs)]
    moved = np.flatnonzero(np.array(changes) > _STILL * np.quantile(changes, 0.75)).tolist()
    return [(a, b) for a, b in pairwise([0, *moved, len(frames)]) if b - a >= _FROZEN]


def since_cut(frames: FramesLike, end: int, n: int) -> int:
    """Count those of the `n` frames before frame `end` that belong to the last scene among them.
    Scenes shorter than three frames are not detected.
    """
    begin = max(0, end - n - _AROUND)
    cuts = [begin + k for k in find_cuts(frames[begin:end])]
    return min(n, end - max((k for k in cuts if k <= end - _SIDE), default=0))


def next_cut(frames: FramesLike, first: int, n: int) -> int:
    """Return the first frame of another scene among `n` frames from `first` on, or the frame after
    them.
    """
    begin, end = max(0, first - _AROUND), min(len(frames), first + n)
    cuts = (begin + k for k in find_cuts(frames[begin : end + _AROUND]))
    return min((k for k in cuts if first <= k < end), default=end)


def _usual(steps: Float[np.ndarray, " t"], i: int) -> float:
    """Return the third largest step around frame i, as a flash or another cut may be near."""
    around = np.concatenate([steps[max(1, i - _AROUND) : i], steps[i + 1 : i + 1 + _AROUND]])
    return float(np.sort(around)[-min(3, len(around))]) if len(around) else 0.0


def _small_frames(frames: Frames) -> Iterator[np.ndarray]:
    few = frames_at_once(frames.shape, FRAMES_READ, BUDGET)
    for begin in range(0, len(frames), few):
        yield from map(_small, frames[begin : begin + few])


def _small(frame: Shaped[np.ndarray, "c h w"]) -> Float[np.ndarray, "c y x"]:
    """A frame shrunk by averaging blocks to at most 64 rows and columns: noise and small motions
    average out.
    """
    c, h, w = frame.shape
    n = -(-max(h, w) // 64)
    if min(h, w) < n:  # a strip thinner than a block
        return np.nan_to_num(frame[:, ::n, ::n].astype(np.float32))
    m = max(1, n // 4)  # 16 or more values of a block tell its mean well enough
    values, n = np.nan_to_num(frame[:, ::m, ::m].astype(np.float32)), n // m
    return torch.nn.functional.avg_pool2d(torch.from_numpy(values), n).numpy()


def _difference(a: Float[np.ndarray, "c h w"], b: Float[np.ndarray, "c h w"]) -> float:
    """Mean absolute difference, in standard deviations of both frames together; 0 for two equal
    flat frames.
    """
    spread = float(np.std(np.stack([a, b])))
    return float(np.abs(a - b).mean()) / spread if spread > 0 else 0.0


def _shifted(a: Float[np.ndarray, "c h w"], b: Float[np.ndarray, "c h w"]) -> float:
    """Share of values, 0 to 1, that would have to change their bin of 16; the mean of channels."""
    apart = 0.0
    for before, after in zip(a, b, strict=True):
        limits = (min(before.min(), after.min()), max(before.max(), after.max()))
        counts = [np.histogram(values, 16, limits)[0] for values in (before, after)]
        apart += np.abs(counts[0] - counts[1]).sum() / (2 * before.size)
    return float(apart / len(a))
