"""Progress of long commands: a bar on standard error, if that is a terminal, since standard output
is for results.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the number done and the total. Shows nothing unless standard
    error is a terminal.
    """
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    with rich.Progress(console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
