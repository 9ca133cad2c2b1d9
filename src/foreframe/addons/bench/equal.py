"""Trainings with equal budgets, to compare their forecasters."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.base.notes import listening, say
from foreframe.forecasting.checkpoint_files import before, first_whole
from foreframe.models import PRESETS
from foreframe.training.fit import train
from foreframe.training.options import Options
from foreframe.training.recipes import chosen, named, options_from, recipes

EPOCHS = 100_000  # the budget ends a training
VALIDATED = 100  # clips that select the best weights of each training


def train_each(options: BenchOptions) -> None:
    """Run the trainings that are not finished; interrupted ones continue.

    Raises:
        ValueError: as `fit`; a run with another budget.
    """
    todo = {}
    for recipe in options.to_train:
        folder = Path(os.path.abspath(options.output)) / "runs" / Path(recipe).stem
        given = {**options.given, "device": options.device}
        given |= {"validation_clips": VALIDATED, **options.training}
        config = None if recipe in PRESETS and recipe not in recipes() else recipe
        given |= {"model": recipe} if config is None else {}
        limits = limits_of(options.for_each, options_from(*named(config, given)))
        if not is_done(folder, limits):
            todo[folder] = config, given | limits
    for folder, (config, given) in todo.items():
        _train(folder, config, given)


def _train(run: Path, recipe: str | None, given: Mapping[str, Any]) -> None:
    """Begin or resume a training."""
    started = (run / "config.yaml").is_file()  # with the recipe and its choices
    where = {"resume" if started else "run": str(run)}
    options, explicit = chosen(*named(None if started else recipe, {**given, **where}))
    with listening(verbose=given.get("verbose", True)):
        say(f"training {run.name}, in {run}")
        train(options, explicit)


def limits_of(budget: Mapping[str, float], options: Options) -> dict[str, Any]:
    """Return options with which a training ends at its budget alone.

    Args:
        budget: {"minutes": number} or {"train_steps": number}.
    """
    ends: dict[str, Any] = {"patience": 0, "minutes": None, "train_steps": None, **budget}
    return ends if options.learning.epochs >= EPOCHS else ends | {"epochs": EPOCHS}


def clips_a_step(options: Options) -> int:
    """Number of clips of a training step on one device."""
    accumulated = options.machine.trainer.get("accumulate_grad_batches", 1)
    return int(options.data.batch_size * accumulated)


def history_of(run: Path) -> dict[str, Any] | None:
    """Return the extent of the training in a folder: {"clips", "minutes", "steps", "budget"}; None
    without a training.

    Raises:
        ValueError: its config or its last checkpoint is damaged.
    """
    config, last = run / "config.yaml", run / "checkpoints" / "last.ckpt"
    if not config.is_file() or not last.is_file():
        return None
    options, (_, contents, _) = options_from([str(config)], []), first_whole((last, before(last)))
    limits = {"minutes": options.learning.minutes, "steps": options.learning.train_steps}
    steps = contents["global_step"]
    return {
        "clips": steps * clips_a_step(options),
        "minutes": contents["elapsed"] / 60,
        "steps": steps,
        "budget": {name: limit for name, limit in limits.items() if limit} or None,
    }


def is_done(run: Path, limits: Mapping[str, Any]) -> bool:
    """Return whether the training in this folder has used its budget; False if it is missing or was
    interrupted.

    Raises:
        ValueError: it was started with another budget.
    """
    had = history_of(run)
    if had is None:
        return False
    wanted = {"minutes": limits["minutes"], "steps": limits["train_steps"]}
    wanted = {name: limit for name, limit in wanted.items() if limit}
    if had["budget"] != wanted:
        raise ValueError(
            f"{run} is a training of {_words(had['budget'])}, not of {_words(wanted)}: name "
            "another --output, or remove it"
        )
    return all(had[name] >= limit for name, limit in wanted.items())


def _words(budget: Mapping[str, float] | None) -> str:
    return " and ".join(f"{n:g} {name}" for name, n in (budget or {}).items()) or "no budget"
