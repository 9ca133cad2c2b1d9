"""Progress of long commands on standard error: a bar on a terminal; otherwise, as in a log, a line
every ten seconds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[int, int], None]

EVERY = 10  # seconds from line to line


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Yield a function to call with the number done and the total."""
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_interactive:
        yield _lines(what)
        return
    with rich.Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Tell:
    """Print lines with the remaining time, estimated since the first call, so without loading."""
    printed, first = time.monotonic(), None

    def tell(done: int, total: int) -> None:
        nonlocal printed, first
        now = time.monotonic()
        began, before = first = first or (now, done)
        left = (now - began) / max(1, done - before) * (total - done)
        if now - printed < EVERY or done == total or (done > before and left < EVERY):
            return
        printed = now
        duration = f"{left / 60:.0f} minutes" if left >= 90 else f"{round(left, -1):.0f} seconds"
        more = f": about {duration} left" if done > before else ""
        print(f"{done} of {total} {what}{more}", file=sys.stderr, flush=True)

    return tell
