"""Members of a forecast, and their statistics."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from foreframe.clips.clip import Clip

Members = Float[np.ndarray, "m t c h w"]


class Ensemble(Sequence[Clip]):
    """Possible futures of a past, each a `Clip`, that differ in their frames alone.

    Args:
        members: at least one, of equal size and times.

    Raises:
        ValueError: no members, or different sizes.
    """

    def __init__(self, members: Sequence[Clip]) -> None:
        self._members = tuple(members)
        sizes = {tuple(member.frames.shape) for member in self._members}
        if len(sizes) != 1:
            raise ValueError(f"an ensemble has members of one size, not of {sorted(sizes)}")

    @classmethod
    def like(cls, clip: Clip, frames: Members) -> "Ensemble":
        """Members with these frames, otherwise equal to `clip`."""
        return cls([replace(clip, frames=member) for member in frames])

    def __repr__(self) -> str:
        t, c, h, w = self[0].frames.shape
        units = f" in {self[0].units}" if self[0].units else ""
        return f"Ensemble of {len(self)} members: {t} frames of {c} x {h} x {w}{units}"

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> "Ensemble": ...

    def __getitem__(self, index: int | slice) -> Any:
        return Ensemble(self._members[index]) if isinstance(index, slice) else self._members[index]

    @property
    def frames(self) -> Members:
        """All frames (members,T,C,H,W), in the data's units."""
        return np.stack([np.asarray(member.frames, np.float32) for member in self._members])

    def mean(self) -> Clip:
        """The mean of the members. It has the least squared error if members are drawn from the
        true distribution; otherwise the deterministic forecast, which is neither a member nor
        the mean, may be better.
        """
        return self._over(lambda frames: frames.mean(axis=0))

    def spread(self) -> Clip:
        """The standard deviation of the members (unbiased, 0 for a single member), in the data's
        units.
        """
        return self._over(lambda frames: frames.std(axis=0, ddof=min(1, len(self) - 1)))

    def probability(self, threshold: float) -> Clip:
        """The share of members that reach a threshold in the data's units: 0 to 1, NaN for missing
        values.
        """
        share = self._over(
            lambda frames: np.where(
                np.isnan(frames).any(axis=0), np.nan, (frames >= threshold).mean(axis=0)
            )
        )
        first, units = self._members[0], self._members[0].units
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
        return replace(self._members[0], frames=statistic(self.frames).astype(np.float32))
