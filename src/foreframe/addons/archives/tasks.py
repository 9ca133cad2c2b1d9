"""Tasks of a large job, in this process, in several processes or on a cluster, with Dask
(https://distributed.dask.org).

An empty file, its marker, shows that a task is done. An interrupted job can therefore be resumed,
and the task of a dead process is repeated.

The last bits of a result depend on the number of threads. All tasks of a job therefore use the
number of threads with which the job began.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from foreframe.addons.archives.archive_options import ArchiveOptions
from foreframe.base.extras import needed
from foreframe.base.files import RunLock, atomic_write
from foreframe.base.notes import listening, warn
from foreframe.base.progress import Progress

Task = Callable[[Any], None]
"""Processes an item; an importable function, or a `functools.partial` of one."""

AHEAD = 512  # tasks that the scheduler holds at a time


class Workers(NamedTuple):
    """Dask's client, None for this process alone, and the number of threads of a task."""

    client: Any
    threads: int


@contextmanager
def open_job(folder: Path, digest: str, options: ArchiveOptions) -> Iterator[Workers]:
    """Make the folder of a job, or check that it belongs to this job, and yield its workers.

    Raises:
        ValueError: the folder belongs to another job, or another process writes it; no Dask, or no
            scheduler at the address.
    """
    note = folder / ".foreframe-job"
    before, *threads = note.read_text().split() if note.exists() else [digest]
    if before != digest:
        raise ValueError(
            f"{folder} was begun by another run, with other options or other data, and these "
            "cannot resume it: remove the folder, or name another output"
        )
    if not note.exists() and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists and is no interrupted job: name another output")
    with _workers_of(options) as workers:
        folder.mkdir(exist_ok=True)
        lock = RunLock(folder)
        if not lock.acquire():
            raise ValueError(f"{folder} is being written by another process; wait for its end")
        try:
            if threads:
                warn(f"resuming the interrupted job in {folder}")
            else:
                with atomic_write(note) as rough:
                    rough.write_text(f"{digest} {workers.threads}")
            yield workers._replace(threads=int(*threads)) if threads else workers
        finally:
            lock.release()


def run_tasks(
    do: Task, items: Sequence[Any], folder: Path, workers: Workers, progress: Progress
) -> None:
    """Run all tasks without a marker.

    Args:
        workers: as `open_job` yields them.
        progress: called after each task with the number of finished tasks and the total.

    Raises:
        ValueError: some tasks failed; all others are done.
    """
    tasks = {folder / "done" / str(number): item for number, item in enumerate(items)}
    failed: list[str] = []
    attempt = partial(_attempt, do, workers.threads)
    outcomes: Iterator[Outcome] = (attempt(*task) for task in tasks.items())
    if workers.client is not None:
        outcomes = _on_dask(attempt, tasks, workers.client)
    progress(0, len(items))
    for done, (error, notes) in enumerate(outcomes, 1):
        failed += [] if error is None else [error]
        for note in notes:
            warn(note)
        progress(done, len(items))
    if failed:
        again = "the same command tries them again"
        raise ValueError(f"{len(failed)} of {len(items)} failed; {again}. The first: {failed[0]}")


Outcome = tuple[str | None, list[str]]  # the error, and notes


def _attempt(do: Task, threads: int, marker: Path, item: Any) -> Outcome:
    notes: list[str] = []
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if not marker.exists():
            with listening(notes.append):
                do(item)
            with atomic_write(marker):
                pass
    except ValueError as error:
        return str(error), notes
    finally:
        torch.set_num_threads(usual)
    return None, notes


def _on_dask(
    attempt: Callable[..., Outcome], tasks: Mapping[Path, Any], client: Any
) -> Iterator[Outcome]:
    from distributed import KilledWorker, as_completed

    waiting = iter(tasks.items())

    def submitted(n: int) -> list[Any]:
        some = islice(waiting, n)
        return [client.submit(attempt, *pair, pure=False) for pair in some]

    futures = as_completed(submitted(AHEAD))
    for future in futures:
        try:
            outcome = future.result()
        except KilledWorker:
            outcome = "several workers died of it, perhaps for lack of memory", []
        future.release()  # a result that a dead worker held would be computed again
        futures.update(submitted(1))
        yield outcome


@contextmanager
def _workers_of(options: ArchiveOptions) -> Iterator[Workers]:
    """Yield this process, the workers of a scheduler, or new ones that share the cores here."""
    if not options.workers:
        yield Workers(None, torch.get_num_threads())
        return
    distributed = needed("distributed", "cluster", "--workers")
    cluster: Any = nullcontext(options.workers)
    if isinstance(options.workers, int):
        threads = str(max(1, torch.get_num_threads() // options.workers))
        cluster = distributed.LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            memory_limit=None,  # forecasts have their own budget
            dashboard_address=None,
            silence_logs=logging.CRITICAL,  # of workers that end slowly
            preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # Ctrl-C is ours
        )
    with cluster as address:
        try:
            client = distributed.Client(address, timeout=30)
        except (OSError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {address}") from error
        with client:
            yield Workers(client, min(client.run(torch.get_num_threads).values(), default=1))
