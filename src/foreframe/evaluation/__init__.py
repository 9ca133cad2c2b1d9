"""Scores of trained forecasters, baselines and other programs, computed by a single loop.

This file does not import torch, so the command line lists the options quickly.
"""

from foreframe.evaluation.score_options import EvaluateOptions, ScoreOptions

__all__ = ["EvaluateOptions", "ScoreOptions"]
