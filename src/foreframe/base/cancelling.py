"""A long computation ends early when nobody wants its result any more."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar

# By context, so that each thread of a service asks for its own work.
_wanted: ContextVar[Callable[[], bool]] = ContextVar("wanted", default=lambda: True)


@contextmanager
def while_wanted(wanted: Callable[[], bool]) -> Iterator[None]:
    """What is computed within it asks `wanted` from time to time."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def check_wanted() -> None:
    """Called between the steps of a long computation; raises CancelledError if it is not wanted."""
    if not _wanted.get()():
        raise CancelledError
