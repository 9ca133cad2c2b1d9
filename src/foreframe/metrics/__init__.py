"""Plain functions of forecast and truth, and the scorecards that add them up."""

from foreframe.metrics.events import EventScorecard
from foreframe.metrics.physical import PhysicalScorecard
from foreframe.metrics.pixel import (
    absolute_error,
    peak_signal_to_noise,
    squared_error,
    values_present,
)
from foreframe.metrics.scorecard import Scorecard
from foreframe.metrics.sharpness import gradient_magnitude, sharpness
from foreframe.metrics.structural import structural_similarity

__all__ = [
    "EventScorecard", "PhysicalScorecard", "Scorecard", "absolute_error", "gradient_magnitude",
    "peak_signal_to_noise", "sharpness", "squared_error", "structural_similarity",
    "values_present",
]  # fmt: skip
