"""Time limits: the share of the minutes for scoring, and the frequency of validations."""

import math
import time
from typing import Any

import torch

from foreframe.clips.clip import Window
from foreframe.data import ClipSet, batches
from foreframe.evaluation.metrics import scores_of
from foreframe.evaluation.networks import forecast_clips
from foreframe.evaluation.scoring import Scoring
from foreframe.models import EnsembleRequest, Model, parts_of
from foreframe.training.options import MachineOptions

# Shares of the minutes for scores before the training, for all validations, and for the verdict;
# the rest of a quarter is a reserve in case the machine slows down.
BEFORE, VALIDATING, VERDICT = 0.07, 0.1, 0.05
FEWEST = 8  # least clips of a validation, if there are as many


def validated_clips(minutes: float, wanted: int, seconds: float, trained: int) -> int:
    """The number of clips to validate: as many as take a quarter of the validations' share each
    time, and at most a third of the training clips of an epoch, about a tenth of its time.

    Args:
        minutes: minutes of the training.
        wanted: most clips.
        seconds: seconds of a clip.
        trained: training clips of an epoch.
    """
    most = int(VALIDATING / 4 * 60 * minutes / seconds)
    return min(wanted, max(FEWEST, min(most, trained // 3)))


def val_check_interval(interval: Any, seconds: float) -> Any:
    """Lightning's option; an interval by the clock is lengthened if validations of so many seconds
    would take more than half of their share.

    Raises:
        ValueError: text that is no time.
    """
    if not isinstance(interval, str):
        return interval
    parts = interval.split(":")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"trainer.val_check_interval is a time DD:HH:MM:SS, not {interval!r}")
    days, hours, minutes, rest = map(int, parts)
    least = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    longer = math.ceil(max(least, 2 * seconds / VALIDATING))
    return (
        f"{longer // 86400:02d}:{longer // 3600 % 24:02d}:{longer // 60 % 60:02d}:{longer % 60:02d}"
    )


@torch.inference_mode()
def seconds_of_validation(
    network: Model, validation: ClipSet, window: Window, members: int, at_once: int
) -> float:
    """Measured seconds of validating a clip, after a warm-up."""
    was_training = network.training
    request = EnsembleRequest(members) if members else None
    taken = []
    for n in (1, min(at_once, 4)):
        began = time.monotonic()
        clips = next(batches(validation, n, n))
        parts = parts_of(clips, window, network.inputs)
        forecast = forecast_clips(network, parts, drawn=request)[0].unflatten(0, (len(clips), -1))
        scoring = Scoring(window.future, {"model": scores_of()})
        scoring.add([("model", forecast.mean(dim=1))], parts.truth)
        taken.append((time.monotonic() - began) / len(clips))
    network.train(was_training)
    return min(taken)


def in_one_process(machine: MachineOptions) -> bool:
    """Whether the training runs in a single process."""
    if machine.devices == "auto":
        return torch.cuda.device_count() < 2
    return machine.devices == 1
