"""The default recipe of `foreframe train --data X`.

It chooses sizes and windows from the recording (`choices`) and scores the untrained baselines on
the validation split. The network then starts exactly at the best baseline. Each choice is printed
and becomes an ordinary option in config.yaml.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from foreframe.base.notes import say
from foreframe.base.processes import all_gather, is_first_process, rank_and_size
from foreframe.clips.clip import Clip, Window, in_seconds
from foreframe.data import ReadOptions, Recordings, batches, chosen
from foreframe.data.arrays import data_name
from foreframe.data.datasets import ClipSet, check_first_clip
from foreframe.data.opening import Splits, holds_recordings, open_splits
from foreframe.data.readers import in_parts, moving_parts
from foreframe.data.splits import UNDECIDED, raw_by_folder
from foreframe.evaluation.metrics import SCORES
from foreframe.evaluation.networks import clips_at_once, fewer_within
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import SCORED, Model, build_model, model_name, parts_of
from foreframe.models.names import published
from foreframe.training.choices import Choice, Recording, choices, is_given
from foreframe.training.options import Options
from foreframe.training.preparation import build_network, check_options
from foreframe.training.recipes import DEFAULT, Given, options_from, put

SCENES = "scenes"  # weights for films
# Options of fine-tuning these weights: a single film teaches little, and quickly.
FINE_TUNING = {
    "weights": SCENES,
    "freeze_encoder": True,
    "train_clips": 96,
    "learning_rate": 4e-4,
    "warmup": 10,
    "patience": 3,
}
CLIPS = 100  # validation clips that the baselines are scored on
SAMPLED_FRAMES = 8  # frames of a recording that are inspected
MOST_SEARCHED = 20_000  # largest number of frames searched for scene changes
COLOUR = 2.0  # lowest mean difference of channels (0 to 255) of colour pictures
# Baselines that a network may use besides the best one.
GUIDES = ("dense_motion", "persistence", "mean", "linear_motion", "cycle")
SCORING_SHARE = 0.07  # share of the minutes for scores before the training


def choose_defaults(given: Given) -> tuple[Options, Splits, float]:
    """Choose the options of a training without a recipe.

    Args:
        given: the user's options, which are unchanged.

    Returns:
        The options, the opened data, and the time of opening (`time.monotonic`): the scores after
        it count for the minutes.

    Raises:
        ValueError: errors of opening data and of `check_options`; too few frames to train on.
    """
    explicit = put({}, given)
    usual = options_from([DEFAULT], given)
    network = build_network(usual.model, usual.learning.seed, usual.machine.budget)
    check_options(network, usual.model, usual.learning)  # before all baselines are scored
    data, reading = usual.data.data, usual.data.reading
    made: list[Choice] = []
    period = None
    if holds_recordings(data, reading.variable):
        recording = look_at(data, reading, "cuts" not in explicit.get("reading", {}))
        made, period = choices(recording, explicit), recording.period
    options = _with(given, made)
    splits = open_splits(options.data)
    train, validation = splits["train"], splits["validation"]
    check_first_clip(train, options.data.window, None, data_name(data))
    say(f"{data_name(data)}: chosen from what it is (its option in brackets)")
    for choice in made:
        if choice.line:
            say(f"  {choice.line}")
    opened = time.monotonic()
    minutes = options.learning.minutes
    share = SCORING_SHARE * 60 * minutes if minutes else math.inf
    models = _to_score(options, validation, period, explicit)
    scored = all_gather(
        is_first_process() and scores_of_start(models, validation, options.data.window, share)
    )[0]
    say("\n".join(score_lines(scored)))
    made += _start(list(scored), period, options.data.batch_size, len(train))
    made += _clock(explicit)
    return _with(given, made), splits, opened


def _with(given: Given, made: Sequence[Choice]) -> Options:
    explicit = put({}, given)
    new = [(choice.path, choice.value) for choice in made if not is_given(explicit, choice.path)]
    return options_from([DEFAULT], [*given, *new])


def _start(names: Sequence[str], period: int | None, size: int, clips: int) -> Iterator[Choice]:
    """Choose the start of the training: the weights for films, or the best baseline.

    Args:
        names: forecasters, the best first.
        period: frames of a cycle, if any.
        size: usual number of clips of a batch.
        clips: number of training clips.
    """
    if names[0] == SCENES:
        say(
            f"only the part of {SCENES} that forecasts is trained (--freeze_encoder), on "
            f"{FINE_TUNING['train_clips']} clips (--train_clips)"
        )
        yield from (Choice((name,), value) for name, value in FINE_TUNING.items())
        size = 2  # more steps of the same time
    else:
        best, *others = (name for name in names if name != SCENES)
        guides = [
            {name: {"period": period}} if name == "cycle" else name
            for name in (best, *(other for other in others if other in GUIDES))
        ]
        yield Choice(("model_args", "output"), {"blend": {"guides": guides}})
    yield Choice(("batch_size",), min(size, clips))


def _clock(explicit: Mapping[str, Any]) -> Iterator[Choice]:
    """Validate by epochs if epochs or steps end the training, or with several processes, whose
    clocks differ.
    """
    trainer = explicit.get("trainer") or {}
    ends = "epochs" in explicit or "max_steps" in trainer or bool(explicit.get("train_steps"))
    if ends:
        yield Choice(("minutes",), None)
    if ends or rank_and_size()[1] > 1:
        yield Choice(("trainer", "val_check_interval"), 1.0)


def look_at(
    source: Any,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    cuts: bool = True,
) -> Recording:
    """Describe recordings from their headers and some of their frames.

    Args:
        source: files, or frames in memory.
        reading: options of reading.
        cuts: whether to search for scene changes.

    Raises:
        ValueError: errors of reading.
    """
    folders = raw_by_folder(source, reading)
    clips = [clip for inside in folders.values() for clip in inside]
    few = sum(map(len, clips)) <= MOST_SEARCHED
    moving = moving_parts if few else list
    parts = [moving(in_parts(clip, reading)) for clip in clips]
    longest = max((part for inside in parts for part in inside), key=len)
    lengths, scenes = _lengths(parts), []
    if longest.pictures and cuts and few:
        at_cuts = replace(reading, cuts=True)
        scenes = _lengths([moving(in_parts(clip, at_cuts)) for clip in clips])
    frames = longest.frames
    pictures = longest.pictures or (frames.dtype == np.uint8 and not longest.units)
    hours, monthly = _cadence(longest)
    return Recording(
        name=data_name(source),
        parts=lengths,
        channels=longest.channels,
        height=frames.shape[2],
        width=frames.shape[3],
        pictures=pictures,
        colour=pictures and _has_colour(longest),
        hours=hours,
        monthly=monthly,
        divided=UNDECIDED not in folders,
        scenes=scenes if scenes != lengths else [],
    )


def _lengths(recordings: Sequence[Sequence[Clip]]) -> list[list[int]]:
    return [[len(part) for part in parts] for parts in recordings]


def _cadence(clip: Clip) -> tuple[float | None, bool]:
    """Return the hours between frames, None without dates, and whether frames are monthly."""
    if clip.times is None or clip.times.dtype.kind == "f" or clip.step is None:
        return None, False
    hours = in_seconds(clip.step) / 3600
    # With a frame every 28 days, two frames share a month.
    months = {str(time)[:7] for time in clip.times}
    return hours, 27.5 <= hours / 24 <= 31.5 and len(months) == len(clip)


def _has_colour(clip: Clip) -> bool:
    """Whether the first three channels of some frames differ."""
    if clip.channels < 3:
        return False
    places = np.linspace(0, len(clip) - 1, min(len(clip), SAMPLED_FRAMES)).astype(int).tolist()
    frames = (clip.frames.read(k, k + 1)[0, :3].astype(np.float32) for k in places)
    differ = [float(np.ptp(frame, axis=0).mean()) for frame in frames]
    return float(np.nanmean(differ)) >= COLOUR * (1 if clip.frames.dtype == np.uint8 else 1 / 255)


def _to_score(
    options: Options, validation: ClipSet, period: int | None, explicit: Mapping[str, Any]
) -> dict[str, Model]:
    """Return the candidates for a start: untrained baselines, and the weights for films."""
    models: dict[str, Model] = {name: build_model(name) for name in SCORED}
    if period is not None and period <= options.data.past:
        models["cycle"] = build_model("cycle", {"period": period})
    pictures = isinstance(validation, Recordings) and validation.clips[0].pictures
    films = pictures and not validation.inputs and SCENES in published()
    if films and not {"weights", "hidden", "model_args"} & {*explicit}:
        models[SCENES] = Forecaster.load(SCENES).model
    return models


@torch.inference_mode()
def scores_of_start(
    models: Mapping[str, Model], validation: ClipSet, window: Window, seconds: float
) -> dict[str, float]:
    """Return the MSE of each model on validation clips, summed over a frame, for all lead times,
    the best first.

    Args:
        seconds: approximate time limit, which reduces the number of clips.
    """
    clip, mse = np.shape(validation[0]), {"openstl": {"mse": SCORES["openstl"]["mse"]}}
    at_once = clips_at_once(models.values(), window, clip, 4, validation.inputs)

    def score(clips: Sequence[int]) -> Scoring:
        scoring = Scoring(window.future, dict.fromkeys(models, mse))
        for batch in batches(validation, at_once, among=clips):
            parts = parts_of(batch, window, validation.inputs)
            past = parts.past_of_targets
            scoring.add(
                ((name, model.eval()(past, window.future)) for name, model in models.items()),
                parts.truth,
            )
        return scoring

    clips = fewer_within(seconds, chosen(validation, CLIPS), at_once, score)
    tables = score(clips).tables().items()
    scored = {name: float(table["openstl"]["mse"]["overall"]) for name, table in tables}
    return dict(sorted(scored.items(), key=lambda item: item[1]))


def score_lines(scored: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each score; the training starts at the first."""
    first, best = next(iter(scored.items()))
    yield "scores on validation (MSE summed over a frame), the best of which it begins at:"
    for name, mse in scored.items():
        ratio = f", {mse / best:.2f} times that" if name != first and best else ""
        weights = ", weights trained on generated scenes (--weights)" if name == SCENES else ""
        yield f"  {name:<14}{mse:.2f}{ratio}{weights}"


def verdict(network: Model, weights: str | None, start: float, best: float) -> str:
    """Compare the best checkpoint with the baseline or the weights at the start, on validation.

    Args:
        network: the trained network.
        weights: name of the initial weights, if any.
        start, best: validation errors at the start and of the best checkpoint.
    """
    guide: Any = network.guide
    first = getattr(guide, "each", [guide])[0]
    began = weights or ("what it began with" if first is None else model_name(first))
    if best < start:
        return f"on validation its error is {1 - best / start:.0%} lower than that of {began}"
    return (
        f"{began} is the better forecast on validation, and this run forecasts just that: nothing "
        "that was learnt was better by 1 %"
    )
