"""A run's folder: its lock, the checkpoint to resume, and changed options."""

import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from foreframe.base.files import RunLock, atomic_write, sweep
from foreframe.base.schema import brief, check_plain, typed
from foreframe.base.wording import plural
from foreframe.forecasting.checkpoint_files import before, first_whole
from foreframe.training.notices import go_on, is_first_process
from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)

# Options without effect on the weights after further steps: start, length, device, memory and
# monitoring of a training. They may change on resume; all others are the recipe. (Those of the
# model are compared as the network that they describe.)
NO_RECIPE = {
    "model", "hidden", "model_args",
    "weights", "start_at_mean",
    "epochs", "minutes", "patience",
    "workers", "device", "devices", "memory", "compile", "budget",
    "validation_clips",
}  # fmt: skip
# The Trainer's arguments that do affect the weights.
TRAINER_RECIPE = {
    "accumulate_grad_batches", "gradient_clip_algorithm", "limit_train_batches",
    "overfit_batches", "sync_batchnorm",
}  # fmt: skip


@contextmanager
def claimed(model: ModelOptions, run: RunOptions) -> Iterator[Path]:
    """Create or open the run's folder, and lock it until the end; a folder that stays empty is
    removed.

    Raises:
        ValueError: no run to resume; a folder with another run; a run that another process is
            training; a folder that cannot be created.
    """
    # A process started by the first one, which has set the folder.
    if not is_first_process():
        if not (run.resume or run.run or "FOREFRAME_RUN" in os.environ):
            raise ValueError(
                "processes that were started from outside cannot agree on a folder by themselves: "
                "name it with --run"
            )
        yield Path(run.resume or run.run or os.environ["FOREFRAME_RUN"])
        return
    if run.resume and not Path(run.resume).is_dir():
        raise ValueError(
            f"there is no run in {run.resume} to resume; `ls runs` shows the runs of this folder"
        )
    folder, created = _create_folder(model, run)
    try:
        lock = _locked(folder)
        try:
            if not run.resume:
                _check_new(folder)
            for name in ("", "checkpoints", "pictures"):
                sweep(folder / name)
            os.environ["FOREFRAME_RUN"] = str(folder)
            yield folder
        finally:
            lock.release()
    finally:
        for empty in created:
            with suppress(OSError):
                empty.rmdir()


def check_new(run: RunOptions) -> None:
    """Refuse a new run in a folder that holds one, before anything is computed and before `claimed`
    does.

    Raises:
        ValueError: names the command to resume it; another process is training it.
    """
    if run.run and not run.resume and _holds_run(Path(run.run)):
        _locked(Path(run.run)).release()
        _check_new(Path(run.run))


def _locked(folder: Path) -> RunLock:
    lock = RunLock(folder)
    try:
        free = lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot write to the folder {folder}: {reason}") from None
    if not free:
        raise ValueError(
            f"{folder} is being trained by another process; wait for its end, or stop it with "
            "Ctrl-C first"
        )
    return lock


def _check_new(folder: Path) -> None:
    if _holds_run(folder):
        raise ValueError(
            f"{folder} already holds a run; choose another --run, or go on with: {go_on(folder)}"
        )


def _holds_run(folder: Path) -> bool:
    return any(folder.glob("checkpoints/*.ckpt"))


def _create_folder(model: ModelOptions, run: RunOptions) -> tuple[Path, list[Path]]:
    """The folder, and the folders created for it, innermost first. Runs that begin within a second
    get separate folders.
    """
    named = run.resume or run.run
    name = named or f"runs/{model.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    created = [folder for folder in (Path(name), *Path(name).parents) if not folder.exists()]
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = Path(name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                if named:
                    break
            else:
                break
    except OSError as error:
        raise ValueError(f"cannot make the folder {name}: {error.strerror or error}") from None
    return folder, [folder, *created[1:]] if created else [] if named else [folder]


def checkpoint_of(folder: Path) -> tuple[Path | None, dict[str, Any], str]:
    """The newest undamaged checkpoint, its content, and a line that names it; None for a run
    without checkpoints.

    Raises:
        ValueError: all checkpoints are damaged.
    """
    last = folder / "checkpoints" / "last.ckpt"
    try:
        path, contents, note = first_whole((last, before(last)))
    except FileNotFoundError:
        return (
            None,
            {},
            f"{folder} has no checkpoint yet: it starts again, with the options of its config.yaml",
        )
    state = typed(
        TrainingState,
        {field.name: contents.get(field.name) for field in fields(TrainingState)},
        str(path),
    )
    return (
        path,
        contents,
        (f"{note}\n" if note else "") + f"going on from {path}, step {state.global_step}",
    )


@dataclass
class TrainingState:
    """The part of a checkpoint needed to resume, beside the forecaster."""

    state_dict: dict
    optimizer_states: list[dict]
    callbacks: dict
    loops: dict
    epoch: int
    global_step: int
    elapsed: float
    recipe: dict


def recipe_of(
    model: ModelOptions, data: DataOptions, learning: LearningOptions, machine: MachineOptions
) -> dict[str, Any]:
    """The options that affect later weights, as plain values for the checkpoints."""
    options = asdict(model) | asdict(data) | asdict(learning) | asdict(machine)
    options["reading"].pop("budget")  # of memory, as `budget` is
    trainer = {
        name: value for name, value in options.pop("trainer").items() if name in TRAINER_RECIPE
    }
    options |= {f"trainer.{name}": value for name, value in trainer.items()}
    plain = json.dumps(
        {name: value for name, value in options.items() if name not in NO_RECIPE}, default=str
    )
    kept: dict[str, Any] = json.loads(plain)
    return kept


def differences(trained: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The differences between two recipes in words, by name. Options missing in one of them are
    ignored, except the Trainer's, which are stored one by one.
    """
    check_plain(trained, "the checkpoint's recipe")
    words: dict[str, str] = {}
    for name in dict.fromkeys((*trained, *now)):
        if (name in trained and name in now) or "." in str(name):
            _compare(str(name), trained.get(name), now.get(name), words)
    return words


def other_network(was: Any, now: Mapping[str, Any]) -> str:
    """The differences between the arguments of two networks in words; "" if equal."""
    if not isinstance(was, Mapping):
        return "the checkpoint does not describe it"
    check_plain(was, "the network in the checkpoint")
    if was == now:
        return ""
    words: dict[str, str] = {}
    _compare("", was, now, words)
    return ", ".join(words.values()) or "other arguments"


def _compare(name: str, was: Any, is_now: Any, words: dict[str, str]) -> None:
    """Add what differs, in words, by the name of each value in nested mappings."""
    if isinstance(was, Mapping) and isinstance(is_now, Mapping):
        for key in dict.fromkeys((*was, *is_now)):
            _compare(f"{name}.{key}".lstrip("."), was.get(key), is_now.get(key), words)
    elif was != is_now:
        words[name] = f"{brief(name, quoted=False)} was {_word(was)}, now {_word(is_now)}"


def _word(value: Any) -> str:
    if value is None:
        return "not given"
    text = repr(value)
    return text if len(text) <= 60 else brief(value)


def check_recipe(
    trained: Mapping[str, Any], now: Mapping[str, Any], folder: Path, accepted: bool
) -> str:
    """A line about accepted changes; "" without any.

    Raises:
        ValueError: a change that was not accepted, or cannot be.
    """
    changed = differences(trained, now)
    if not changed:
        return ""
    what = ", ".join(changed.values())
    if "optimizer" in changed:
        raise ValueError(
            f"{folder} was trained with other options than these: {what}. Another optimizer cannot "
            "go on with what this one remembers; take the change back, or begin a new run with "
            f"--weights {shlex.quote(str(folder))}"
        )
    if not accepted:
        raise ValueError(
            f"{folder} was trained with other options than these: {what}. Take the change back "
            "(config.yaml, or the flag), or go on with it: --accept_changes"
        )
    return f"going on with other options than before: {what}"


def finished(
    contents: Mapping[str, Any],
    learning: LearningOptions,
    folder: Path,
    data: str,
    max_steps: int | None = None,
) -> str:
    """A message if the run has had all its time, epochs or steps, so that a resumed training would
    do nothing; else "".
    """
    try:
        whole_epoch = bool(
            contents["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
        )
        waited = (contents["callbacks"].get("Checkpoints") or {}).get("waited", 0)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f"the checkpoint of {folder} does not tell how far it is; use another one, or train "
            "again"
        ) from None
    minutes, epochs = contents["elapsed"] / 60, contents["epoch"] + whole_epoch
    if learning.minutes and minutes >= learning.minutes:
        had, more = f"{learning.minutes:g} minutes", f"minutes {2 * learning.minutes:g}"
    elif epochs >= learning.epochs:
        had, more = f"{learning.epochs} epochs", f"epochs {2 * learning.epochs}"
    elif max_steps and 0 < max_steps <= contents["global_step"]:
        had, more = f"{max_steps} steps", f"trainer.max_steps {2 * max_steps}"
    elif 0 < learning.patience <= waited:
        more = go_on(folder, data, f"patience {2 * learning.patience}")
        return f"{folder} was no better for {plural(waited, 'validation')}; for more: {more}"
    else:
        return ""
    return f"{folder} has had its {had}; for more: {go_on(folder, data, more)}"


def cut_rows(file: Path, step: int) -> None:
    """Keep the rows of validation.jsonl up to the checkpoint of `step`: later validations are
    repeated. Drops a line that was cut short.

    Raises:
        ValueError: the file cannot be read or written.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from None
    kept = b"".join(line for line in content.splitlines(keepends=True) if _belongs(line, step))
    if kept != content:
        with atomic_write(file) as rough:
            rough.write_bytes(kept)


def _belongs(line: bytes, until: int) -> bool:
    try:
        return line.endswith(b"\n") and int(json.loads(line)["step"]) <= until
    except (ValueError, KeyError, TypeError):
        return False
