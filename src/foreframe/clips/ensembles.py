"""Members of a forecast: several possible futures, and what they say together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from foreframe.clips.clip import Clip

Members = Float[np.ndarray, "m t c h w"]


class Ensemble(Sequence[Clip]):
    """Possible futures of one past, a `Clip` each, alike in all but their frames.

    Args:
        members: one or more, of the same size and times.

    Raises:
        ValueError: none, or members of other sizes.
    """

    def __init__(self, members: Sequence[Clip]) -> None:
        self._members = tuple(members)
        if not self._members:
            raise ValueError("an ensemble has 1 member or more")
        sizes = {tuple(of.frames.shape) for of in self._members}
        if len(sizes) > 1:
            raise ValueError(f"members are of one size, not of {len(sizes)}: {sorted(sizes)}")

    @classmethod
    def like(cls, clip: Clip, frames: Members) -> "Ensemble":
        """Members with these frames, else as `clip`."""
        return cls([replace(clip, frames=of) for of in frames])

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, which: int) -> Clip: ...

    @overload
    def __getitem__(self, which: slice) -> "Ensemble": ...

    def __getitem__(self, which: int | slice) -> Any:
        return Ensemble(self._members[which]) if isinstance(which, slice) else self._members[which]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self._members)

    @property
    def frames(self) -> Members:
        """All frames, in the data's own units."""
        return np.stack([np.asarray(of.frames[0 : len(of)], np.float32) for of in self._members])

    def mean(self) -> Clip:
        """The mean of the members. Of members that are drawn from what may really come no forecast
        has a smaller squared error; of others that is not so, and the forecast without members,
        which is neither, may be the better one.
        """
        return self._over(lambda frames: frames.mean(axis=0))

    def spread(self) -> Clip:
        """The standard deviation of the members (unbiased), 0 of a single one: how unsure they are,
        in the data's units.
        """
        return self._over(lambda frames: frames.std(axis=0, ddof=min(1, len(self) - 1)))

    def probability(self, threshold: float) -> Clip:
        """The share of members that reach a threshold, in the data's units: 0 to 1, NaN where they
        have no value.
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
        described = {key: of for key, of in first.attributes.items() if key in place}
        return replace(
            share,
            units="1",
            variable=name,
            variables=(),
            attributes=described | {"long_name": what},
        )

    def _over(self, of: Callable[[Members], Float[np.ndarray, "t c h w"]]) -> Clip:
        return replace(self._members[0], frames=of(self.frames).astype(np.float32))
