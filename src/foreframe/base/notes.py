"""What a user should know although nothing has failed: a note, told to whoever listens."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Note(UserWarning):
    """A note where nobody listens, as in a script: a warning for users, not for programmers."""


# By context, so that each request of a service, and each thread, has notes of its own.
_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def warn(message: str) -> None:
    """A note for whoever runs this: to the innermost listener, or a warning where there is none."""
    listener = _listener.get()
    if listener is None:
        warnings.warn(Note(message), stacklevel=3)
    else:
        listener(message)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, notes go to `listener`, each once."""
    told: set[str] = set()

    def once(message: str) -> None:
        if message not in told:
            told.add(message)
            listener(message)

    token = _listener.set(once)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def collecting(notes: list[str]) -> Iterator[None]:
    """While this lasts, notes are added to the list, and told as before."""
    outer = _listener.get()

    def both(message: str) -> None:
        notes.append(message)
        if outer is None:
            warnings.warn(Note(message), stacklevel=5)
        else:
            outer(message)

    with listening(both):
        yield
