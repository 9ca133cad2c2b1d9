"""Significance of differences between forecasters, by a paired bootstrap."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RESAMPLES, LEVEL = 1000, 0.95
FEWEST = 5  # groups of an interval: fewer do not show how much groups differ


def paired_bootstrap(
    own: Float[Tensor, "sums clips"],
    other: Float[Tensor, "sums clips"],
    value: Callable[..., Tensor],
    groups: Sequence[int],
) -> dict[str, Any]:
    """Compare two forecasters by a score of summed parts (see `Score`).

    Groups of clips are resampled with replacement `RESAMPLES` times, the same groups for both
    forecasters (Efron & Tibshirani 1993, ch. 8 and 13). Single clips may share frames or weather
    and are therefore dependent. Intervals are percentiles, widened by the t distribution for few
    groups (Hesterberg 2015, "What teachers should know about the bootstrap", section 5).

    Args:
        own, other: the sums of the score for each clip.
        value: the score as a function of total sums.
        groups: the group of each clip, such as its recording.

    Returns:
        {"difference": own score minus the other one, "low", "high": its 95 % interval, "ratio",
        "ratio_low", "ratio_high": own score over the other one, and the interval, "tie": whether
        the difference may be chance: the interval includes 0 or is None, "n": number of groups}.
        Intervals are None with fewer than `FEWEST` groups or without values.
    """
    scores, n = resampled((own, other), value, groups)
    difference, ratio = scores[0] - scores[1], scores[0] / scores[1]
    low, high = interval(difference[1:], n)
    ratio_low, ratio_high = interval(ratio[1:], n)
    return {
        "difference": difference[0].item(),
        "low": low,
        "high": high,
        "ratio": ratio[0].item(),
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "tie": low is None or high is None or low <= 0 <= high,
        "n": n,
    }


def resampled(
    each: Sequence[Float[Tensor, "sums *parts clips"]],
    value: Callable[..., Tensor],
    groups: Sequence[int],
) -> tuple[list[Float[Tensor, " all_and_resamples"]], int]:
    """Return the score of each forecaster over all clips, followed by its scores over resampled
    groups, and the number of groups. All forecasters have the same groups. Arguments as in
    `paired_bootstrap`.
    """
    numbers, group_of = np.unique(np.asarray(groups), return_inverse=True)
    n = len(numbers)
    by_group = (
        torch.zeros(*sums.shape[:-1], n, dtype=torch.float64).index_add_(
            -1, torch.from_numpy(group_of), sums.double()
        )
        for sums in each
    )
    return [value(*(sums @ _weights(n).T)) for sums in by_group], n


@lru_cache(maxsize=1)
def _weights(n: int) -> Float[Tensor, "all_and_resamples groups"]:
    """How often each group is drawn; in the first row once."""
    draw = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return torch.from_numpy(np.concatenate([np.ones((1, n)), draw]))


def interval(
    values: Float[Tensor, " resamples"], n: int
) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval; None for fewer than `FEWEST` groups or infinite values."""
    if n < FEWEST or not bool(values.isfinite().all()):
        return None, None
    outside = _share_outside(n)
    low, high = np.quantile(values.numpy(), [outside, 1 - outside]).tolist()
    return low, high


def _share_outside(n: int) -> float:
    """The share of resamples on each side of the interval: (1 - LEVEL) / 2 for many groups. Few
    groups have a smaller share, because their resamples vary too little, by sqrt((n - 1) / n), and
    are not normally distributed.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    degrees = max(1, n - 1)
    # The quantile of Student's t by its expansion (Abramowitz & Stegun 26.7.5).
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    return NormalDist().cdf(-t * sqrt(n / degrees))
