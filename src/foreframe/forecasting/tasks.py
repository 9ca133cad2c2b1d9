"""Large jobs in tasks: done by this process, by several of this machine, or by a cluster, by Dask
(https://distributed.dask.org).

A task is done once its marker is there, a file that the task itself makes last, whole or not at
all. So a job that was stopped goes on, and a task whose process died is done again.

The last bits of a result depend on how many threads compute it. So all tasks of a job have as many
as were chosen when it began, whoever does them.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from foreframe.base.extras import needed
from foreframe.base.files import atomic_write, exists
from foreframe.base.notes import listening, warn
from foreframe.forecasting.forecast_options import TaskOptions

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster

Tell = Callable[[int, int], Any]
Task = Callable[[Path, Any], None]
"""Does an item, and makes its marker; an importable function, or a `functools.partial` of one."""

AHEAD = 512  # tasks that the scheduler holds at a time
HELD = 16  # objects that a process keeps for its next tasks

_held: dict[Any, Any] = {}


def held(key: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, made once in a process for all tasks that name it by this key."""
    if key not in _held:
        while len(_held) >= HELD:
            _held.pop(next(iter(_held)), None)
        _held[key] = make()
    return _held[key]


def fingerprint(forecaster: "Forecaster", *about: Any) -> str:
    """A hash of a forecaster, its weights included, and of plain values."""
    digest = hashlib.sha256(json.dumps([forecaster.config(), *about], default=str).encode())
    for name, weights in sorted(forecaster.model.state_dict().items()):
        digest.update(name.encode() + weights.numpy(force=True).tobytes())
    return digest.hexdigest()[:16]


def stamp(source: Any) -> float | None:
    """When a file or folder was changed; None of anything else."""
    return os.path.getmtime(source) if isinstance(source, str) and exists(source) else None


class Workers(NamedTuple):
    """Who does tasks: Dask's client, None where this process does them, and how many threads
    compute each.
    """

    client: Any
    threads: int


@contextmanager
def begun(folder: Path, digest: str, options: TaskOptions) -> Iterator[Workers]:
    """The folder of a job, made, or, to resume, found to be of this one; yields who does its tasks.

    Raises:
        ValueError: it is there and is not to be resumed, or is of another job; no Dask, or no
            scheduler at the address.
    """
    note = folder / ".foreframe-job"
    if note.exists() and not options.continue_job:
        raise ValueError(
            f"{folder} is of a job that was stopped: --continue_job goes on; or remove it"
        )
    before, *threads = note.read_text().split() if note.exists() else [digest]
    if before != digest:
        raise ValueError(
            f"{folder} was begun by another run, with other options or of other data, and cannot "
            "be resumed by these: remove it, or name another output"
        )
    if not note.exists() and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds no job that could be resumed: name another output")
    with workers_of(options) as workers:
        if not note.exists():
            with atomic_write(note) as rough:
                rough.write_text(f"{digest} {workers.threads}")
        yield workers._replace(threads=int(*threads)) if threads else workers


def run_tasks(do: Task, items: Mapping[Path, Any], workers: Workers, tell: Tell) -> None:
    """Do all items, by marker, whose marker is not there.

    Args:
        workers: as `begun` yields them.
        tell: called after each with the number of those done, and of all.

    Raises:
        ValueError: some cannot be done; all others are.
    """
    failed: list[str] = []
    attempt = partial(_attempt, do, workers.threads)
    outcomes: Iterator[Outcome] = (attempt(*item) for item in items.items())
    if workers.client is not None:
        outcomes = _on_dask(attempt, items, workers.client)
    for done, (error, notes) in enumerate(outcomes, 1):
        failed += [] if error is None else [error]
        for note in notes:
            warn(note)
        tell(done, len(items))
    if failed:
        many = f"{len(failed)} of {len(items)} failed, --continue_job tries them again. The first: "
        raise ValueError(f"{many if len(items) > 1 else ''}{failed[0]}")


def results(
    do: Task, items: Sequence[Any], folder: Path, workers: Workers, tell: Tell
) -> list[Any]:
    """Do all items, and return the plain values that each has left by `leave`, in their order."""
    markers = [folder / "done" / f"{k}.json" for k in range(len(items))]
    run_tasks(do, dict(zip(markers, items, strict=True)), workers, tell)
    return [json.loads(marker.read_text()) for marker in markers]


def leave(marker: Path, result: Any) -> None:
    """Plain values of a task as its marker."""
    with atomic_write(marker) as rough:
        rough.write_text(json.dumps(result))


Outcome = tuple[str | None, list[str]]  # the error, and notes


def _attempt(do: Task, threads: int, marker: Path, item: Any) -> Outcome:
    notes: list[str] = []
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if not marker.exists():
            with listening(notes.append):
                do(marker, item)
    except ValueError as error:
        return str(error), notes
    finally:
        torch.set_num_threads(usual)
    return None, notes


def _on_dask(
    attempt: Callable[..., Outcome], items: Mapping[Path, Any], client: Any
) -> Iterator[Outcome]:
    from distributed import KilledWorker, as_completed

    waiting = iter(items.items())

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
def workers_of(options: TaskOptions) -> Iterator[Workers]:
    """This process; those of a scheduler; or new ones of this machine, which share its cores."""
    if not (options.workers or options.scheduler):
        yield Workers(None, torch.get_num_threads())
        return
    distributed = needed("distributed", "cluster", "--workers and --scheduler")
    cluster: Any = nullcontext(options.scheduler)
    if options.workers:
        threads = str(max(1, torch.get_num_threads() // options.workers))
        cluster = distributed.LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            memory_limit=None,  # that of forecasts is bounded by their own budget
            dashboard_address=":0" if find_spec("bokeh") else None,
            silence_logs=logging.CRITICAL,  # of workers that are slow to end
            preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # Ctrl-C is ours
        )
    with cluster as address:
        try:
            client = distributed.Client(address, timeout=30)
        except (OSError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {address}") from error
        with client:
            if find_spec("bokeh"):
                warn(f"Dask's dashboard: {client.dashboard_link}")
            yield Workers(client, min(client.run(torch.get_num_threads).values(), default=1))
