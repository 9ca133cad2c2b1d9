"""Progress of long commands on standard error: a bar on a terminal; otherwise, as in a log, a line
every few seconds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

Tell = Callable[[int, int], None]

EVERY = 3.0  # seconds from line to line, at least
SHARE = 0.05  # of the elapsed time from line to line


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Yield a function to call with the number done and the total."""
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
def _lines(what: str) -> Iterator[Tell]:
    """Print lines in a thread, since a single step may take a minute."""
    began, calls, ended = time.monotonic(), list[tuple[float, int, int]](), Event()

    def tell(done: int, total: int) -> None:
        calls[1:] = [(time.monotonic(), done, total)]

    def report() -> None:
        while not ended.wait(max(EVERY, SHARE * (time.monotonic() - began))):
            print(_line(what, began, calls), file=sys.stderr, flush=True)

    reporter = Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield tell
    finally:
        ended.set()
        reporter.join()


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
    return f"{text}: about {_duration((last - first) / (done - before) * (total - done))} left"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{round(seconds, -1):.0f} seconds"


def announcing(tell: Tell, what: str) -> Tell:
    """Return `tell`, which also prints the expected duration once the first clips are done."""
    calls = list[tuple[float, int]]()

    def both(done: int, total: int) -> None:
        tell(done, total)
        calls.append((time.monotonic(), done))
        if len(calls) == 2 and done < total:
            (first, before), (now, _) = calls
            seconds = (now - first) / (done - before) * total
            if seconds >= 2 * EVERY:
                print(f"{total} {what}, about {_duration(seconds)}", file=sys.stderr, flush=True)

    return both
