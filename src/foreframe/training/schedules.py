"""Learning rate and momentum as functions of progress, without state to save or lose on resume."""

import math


def learning_rate(schedule: str, done: float, step: int, warmup: int = 0) -> float:
    """The factor on the highest learning rate.

    Args:
        schedule: "constant"; "cosine" (to 0); "onecycle" (Smith & Topin 2017, arXiv 1708.07120,
            with torch's OneCycleLR numbers: up from 1/25 over the first 30 %, then down to
            1/250,000, both as cosines).
        done: share of the training done, 0 to 1, by steps or by time.
        step: optimizer steps done, for the warm-up.
        warmup: steps of a linear rise before constant and cosine.
    """
    done = min(max(done, 0.0), 1.0)
    if schedule == "onecycle":
        return _onecycle(done, 1 / 25, 1.0, 1 / 25 / 1e4)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (_cosine(done, 1.0, 0.0) if schedule == "cosine" else 1.0)


def onecycle_beta_1(done: float) -> float:
    """OneCycle's momentum, opposite to the learning rate: 0.95, 0.85, 0.95."""
    return _onecycle(min(max(done, 0.0), 1.0), 0.95, 0.85, 0.95)


def _onecycle(done: float, first: float, top: float, last: float) -> float:
    rise = 0.3
    return (
        _cosine(done / rise, first, top)
        if done <= rise
        else _cosine((done - rise) / (1 - rise), top, last)
    )


def _cosine(share: float, start: float, end: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
