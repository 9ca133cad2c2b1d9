"""Honest scores. One loop makes them all: of trained forecasters beside the baselines, while
training, of forecasts that roll through a recording, of live ones, and of those made elsewhere.
"""

from foreframe.evaluation.card import evaluate, moving_baseline
from foreframe.evaluation.elsewhere import write_pasts
from foreframe.evaluation.report import write_report
from foreframe.evaluation.scoring import Scoring
from foreframe.evaluation.walk import Rolling, score_live

__all__ = [
    "Rolling",
    "Scoring",
    "evaluate",
    "moving_baseline",
    "score_live",
    "write_pasts",
    "write_report",
]
