"""The default recipe: what `foreframe train --data X` does where nobody names another one.

It looks at the recording and chooses sizes and windows (`choices`), scores the free baselines on
the validation split, and lets a network begin exactly at the best of them. Each choice is said, and
is from then on an option as any other, which config.yaml keeps.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foreframe.base.shipped import published
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window
from foreframe.data import ReadOptions, Recordings, batches, chosen
from foreframe.data.arrays import data_name
from foreframe.data.datasets import ClipSet
from foreframe.data.opening import Splits, holds_recordings, open_splits
from foreframe.data.readers import breaks, in_parts
from foreframe.data.splits import UNDECIDED, raw_by_folder
from foreframe.evaluation import ScoreOptions
from foreframe.evaluation.card import score_clips
from foreframe.evaluation.metrics import SCORES
from foreframe.evaluation.networks import clips_at_once, fewer_within
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import SCORED, Model, build_model, model_name, parts_of
from foreframe.models.blend import Guides
from foreframe.training.choices import Choice, Recording, choices
from foreframe.training.notices import say
from foreframe.training.options import MachineOptions, Options
from foreframe.training.pace import BEFORE, in_one_process
from foreframe.training.preparation import build_network, check_draws
from foreframe.training.recipes import DEFAULT, Given, options_from, put

SCENES = "scenes"  # weights for films
ONWARD = 3e-4  # the learning rate from these on: what is trained unlearns at that of untrained ones
CLIPS = 100  # of validation, on which baselines are scored
PLACES = 8  # where a recording is looked at
LOOKED_THROUGH = 20_000  # frames of films, at most, in which changes of the scene are looked for
COLOUR = 2.0  # mean difference of channels, of 255, from which pictures have colour
GUIDES = ("dense_motion", "persistence", "mean", "linear_motion", "cycle")  # beside the best
FEW = 30  # windows to train on
STILL = 1e-6  # MSE of persistence, of a range of 1, below which nothing moves


def choose_defaults(given: Given) -> tuple[Options, Splits, float]:
    """The options of a training that nobody chose a recipe for, its data, opened, and when these
    were (`time.monotonic`): what is scored after that comes out of its minutes.

    Args:
        given: the user's options, which stay as they are.

    Raises:
        ValueError: as of opening data; too few frames to train on; the loss of members, and a
            model that draws none.
    """
    explicit = put({}, given)
    usual = options_from([DEFAULT], given)
    if usual.learning.loss == "crps":  # refused before all baselines are scored
        check_draws(build_network(usual.model, usual.learning.seed, usual.machine.budget), usual[2])
    data, reading = usual.data.data, usual.data.reading
    made: list[Choice] = []
    if holds_recordings(data, reading.variable):
        recording = look_at(data, reading, "cuts" not in explicit.get("reading", {}))
        made = choices(recording, explicit)
        period = recording.period
    else:
        made, period = _of_clips(usual, explicit), None
    _tell(data_name(data), made)
    options = _with(given, made)
    window = options.data.window
    splits = open_splits(options.data)
    train, validation = splits["train"], splits["validation"]
    if "batch_size" not in explicit:
        made.append(Choice(("batch_size",), min(options.data.batch_size, len(train))))
    opened = time.monotonic()
    minutes = options.learning.minutes
    share = BEFORE / 2 * 60 * minutes if minutes else math.inf
    scored, clips = baseline_scores(validation, window, period, share)
    for line in score_lines(scored, clips):
        say(line)
    weights = _weights(options, validation, window, scored, clips, share, explicit)
    made += weights or _model(list(scored), period, explicit)
    made += _clock(explicit, options.machine)
    return _with(given, made), splits, opened


def _with(given: Given, made: Sequence[Choice]) -> Options:
    return options_from([DEFAULT], [*given, *((choice.path, choice.value) for choice in made)])


def _tell(name: str, made: Sequence[Choice]) -> None:
    lines = [choice.line for choice in made if choice.line]
    say(f"{name}: chosen from what it is (its option in brackets)")
    for line in lines:
        say(f"  {line}")


def _clock(explicit: Mapping[str, Any], machine: MachineOptions) -> list[Choice]:
    """Validations by epochs where these, or steps, are to end the training, or where several
    processes, whose clocks differ, are to agree.
    """
    trainer = explicit.get("trainer") or {}
    ends = "epochs" in explicit or "max_steps" in trainer
    made = []
    if ends and "minutes" not in explicit:
        made.append(Choice(("minutes",), None))
    if (ends or not in_one_process(machine)) and "val_check_interval" not in trainer:
        made.append(Choice(("trainer", "val_check_interval"), 1.0))
    return made


def _of_clips(usual: Options, explicit: Mapping[str, Any]) -> list[Choice]:
    """Past and future of clips that are as long as they are."""
    if "past" in explicit or "future" in explicit:
        return []
    window = usual.data.window
    clip = open_splits(usual.data)["train"][0]
    length = np.shape(clip)[0] if np.ndim(clip) == 4 else window.length
    if length >= window.length or length < 2:
        return []
    past = length // 2
    line = f"{past} frames in, {length - past} out, as clips have {length} (--past, --future)"
    return [Choice(("past",), past, line), Choice(("future",), length - past)]


def look_at(
    source: Any,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    cuts: bool = True,
) -> Recording:
    """What recordings are, from what their files say of them and from some of their frames.

    Args:
        reading: how they are read.
        cuts: whether changes of the scene are looked for.

    Raises:
        ValueError: as of reading them.
    """
    folders = raw_by_folder(source, reading)
    clips = [clip for inside in folders.values() for clip in inside]
    parts = [in_parts(clip, breaks(clip, reading), reading) for clip in clips]
    longest = max((part for of in parts for part in of), key=len)
    scenes = []
    if longest.pictures and cuts and sum(map(len, clips)) <= LOOKED_THROUGH:
        at_cuts = replace(reading, cuts=True)
        scenes = [in_parts(clip, breaks(clip, at_cuts), at_cuts) for clip in clips]
    frames = longest.frames
    pictures = longest.pictures or (frames.dtype == np.uint8 and not longest.units)
    hours, monthly = _cadence(longest)
    return Recording(
        name=data_name(source),
        parts=_lengths(parts),
        channels=longest.channels,
        height=frames.shape[2],
        width=frames.shape[3],
        pictures=pictures,
        colour=pictures and _has_colour(longest),
        hours=hours,
        monthly=monthly,
        divided=UNDECIDED not in folders,
        scenes=_lengths(scenes) if _lengths(scenes) != _lengths(parts) else [],
    )


def _lengths(recordings: Sequence[Sequence[Clip]]) -> list[list[int]]:
    return [[len(part) for part in parts] for parts in recordings]


def _cadence(clip: Clip) -> tuple[float | None, bool]:
    """Hours from frame to frame, and whether that is a month; None of frames without dates."""
    if clip.times is None or clip.times.dtype.kind == "f" or clip.step is None:
        return None, False
    step = clip.step
    exact = isinstance(step, np.timedelta64)
    hours = float(step / np.timedelta64(1, "h")) if exact else step.total_seconds() / 3600
    return hours, 27.5 <= hours / 24 <= 31.5


def _has_colour(clip: Clip) -> bool:
    """Whether the first three channels of some frames differ."""
    if clip.channels < 3:
        return False
    differ = []
    for k in np.linspace(0, len(clip) - 1, min(len(clip), PLACES)).astype(int).tolist():
        frame = clip.frames.read(k, k + 1)[0, :3].astype(np.float32)
        differ.append(float((frame.max(axis=0) - frame.min(axis=0)).mean()))
    return float(np.nanmean(differ)) >= COLOUR * (1 if clip.frames.dtype == np.uint8 else 1 / 255)


def baseline_scores(
    validation: ClipSet, window: Window, period: int | None, seconds: float = math.inf
) -> tuple[dict[str, float], int]:
    """The MSE of each free baseline on validation clips, over all lead times, the best first; and
    on how many clips.

    Args:
        period: frames of a cycle; None without one.
        seconds: that this may take, about.
    """
    models: dict[str, Model] = {name: build_model(name) for name in SCORED}
    if period is not None and period <= window.past:
        models["cycle"] = build_model("cycle", {"period": period})
    scored, clips = _mse(models, validation, window, CLIPS, seconds)
    return dict(sorted(scored.items(), key=lambda item: item[1])), clips


@torch.inference_mode()
def _mse(
    models: Mapping[str, Model], validation: ClipSet, window: Window, limit: int, seconds: float
) -> tuple[dict[str, float], int]:
    mse = {"standard": {"mse": SCORES["standard"]["mse"]}}
    at_once = clips_at_once(models.values(), window, np.shape(validation[0]), 4, validation.inputs)

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

    clips = fewer_within(seconds, chosen(validation, limit), at_once, score)
    tables = score(clips).tables()
    return {
        name: float(table["standard"]["mse"]["overall"]) for name, table in tables.items()
    }, len(clips)


def _weights(
    options: Options,
    validation: ClipSet,
    window: Window,
    scored: Mapping[str, float],
    clips: int,
    seconds: float,
    explicit: Mapping[str, Any],
) -> list[Choice]:
    """Weights that come with foreframe to begin with, where the recording is pictures and they are
    ahead of every baseline as they are.

    Args:
        scored: the baselines' errors, the best first, on so many `clips`.
        seconds: that scoring may take, about.
    """
    pictures = isinstance(validation, Recordings) and validation.clips[0].pictures
    if (
        not pictures
        or SCENES not in published()
        or {"weights", "hidden", "model_args"} & set(explicit)
    ):
        return []
    trained = Forecaster.load(SCENES).model
    if validation.inputs or trained.args != build_model(options.model.model).args:
        return []
    mse = _mse({SCENES: trained}, validation, window, clips, seconds)[0][SCENES]
    name, best = next(iter(scored.items()))
    times = f", {mse / best:.2f} times {name}" if best else ""
    if mse >= best:
        what, made = "it begins at the baseline", []
    else:
        what, made = "it begins with these weights (--weights)", [Choice(("weights",), SCENES)]
        if "learning_rate" not in explicit:
            what += f", at a learning rate of {ONWARD:g} (--learning_rate)"
            made.append(Choice(("learning_rate",), ONWARD))
    say(f"  {SCENES:<14}{mse:.3g}{times}, trained on generated scenes alone: {what}")
    return made


def score_lines(scored: Mapping[str, float], clips: int) -> list[str]:
    """A line for each baseline."""
    best = next(iter(scored.values()))
    lines = [f"free baselines on {plural(clips, 'validation clip')} (MSE of a range of 1):"]
    for name, mse in scored.items():
        beside = f", {mse / best:.2f} times that" if lines[1:] and best else ""
        lines.append(f"  {name:<14}{mse:.3g}{beside}")
    return lines


def _model(names: Sequence[str], period: int | None, explicit: Mapping[str, Any]) -> list[Choice]:
    """A network that begins exactly at the first of these baselines, and may take from others."""
    if "output" in (explicit.get("model_args") or {}):
        return []
    others = [name for name in names[1:] if name in GUIDES]
    guides = [
        {name: {"period": period}} if name == "cycle" else name for name in (names[0], *others)
    ]
    return [Choice(("model_args", "output"), {"blend": {"guides": guides}})]


def verdict(
    folder: Path,
    better: bool,
    weights: str | None,
    train: ClipSet,
    validation: ClipSet,
    clips: int,
    seconds: float = math.inf,
) -> str:
    """What came of a training that began at a baseline, or at weights: by how much its best
    checkpoint is ahead of the best baseline on validation, or that what it began with is the better
    forecast, and why.

    Args:
        better: whether the best checkpoint is another than the first.
        weights: with which it began, if with any.
        clips: of validation, as many as were scored while training.
        seconds: that scoring them may take, about.
    """
    forecaster = Forecaster.load(folder)
    guide: Any = getattr(getattr(forecaster.model, "output", None), "guide", None)
    first = guide.each[0] if isinstance(guide, Guides) else guide
    period = getattr(first, "period", None)
    how = ScoreOptions(clips, 4, SCORED, period=period, seconds=seconds)
    card = score_clips(forecaster, validation, how)
    on = f"on {plural(card['clips'], 'validation clip')}"
    ahead = f"{on}: {card['in_words'].splitlines()[0]}"
    if better:
        return ahead
    if weights is not None:
        return (
            f"{ahead}\nnothing was gained on {weights}, with which it began: {why_not(train, card)}"
        )
    what = f"the baseline {model_name(first)}" if first is not None else "what it began with"
    return (
        f"{what} is the better forecast {on}, and this run forecasts just that: "
        f"{why_not(train, card)}"
    )


def why_not(train: ClipSet, card: Mapping[str, Any]) -> str:
    """Why a training has found nothing better than a baseline, as far as numbers tell."""
    if card["scores"]["persistence"]["standard"]["mse"]["overall"] < STILL:
        return "nothing moves"
    if len(train) < FEW:
        return f"{plural(len(train), 'training window')} are too few to learn more from"
    return "nothing that was learnt was better by 1 % on validation"
