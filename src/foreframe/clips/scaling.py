"""Scaling between physical values and the network's range."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from foreframe.base.schema import check_types

Values = TypeVar("Values", Tensor, np.ndarray)

KINDS = ("range", "minmax", "standard", "log", "dbz")
FAR = 1e30  # close to the largest float32
SPREAD = 4.0  # standard deviations from the mean to 0 and to 1
# Default low, high and units of the kinds that are not fitted.
DEFAULTS = {"log": (0.1, 100.0, "mm/h"), "dbz": (5.0, 60.0, "dBZ")}


@dataclass(frozen=True)
class Scaling:
    """A map from the data's units to [0, 1] and back. x is a value, y its scaled value:

    - "range": y = (x - low) / (high - low). `Forecaster` raises an error for values outside.
    - "minmax": the same line, from the smallest to the largest value of the training frames.
    - "standard": the same line; low and high are `SPREAD` = 4 standard deviations below and above
      the mean, so that y is the standardised value over 8, plus a half.
    - "log", for rain: y = log(1 + x/low) / log(1 + high/low), with x at least 0: a straight line
      well below `low`, logarithms above.
    - "dbz", for reflectivity in dBZ: the line of "range", with y clipped to [0, 1]. Values below
      `low` mean no echo.

    Missing values (NaN) stay missing.

        scaling = foreframe.Scaling(250, 320, "K")
        scaling.to_units(scaling.to_network(torch.full((1, 24, 32), 285.0)))  # 285 K again

    Args:
        low, high: see above, in the data's units.
        units: units of low, high and of the result of `to_units`.
        kind: one of KINDS.
        inputs: low and high of each input, in the last channels of frames, which are not forecast;
            each is scaled as "minmax".

    Raises:
        ValueError: an unknown kind, high not above low, or low not above 0 for "log".
    """

    low: float = 0.0
    high: float = 1.0
    units: str = ""
    kind: str = "range"
    inputs: Sequence[Sequence[float]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple((low, high) for low, high in self.inputs))
        if self.kind not in KINDS:
            raise ValueError(f"scaling kind {self.kind!r} is unknown; choose {', '.join(KINDS)}")
        for low, high in ((self.low, self.high), *self.inputs):
            if not (max(abs(low), abs(high)) < FAR and low < high):
                raise ValueError(f"a scaling needs finite low < high, not {low} and {high}")
        if self.kind == "log" and not self.low > 0:
            raise ValueError(
                "a log scaling needs low > 0, where logarithms take over from the straight line, "
                f"not {self.low}"
            )

    @classmethod
    def from_moments(cls, moments: "Moments", units: str = "", kind: str = "minmax") -> "Scaling":
        """Fit to statistics of the training split. A "log" or "dbz" scaling has the low of DEFAULTS
        and at least its high.

        Raises:
            ValueError: the frames lack two different finite values.
        """
        if kind in DEFAULTS:
            low, high, usual = DEFAULTS[kind]
            return cls(low, max(high, moments.highest), units or usual, kind)
        if not moments.lowest < moments.highest:
            raise ValueError(
                "a scaling cannot be fitted to frames without two different finite values"
            )
        if kind == "standard":
            mean, deviation = moments.mean, moments.deviation
            return cls(mean - SPREAD * deviation, mean + SPREAD * deviation, units, kind)
        return cls(moments.lowest, moments.highest, units, "minmax")

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of valid values: [low, high] for "range", infinite for other kinds."""
        return (self.low, self.high) if self.kind == "range" else (-math.inf, math.inf)

    @property
    def network_bounds(self) -> tuple[float, float]:
        """`bounds` on the network's scale."""
        return (0.0, 1.0) if self.kind == "range" else (-math.inf, math.inf)

    @property
    def is_unit(self) -> bool:
        """Whether the data are on [0, 1] already, as generated clips are."""
        return (self.low, self.high, self.kind) == (0.0, 1.0, "range")

    def from_pictures(self, frames: np.ndarray) -> np.ndarray:
        """Scale 8-bit pictures to [0, 1] if the data are on [0, 1]; other frames are unchanged; any
        shape.
        """
        if self.is_unit and frames.dtype == np.uint8:
            return frames.astype(np.float32) / 255
        return frames

    def of(self, dtype: Any) -> "Scaling":
        """The scaling of frames of this dtype: 8-bit pictures are on 0 to 255 if other frames are
        on 0 to 1.
        """
        return replace(self, high=255.0) if self.is_unit and dtype == np.uint8 else self

    def to_network(self, values: Values) -> Values:
        """Units to [0, 1]; any shape, or (...,C+I,H,W) with I inputs."""
        if self.inputs:
            forecast = values[..., : -len(self.inputs), :, :]
            forecast = replace(self, inputs=()).to_network(forecast)
            inputs = self.inputs_to_network(values[..., -len(self.inputs) :, :, :])
            return (torch.cat if isinstance(values, Tensor) else np.concatenate)(
                [forecast, inputs], -3
            )
        if self.kind == "log":
            log1p = torch.log1p if isinstance(values, Tensor) else np.log1p
            return log1p(_cut(values, 0.0, math.inf) / self.low) / math.log1p(self.high / self.low)
        if self.kind == "dbz":
            values = _cut(values, self.low, self.high)
        if (self.low, self.high) == (0.0, 1.0):
            return values
        above = values - float(self.low)
        above /= self.high - self.low  # in place: a copy takes as long as reading a window
        return above

    def inputs_to_network(self, values: Values) -> Values:
        """Scale each input by its range; (...,I,H,W)."""
        if not self.inputs:
            return values
        low, high = np.array(self.inputs, np.float32).T[:, :, None, None]
        if isinstance(values, Tensor):
            low, high = (torch.from_numpy(ends).to(values.device) for ends in (low, high))
        return (values - low) / (high - low)

    def to_units(self, values: Values) -> Values:
        """[0, 1] to units, for forecast channels without inputs; any shape."""
        if self.kind == "log":
            expm1 = torch.expm1 if isinstance(values, Tensor) else np.expm1
            # The exponential of an overshooting forecast would explode.
            return expm1(_cut(values, 0.0, 1.5) * math.log1p(self.high / self.low)) * self.low
        if self.kind == "dbz":
            values = _cut(values, 0.0, 1.0)
        if (self.low, self.high) == (0.0, 1.0):
            return values
        return values * (self.high - self.low) + self.low

    def config(self) -> dict[str, Any]:
        """Plain numbers and strings for config.json; `Scaling(**config)` is the inverse."""
        config = asdict(self) | {"inputs": [list(ends) for ends in self.inputs]}
        return config if self.inputs else {k: v for k, v in config.items() if k != "inputs"}


@dataclass(frozen=True)
class Moments:
    """Count, range and sums of the finite values of many frames, from a single pass."""

    count: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    def plus(self, frames: np.ndarray) -> "Moments":
        flat, moments = frames.reshape(-1), self
        # In parts: as float64 big frames would fill the memory.
        for start in range(0, flat.size, 2**22):
            with np.errstate(invalid="ignore"):  # of damaged numbers
                values = flat[start : start + 2**22].astype(np.float64)
            values = values[np.isfinite(values)] if frames.dtype.kind == "f" else values
            if values.size:
                ends = float(values.min()), float(values.max())
                sums = float(values.sum()), float(np.square(values).sum())
                moments += Moments(values.size, *ends, *sums)
        return moments

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.total + other.total,
            self.squares + other.squares,
        )

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)

    @property
    def deviation(self) -> float:
        return math.sqrt(max(0.0, self.squares / max(1, self.count) - self.mean**2))


def scaling_from(option: str | Mapping[str, Any] | Scaling) -> Scaling | str:
    """The scaling of an option: a `Scaling` if `low` and `high` are set, else a kind to fit.

    Raises:
        ValueError: an unknown kind or key.
    """
    if isinstance(option, Scaling):
        return option
    given = {"kind": option} if isinstance(option, str) else option
    check_types(Scaling, given, "scaling")
    ends = {"low", "high"} & set(given)
    if len(ends) == 2:
        return Scaling(**given)
    kind = str(given.get("kind", "minmax"))
    if kind not in KINDS:
        raise ValueError(f"scaling kind {kind!r} is unknown; choose {', '.join(KINDS)}")
    if ends or kind == "range":
        raise ValueError(
            "a scaling needs both low and high, or neither, to be fitted to the training frames, "
            "which a range is not"
        )
    return kind


def _cut(values: Values, low: float, high: float) -> Values:
    """Clip; NaN stays NaN."""
    return values.clamp(low, high) if isinstance(values, Tensor) else np.clip(values, low, high)
