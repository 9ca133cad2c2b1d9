"""Frame-level scores of what finds anomalies."""

import numpy as np


def auc(scores: np.ndarray, unusual: np.ndarray) -> float:
    """The area under the receiver operating characteristic: how often an unusual frame scores
    higher than a normal one, half of the ties counted; NaN without either.
    """
    order = np.sort(scores[~unusual])
    if not len(order) or not unusual.any():
        return float("nan")
    below = np.searchsorted(order, scores[unusual], side="left")
    up_to = np.searchsorted(order, scores[unusual], side="right")
    return float((below + up_to).mean() / 2 / len(order))


def average_precision(scores: np.ndarray, unusual: np.ndarray) -> float:
    """The precision at each unusual frame, those that score higher being called unusual too, in the
    mean; equal scores are taken together.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(unusual[order])
    last = np.searchsorted(-scores[order], -scores[unusual], side="right") - 1
    return float((found[last] / (last + 1)).mean())


def alarms_for(scores: np.ndarray, labels: np.ndarray, share: float) -> int:
    """How many false alarms there are at the highest threshold that finds a share of the events. An
    event is found if one of its frames reaches the threshold; an alarm is a stretch of normal
    frames that do.
    """
    begins = np.flatnonzero((labels > 0) & (np.diff(labels, prepend=0) != 0))
    highest = []
    for first in begins:
        stop = first + int(np.argmax(np.append(labels[first:] != labels[first], True)))
        highest.append(np.nanmax(scores[first:stop]))
    threshold = np.sort(highest)[::-1][max(0, int(np.ceil(share * len(highest))) - 1)]
    false = (scores >= threshold) & (labels == 0)
    return int((false & ~np.append(False, false[:-1])).sum())
