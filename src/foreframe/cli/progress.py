"""How far a long command is, and how long it still takes. On standard error: standard output is for
results.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 30.0  # seconds between two lines, where no terminal shows a bar


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with how many of how many `what` are done: a bar on a terminal, else
    a line every half minute.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_interactive:
        yield _lines(what)
        return
    from rich import progress as rich

    columns = (
        rich.BarColumn(bar_width=30),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.description}"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("left"),
    )
    with rich.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    shown_at = time.monotonic()
    # The pace is that since the first call: what comes before warms up.
    first: tuple[float, int] | None = None

    def tell(done: int, total: int) -> None:
        nonlocal shown_at, first
        now = time.monotonic()
        if first is None:
            first = now, done
        elif now - shown_at >= EVERY and done < total:
            shown_at = now
            left = int((now - first[0]) / (done - first[1]) * (total - done))
            hours = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
            print(f"{done} of {total} {what}, {hours} left", file=sys.stderr, flush=True)

    return tell
