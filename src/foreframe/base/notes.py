"""Notes for users, sent to a listener of the context or issued as warnings, and printed lines."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from foreframe.base.processes import is_first_process

PACKAGE = __file__.rpartition("base")[0]


class Note(UserWarning):
    """A note without a listener, as in a script: a warning for users."""


@dataclass(frozen=True)
class Listener:
    """Receiver of notes and lines.

    Args:
        note: called with each note; None issues warnings.
        verbose: whether lines are printed.
        python: whether Python calls foreframe, not the command line.
    """

    note: Callable[[str], None] | None = None
    verbose: bool = True
    python: bool = True


# By context, so that threads and requests of a service have separate notes.
_listener = ContextVar("listener", default=Listener())  # noqa: B039 (frozen)


def listener() -> Listener:
    """Return the listener of this context."""
    return _listener.get()


def warn(message: str) -> None:
    """Send a note to the innermost listener, or issue a warning without one."""
    if note := listener().note:
        note(message)
    else:
        # The warning shows the line that called foreframe, in the user's file.
        frames = enumerate(inspect.stack(0), 2)
        ours = [level for level, frame in frames if frame.filename.startswith(PACKAGE)]
        warnings.warn(Note(message), stacklevel=max(ours))


def say(line: str) -> None:
    """Print a line to standard output at once, for terminals, logs and notebooks."""
    if listener().verbose and is_first_process():
        print(line, flush=True)


@contextmanager
def listening(note: Callable[[str], None] | None = None, **how: bool) -> Iterator[None]:
    """Change the listener within this context: `note` receives each note once."""
    sent: set[str] = set()

    def once(message: str) -> None:
        if message not in sent:
            sent.add(message)
            note(message)  # type: ignore[misc]

    before = listener()
    token = _listener.set(replace(before, note=once if note else before.note, **how))
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def collecting(notes: list[str]) -> Iterator[None]:
    """Add the notes of this context to a list, and send them to the listener at its end."""
    try:
        with listening(notes.append):
            yield
    finally:
        for note in notes:
            warn(note)
