"""Early end of a long computation whose result is no longer needed."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar

# By context, so that each thread of a service checks its own work.
_wanted: ContextVar[Callable[[], bool]] = ContextVar("wanted", default=lambda: True)


@contextmanager
def while_wanted(wanted: Callable[[], bool]) -> Iterator[None]:
    """Cancel the computation of this context when `wanted` returns False."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def check_wanted() -> None:
    """Raise CancelledError if the computation is cancelled; called between its steps."""
    if not _wanted.get()():
        raise CancelledError
