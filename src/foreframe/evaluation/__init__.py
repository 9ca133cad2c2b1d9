"""Scores. One loop makes them all: of trained forecasters beside the baselines, while training, of
forecasts that roll through a recording, of live ones, and of those that other programs made.

What stands here loads without torch, so that the command line can describe the options at once.
"""

from foreframe.evaluation.score_options import EvaluateOptions, ScoreOptions

__all__ = ["EvaluateOptions", "ScoreOptions"]
