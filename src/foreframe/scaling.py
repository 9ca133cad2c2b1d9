"""Physical values <-> what the network sees."""

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

Values = TypeVar("Values", Tensor, np.ndarray)


@dataclass(frozen=True)
class Scaling:
    """A fixed range of the data's own units, mapped to [0, 1] in a straight line.

    Args:
        low: the value that becomes 0.
        high: the value that becomes 1.
        units: of low, high and of what `to_units` gives back.

    Raises:
        ValueError: when high is not above low.
    """

    low: float = 0.0
    high: float = 1.0
    units: str = ""

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"a scaling needs low < high, not {self.low} and {self.high}")

    @classmethod
    def fit(cls, frames: Values, units: str = "") -> "Scaling":
        """The range that these frames (of the training split only) span; NaN is left out.

        Raises:
            ValueError: when the frames hold a single value or nothing finite.
        """
        values = np.asarray(frames)
        values = values[np.isfinite(values)]
        if values.size == 0 or values.min() == values.max():
            raise ValueError("a scaling cannot be fitted to frames without two different finite values")
        return cls(float(values.min()), float(values.max()), units)

    def to_network(self, values: Values) -> Values:
        """Units -> [0, 1]; any shape."""
        if (self.low, self.high) == (0.0, 1.0):
            return values
        return (values - self.low) / (self.high - self.low)

    def to_units(self, values: Values) -> Values:
        """[0, 1] -> units; any shape."""
        if (self.low, self.high) == (0.0, 1.0):
            return values
        return values * (self.high - self.low) + self.low

    def config(self) -> dict[str, Any]:
        """Plain numbers and strings, for config.json: `Scaling(**config)` is the way back."""
        return asdict(self)
