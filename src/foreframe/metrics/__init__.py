"""Plain functions of forecast and truth, and the scorecard that adds them up."""

from foreframe.metrics.pixel import absolute_error, peak_signal_to_noise, squared_error
from foreframe.metrics.scorecard import Scorecard
from foreframe.metrics.structural import structural_similarity

__all__ = ["Scorecard", "absolute_error", "peak_signal_to_noise", "squared_error", "structural_similarity"]
