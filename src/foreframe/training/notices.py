"""Printed lines of a training, and the command or call to resume it."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from foreframe.base.processes import is_first_process
from foreframe.base.untrusted import IN_MEMORY


@dataclass(frozen=True)
class Listener:
    """The receiver of printed lines.

    Args:
        verbose: whether anything is printed.
        python: whether the training was started by `foreframe.fit` rather than the command line.
    """

    verbose: bool = True
    python: bool = False


# By context, since trainings may run in threads.
_LISTENER = ContextVar("listener", default=Listener())  # noqa: B039 (frozen)


@contextmanager
def listening(**how: bool) -> Iterator[None]:
    """Change the listener within this context."""
    before = _LISTENER.set(replace(_LISTENER.get(), **how))
    try:
        yield
    finally:
        _LISTENER.reset(before)


def verbose() -> bool:
    """Whether anything is printed."""
    return _LISTENER.get().verbose


def say(line: str) -> None:
    """Print a line to standard output at once, for terminals, logs and notebooks."""
    if verbose() and is_first_process():
        print(line, flush=True)


def go_on(folder: Path, data: str = "") -> str:
    """The command, or the call, to resume a run of these data; those in memory are passed again."""
    if data.startswith(IN_MEMORY) or _LISTENER.get().python:
        again = ", data=..." if data.startswith(IN_MEMORY) else ""
        return f"foreframe.fit(resume={str(folder)!r}{again})"
    return f"foreframe train --resume {shlex.quote(str(folder))}"
