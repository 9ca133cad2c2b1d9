"""Progress of long commands, on standard error, since standard output is for results: a bar on a
terminal; elsewhere, as in a log, a line now and then of what takes minutes.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from foreframe.base.wording import plural

Tell = Callable[[int, int], None]

LONG, EVERY = 60, 60  # seconds that are left, so that it is said; from line to line


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
    """The first line says after the first clip how long all will take. A call with 0 done starts
    the clock.
    """
    began, said = time.monotonic(), -float(EVERY)

    def tell(done: int, total: int) -> None:
        nonlocal began, said
        began = began if done else time.monotonic()
        spent = time.monotonic() - began
        left = spent / max(1, done) * (total - done)
        if done and left >= LONG and spent - said >= EVERY:
            said = spent
            line = f"{done} of {total} {what}: about {plural(round(left / 60), 'more minute')}"
            print(line, file=sys.stderr, flush=True)

    return tell
