"""What a training tells while it goes on, through one function; and how to go on, in the words of
whoever began it.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from foreframe.base.untrusted import IN_MEMORY


@dataclass(frozen=True)
class Listener:
    """Who is told.

    Args:
        verbose: nothing is said where this is false.
        python: began the training with `foreframe.fit`, and goes on so; else with the command.
    """

    verbose: bool = True
    python: bool = False


# One a thread, as trainings may be.
_LISTENER = ContextVar("listener", default=Listener())  # noqa: B039 (frozen)


@contextmanager
def listening(**how: bool) -> Iterator[None]:
    """While this lasts, whoever listens is such a `Listener`."""
    before = _LISTENER.set(replace(_LISTENER.get(), **how))
    try:
        yield
    finally:
        _LISTENER.reset(before)


def verbose() -> bool:
    """Whether anything is to be said."""
    return _LISTENER.get().verbose


def say(line: str) -> None:
    """One line to standard output, where a terminal, a log and a notebook show it at once."""
    if verbose() and is_first_process():
        print(line, flush=True)


def is_first_process() -> bool:
    """Whether this is the only training process, or the one of several that speaks and writes."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0 and int(os.environ.get("RANK", 0)) == 0


def go_on(folder: Path, data: str = "", more: str = "") -> str:
    """The command, or the call, that goes on with a run.

    Args:
        data: what it is trained on; what was in memory must be given again.
        more: an option and its value, such as "epochs 20".
    """
    if data.startswith(IN_MEMORY) or _LISTENER.get().python:
        given = [f"resume={str(folder)!r}"]
        given += ["data=..."] if data.startswith(IN_MEMORY) else []
        option, _, value = more.partition(" ")
        outer, _, inner = option.partition(".")
        given += (
            [f"{outer}={{{inner!r}: {value}}}" if inner else f"{option}={value}"] if more else []
        )
        return f"foreframe.fit({', '.join(given)})"
    return f"foreframe train --resume {shlex.quote(str(folder))}" + (f" --{more}" if more else "")
