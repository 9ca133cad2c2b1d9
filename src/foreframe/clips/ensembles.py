"""Members of a forecast, and their statistics."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from foreframe.clips.clip import Clip

Members = Float[np.ndarray, "m t c h w"]


class Ensemble(tuple[Clip, ...]):
    """Possible futures of a past: a tuple of `Clip`s that differ only in their frames.

    Args:
        members: at least one, of equal size and times.

    Raises:
        ValueError: no members, or different sizes.
    """

    def __new__(cls, members: Sequence[Clip]) -> "Ensemble":
        sizes = {tuple(member.frames.shape) for member in members}
        if len(sizes) != 1:
            raise ValueError(f"an ensemble has members of one size, not of {sorted(sizes)}")
        return super().__new__(cls, members)

    @classmethod
    def like(cls, clip: Clip, frames: Members) -> "Ensemble":
        """Members with these frames, otherwise equal to `clip`."""
        return cls([replace(clip, frames=member) for member in frames])

    def __repr__(self) -> str:
        t, c, h, w = self[0].frames.shape
        units = f" in {self[0].units}" if self[0].units else ""
        return f"Ensemble of {len(self)} members: {t} frames of {c} x {h} x {w}{units}"

    @property
    def frames(self) -> Members:
        """All frames (members,T,C,H,W), in the data's units."""
        return np.stack([np.asarray(member.frames, np.float32) for member in self])

    def mean(self) -> Clip:
        """Return the mean of the members. It has the least squared error if members are drawn from
        the true distribution. Otherwise, the deterministic forecast may be better.
        """
        return self._over(lambda frames: frames.mean(axis=0))

    def spread(self) -> Clip:
        """Return the standard deviation of the members in the data's units: unbiased, 0 for a
        single member.
        """
        return self._over(lambda frames: frames.std(axis=0, ddof=min(1, len(self) - 1)))

    def probability(self, threshold: float) -> Clip:
        """Return the share of members that reach a threshold in the data's units; NaN for missing
        values.
        """
        share = self._over(
            lambda frames: np.where(
                np.isnan(frames).any(axis=0), np.nan, (frames >= threshold).mean(axis=0)
            )
        )
        first, units = self[0], self[0].units
        what = f"probability of {threshold:g}{f' {units}' if units else ''} or more"
        name = f"probability_of_{first.variable}" if first.variable else "probability"
        place = ("grid_mapping", "coordinates")
        attributes = {key: value for key, value in first.attributes.items() if key in place}
        return replace(
            share,
            units="1",
            variable=name,
            variables=(),
            attributes=attributes | {"long_name": what},
        )

    def _over(self, statistic: Callable[[Members], Float[np.ndarray, "t c h w"]]) -> Clip:
        return replace(self[0], frames=statistic(self.frames).astype(np.float32))
