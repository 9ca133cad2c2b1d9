"""A run's folder: whose it is, what it goes on from, and whether that is still the same
training.
"""

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

# Options that do not change which weights the same further steps give: how a training begins, how
# long it goes on, where it runs, how much memory it takes, how it is watched. A run may be resumed
# with others of these; all others are its recipe. (Those of the model are compared as the network
# that they describe.)
NO_RECIPE = {
    "model", "hidden", "model_args",
    "weights", "start_at_mean",
    "epochs", "minutes", "patience",
    "workers", "device", "devices", "memory", "compile", "budget",
    "validation_clips",
}  # fmt: skip
# Of the Trainer's arguments, those that do change them.
TRAINER_RECIPE = {
    "accumulate_grad_batches", "gradient_clip_algorithm", "limit_train_batches",
    "overfit_batches", "sync_batchnorm",
}  # fmt: skip


@contextmanager
def claimed(model: ModelOptions, run: RunOptions) -> Iterator[Path]:
    """The run's folder, made where it is a new one, and this process's alone until the end; one
    that stays empty is gone again.

    Raises:
        ValueError: no run to resume; a run where a new one should be; one that another process is
            training now; a folder that cannot be made.
    """
    # The same command, started again by the first process, which knows when it began.
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
    """Refuse a folder that holds a run already, where a new one should be: before anything is
    computed, and before `claimed` does.

    Raises:
        ValueError: with what goes on with it; one that another process is training now.
    """
    if run.run and not run.resume and _holds_run(Path(run.run)):
        _locked(Path(run.run)).release()
        _check_new(Path(run.run))


def _locked(folder: Path) -> RunLock:
    lock = RunLock(folder)
    try:
        free = lock.acquire()
    except OSError as error:
        told = error.strerror or error
        raise ValueError(f"cannot write to the folder {folder}: {told}") from None
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
    """The folder and, from the inside out, what was created for it. Of runs that begin within one
    second each has its own.
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
    """The newest checkpoint that is whole, what it holds, and a line that says which it is; None
    for a run that saved none.

    Raises:
        ValueError: there are some, and all are damaged.
    """
    last = folder / "checkpoints" / "last.ckpt"
    try:
        path, contents, note = first_whole((last, before(last)))
    except FileNotFoundError:
        return (
            None,
            {},
            f"{folder} has no checkpoint yet: it begins anew, with the options of its config.yaml",
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
    """What a checkpoint must hold for a training to go on from it, beside what makes a forecaster
    of it.
    """

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
    """The options that decide which weights further steps give, as plain values: kept in each
    checkpoint.
    """
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
    """What differs between two recipes, by name, in words. Options that one of them does not know
    are no difference, but for those that are given one by one, as the Trainer's.
    """
    check_plain(trained, "the checkpoint's recipe")
    words: dict[str, str] = {}
    for name in dict.fromkeys((*trained, *now)):
        if (name in trained and name in now) or "." in str(name):
            _compare(str(name), trained.get(name), now.get(name), words)
    return words


def other_network(was: Any, now: Mapping[str, Any]) -> str:
    """Which arguments differ between two networks, in words; "" where they are the same."""
    if not isinstance(was, Mapping):
        return "nothing is told of it"
    check_plain(was, "the network in the checkpoint")
    if was == now:
        return ""
    words: dict[str, str] = {}
    for name in dict.fromkeys((*was, *now)):
        _compare(str(name), was.get(name), now.get(name), words)
    return ", ".join(words.values()) or "other arguments"


def _compare(name: str, was: Any, is_now: Any, words: dict[str, str]) -> None:
    if isinstance(was, Mapping) and isinstance(is_now, Mapping):
        for key in dict.fromkeys((*was, *is_now)):
            _compare(f"{name}.{key}", was.get(key), is_now.get(key), words)
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
    """A line about what was accepted, "" where nothing differs.

    Raises:
        ValueError: something differs and was not accepted, or cannot be.
    """
    changed = differences(trained, now)
    if not changed:
        return ""
    what = ", ".join(changed.values())
    if "optimizer" in changed:
        raise ValueError(
            f"{folder} was trained with other options than these: {what}. Another optimizer cannot "
            "go on with what this one "
            "remembers; take the change back, or begin a new run with --weights "
            f"{shlex.quote(str(folder))}"
        )
    if not accepted:
        raise ValueError(
            f"{folder} was trained with other options than these: {what}. Take the change back "
            "(config.yaml, or the flag), or go "
            "on with it: --accept_changes"
        )
    return f"going on with other options than before: {what}"


def finished(
    contents: Mapping[str, Any],
    learning: LearningOptions,
    folder: Path,
    data: str,
    max_steps: int | None = None,
) -> str:
    """Words for a run that has had all its time, which would only take one more step at a learning
    rate of nothing, or all the steps that Lightning's Trainer may take.
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
    """Leave those rows of validation.jsonl that belong to what a checkpoint of `step` knows: what a
    run did after it is done again, and a line that a kill cut short is none.

    Raises:
        ValueError: when the file cannot be read or written.
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
