"""Notes for users, sent to a listener of the context or issued as warnings."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Note(UserWarning):
    """A note without a listener, as in a script: a warning for users rather than programmers."""


# By context, so that threads and requests of a service have separate notes.
_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def warn(message: str) -> None:
    """Send a note to the innermost listener, or issue a warning without one."""
    listener = _listener.get()
    if listener is None:
        warnings.warn(Note(message), stacklevel=3)
    else:
        listener(message)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Send the notes of this context to `listener`, each once."""
    sent: set[str] = set()

    def once(message: str) -> None:
        if message not in sent:
            sent.add(message)
            listener(message)

    token = _listener.set(once)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def collecting(notes: list[str]) -> Iterator[None]:
    """Add the notes of this context to a list, and pass them on at its end."""
    try:
        with listening(notes.append):
            yield
    finally:
        for note in notes:
            warn(note)
