"""Scores of forecasters: trained ones beside the baselines, during training, along a recording,
live, and of other programs, all by a single loop.

This file loads no torch, so that the command line can describe the options fast.
"""

from foreframe.evaluation.score_options import EvaluateOptions, ScoreOptions

__all__ = ["EvaluateOptions", "ScoreOptions"]
