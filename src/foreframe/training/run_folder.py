"""A run's folder: its lock, the checkpoint to resume, and changed options."""

import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.base.files import RunLock, atomic_write
from foreframe.base.notes import listener
from foreframe.base.processes import all_gather, is_first_process
from foreframe.base.schema import brief
from foreframe.base.untrusted import IN_MEMORY
from foreframe.forecasting.checkpoint_files import before, first_whole
from foreframe.models import Model
from foreframe.training.options import ModelOptions, Options, RunOptions

# Options without effect on the weights after further steps: start, length, device, memory and
# monitoring of a training. They may change on resume; all others are the recipe. (Model options
# are compared as the network that they describe.)
NO_RECIPE = {
    "model", "hidden", "model_args",
    "weights", "start_at_mean",
    "epochs", "minutes", "train_steps", "patience",
    "loader_workers", "device", "devices", "memory", "compile", "budget",
    "validation_clips",
    *RunOptions.__dataclass_fields__,
}  # fmt: skip
# The Trainer's arguments that do affect the weights.
TRAINER_RECIPE = {
    "accumulate_grad_batches", "gradient_clip_algorithm", "limit_train_batches",
    "overfit_batches", "sync_batchnorm",
}  # fmt: skip
FIXED = {"network", "optimizer"}  # another one cannot use the values of a checkpoint


@contextmanager
def locked_folder(model: ModelOptions, run: RunOptions) -> Iterator[Path]:
    """Create or open the run's folder, and lock it until the end; a folder that stays empty is
    removed.

    Raises:
        ValueError: a folder with another run; a run that another process is training; a folder that
            cannot be created.
        ConnectionError: the first process, which chooses the folder, has ended.
    """
    if not is_first_process():  # the first one has the lock
        yield Path(all_gather(None)[0])
        return
    folder = Path(run.resume or run.run or f"runs/{model.model}-{time.strftime('%Y%m%d-%H%M%S')}")
    if folder.exists() and not (run.resume or run.run):  # one of the same second
        folder = folder.with_name(f"{folder.name}-{os.getpid()}")
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = RunLock(folder)
    try:
        _acquire(lock, folder)
        if not run.resume and any(folder.glob("checkpoints/*.ckpt")):
            raise ValueError(
                f"{folder} already holds a run; choose another --run, or go on with: "
                f"{resume_command(folder)}"
            )
        all_gather(str(folder))
        yield folder
    finally:
        lock.release()
        for empty in created:
            with suppress(OSError):
                empty.rmdir()


def _acquire(lock: RunLock, folder: Path) -> None:
    """Create the folder, and lock it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot write to the folder {folder}: {reason}") from None
    if not free:
        raise ValueError(
            f"{folder} is being trained by another process; wait for its end, or stop it with "
            "Ctrl-C first"
        )


@dataclass(frozen=True)
class Start:
    """The start of a training.

    Args:
        checkpoint: an undamaged checkpoint to resume, if any.
        step: step of the checkpoint; -1 without one.
        line: printed note on the checkpoint and changed options.
    """

    checkpoint: Path | None = None
    step: int = -1
    line: str = ""


def resumed(folder: Path, options: Options, network: Model) -> Start:
    """Find the start of a resumed run, its newest undamaged checkpoint, and load its weights into
    `network`; a run without checkpoints starts again.

    Raises:
        ValueError: damaged checkpoints, another network or other options; nothing left to train.
    """
    last = folder / "checkpoints" / "last.ckpt"
    try:
        path, contents, note = first_whole((last, before(last)))
    except FileNotFoundError:
        begins = "it starts again, with the options of its config.yaml"
        return Start(line=f"{folder} has no checkpoint yet: {begins}")
    with resuming(path):
        step = contents["global_step"]
        trained = contents["recipe"] | {"network": contents["forecaster"]["args"]}
        now = recipe_of(options) | {"network": network.args}
        changes = _check_recipe(differences(trained, now), folder)
        check_unfinished(folder, contents, options)
        weights = contents["state_dict"].items()
        network.load_state_dict({name.removeprefix("network."): value for name, value in weights})
        lines = filter(None, (note, f"going on from {path}, step {step}", changes))
        return Start(path, step, "\n".join(lines))


@contextmanager
def resuming(checkpoint: Path) -> Iterator[None]:
    """Replace errors of libraries and of Python: a checkpoint may contain anything.

    Raises:
        ValueError: the checkpoint cannot be resumed.
    """
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise ValueError(
            f"{checkpoint} cannot be resumed ({reason}); use another checkpoint, or train again"
        ) from error


def recipe_of(options: Options) -> dict[str, Any]:
    """Return the options that affect later weights, as plain values for the checkpoints."""
    recipe = {name: value for name, value in options.flat().items() if name not in NO_RECIPE}
    del recipe["reading"]["budget"]  # of memory, as `budget` is
    for name in {*recipe["trainer"]} - TRAINER_RECIPE:
        del recipe["trainer"][name]
    plain: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    return plain


def differences(trained: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return the differences between two recipes in words, by name; ignores options that only one
    of them has.
    """
    both = (name for name in trained if name in now)
    return dict(each for name in both for each in _compare(name, trained[name], now[name]))


def _compare(name: str, was: Any, is_now: Any) -> Iterator[tuple[str, str]]:
    """Yield each difference of nested mappings: the name of the value, and the words."""
    if isinstance(was, Mapping) and isinstance(is_now, Mapping):
        for key in dict.fromkeys((*was, *is_now)):
            yield from _compare(f"{name}.{key}", was.get(key), is_now.get(key))
    elif was != is_now:
        yield name, f"{brief(name, quoted=False)} was {brief(was)}, now {brief(is_now)}"


def _check_recipe(changed: Mapping[str, str], folder: Path) -> str:
    """Return a line about changes; "" without any.

    Raises:
        ValueError: a change for which a run cannot be resumed.
    """
    what = ", ".join(changed.values())
    if any(name.partition(".")[0] in FIXED for name in changed):
        raise ValueError(
            f"{folder} was trained with other options than these: {what}. Take the change back "
            f"or begin a new run with --weights {shlex.quote(str(folder))}"
        )
    return what and f"going on with other options than before: {what}"


def check_unfinished(folder: Path, contents: Mapping[str, Any], options: Options) -> None:
    """Check that a resumed training would do something.

    Raises:
        ValueError: its minutes, epochs, steps or validations are used up.
    """
    learning, trainer = options.learning, options.machine.trainer
    batches = contents["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    epochs = contents["epoch"] + bool(batches["is_last_batch"])
    for name, had, limit in (
        ("minutes", contents["elapsed"] / 60, learning.minutes),
        ("epochs", epochs, learning.epochs),
        ("train_steps", contents["global_step"], learning.train_steps),
        ("trainer.max_steps", contents["global_step"], trainer.get("max_steps")),
        ("patience", contents["callbacks"]["Checkpoints"]["waited"], learning.patience),
    ):
        if limit and 0 < limit <= had:
            raise ValueError(
                f"{folder} has had its {limit} {name}; give it more by --{name}, and go on with: "
                f"{resume_command(folder, options.data.data)}"
            )


def resume_command(folder: Path, data: str = "") -> str:
    """The command, or the call, to resume a run of these data; those in memory are passed again."""
    if data.startswith(IN_MEMORY) or listener().python:
        again = ", data=..." if data.startswith(IN_MEMORY) else ""
        return f"foreframe.fit(resume={str(folder)!r}{again})"
    return f"foreframe train --resume {shlex.quote(str(folder))}"


def cut_rows(file: Path, step: int) -> None:
    """Keep the rows of validation.jsonl up to the checkpoint of `step`: later validations are
    repeated. Drops a line that was cut short.
    """
    if not file.exists():
        return
    lines = file.read_bytes().splitlines(keepends=True)
    rows = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
    if rows != lines:
        with atomic_write(file) as rough:
            rough.write_bytes(b"".join(rows))
