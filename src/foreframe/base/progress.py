"""Progress of long commands on standard error: a bar on a terminal; otherwise, as in a log, a line
every few seconds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Any

from foreframe.base.notes import listener
from foreframe.base.processes import is_first_process

Progress = Callable[[int, int], Any]
"""Called with the number done and the total."""

EVERY = 2.5  # seconds from line to line, also of one task to the next
FIRST = 0.5  # seconds, at least, before a task prints a line

_last_line = [time.monotonic()]


def silent(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Yield a function that shows the number done and the total. Calls from Python show nothing,
    since notebooks frame standard error in red.
    """
    who = listener()
    if who.python or not (who.verbose and is_first_process()):
        yield silent
        return
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_interactive:
        with _lines(what) as tell:
            yield tell
        return
    with rich.Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def repeating(act: Callable[[], Any]) -> Iterator[None]:
    """Call a function every few seconds in a thread, since a single step may take a minute."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(max(FIRST, _last_line[0] + EVERY - time.monotonic())):
            _last_line[0] = time.monotonic()
            act()

    thread = Thread(target=copy_context().run, args=(repeat,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _lines(what: str) -> Iterator[Progress]:
    began, calls = time.monotonic(), list[tuple[float, int, int]]()

    def tell(done: int, total: int) -> None:
        calls[1:] = [(time.monotonic(), done, total)]

    with repeating(lambda: print(_line(what, began, calls), file=sys.stderr, flush=True)):
        yield tell


def _line(what: str, began: float, calls: list[tuple[float, int, int]]) -> str:
    """Return the number done, and the remaining time by the pace since the first call: loading,
    before it, is no measure.
    """
    if not calls:
        return f"working on {what} for {time.monotonic() - began:.0f} seconds"
    (first, before, _), (last, done, total) = calls[0], calls[-1]
    text = f"{done} of {total} {what}"
    if done == before:
        return f"{text} after {time.monotonic() - began:.0f} seconds"
    if done == total:
        return f"{text}: finishing"
    seconds = (last - first) / (done - before) * (total - done)
    left = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{round(seconds, -1):.0f} seconds"
    return f"{text}: about {left} left"
