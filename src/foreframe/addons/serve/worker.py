"""The only thread that runs models. It computes waiting tasks of the same key as one batch."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from foreframe.models.interface import BEFORE_STEP

QUEUE = 32  # requests at a time, waiting ones included: the last waits for eight batches
MOST = 4  # items of a batch; for more, `footprint.group_size` would measure even small frames


class FullError(RuntimeError):
    """The queue of the model is full, or the server is stopping."""


class Job(Future[Any]):
    """The result of a task. A running task that is cancelled ends before its next step, unless
    other tasks of its batch are still needed.
    """

    wanted = True
    started, batch = 0.0, 0  # once it is computed: the time when its batch began, and its size

    def cancel(self) -> bool:
        self.wanted = False
        return super().cancel()


class _Task(NamedTuple):
    do: Callable[[list[Any]], list[Any]]
    what: Any
    key: Hashable
    future: Job


class Worker:
    """A thread with a bounded queue.

    Args:
        limit: largest number of waiting tasks.
        observe: called with the size of each batch.
    """

    def __init__(self, limit: int, observe: Callable[[int], Any] = lambda size: None) -> None:
        self._limit, self._observe = limit, observe
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current batch, and cancel waiting tasks."""
        with self._changed:
            self._stopping = True
            while self._tasks:
                self._tasks.popleft().future.cancel()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Number of waiting tasks."""
        return len(self._tasks)

    def submit(self, do: Callable[[list[Any]], list[Any]], what: Any, key: Hashable) -> Job:
        """Queue an item, to be computed together with waiting items of the same key.

        Args:
            do: returns a result for each item of a list. A batch calls the `do` of its first task.
            what: the item.
            key: equal keys can be computed together.

        Returns:
            The result of this item. Items cancelled before their turn are left out.

        Raises:
            FullError: the queue is full.
        """
        task = _Task(do, what, key, Job())
        with self._changed:
            if self._stopping or len(self._tasks) >= self._limit:
                raise FullError("the server is busy; ask again in a moment")
            self._tasks.append(task)
            self._changed.notify()
        return task.future

    def run(self, function: Callable[[], Any]) -> Job:
        """Call a function in the thread. Raises as `submit`."""
        return self.submit(lambda _: [function()], None, object())

    def _work(self) -> None:
        while batch := self._next():
            batch = [task for task in batch if task.future.set_running_or_notify_cancel()]
            if batch:
                self._observe(len(batch))
                _compute(batch)

    def _next(self) -> list[_Task]:
        """Return the oldest task and others of its key, or nothing if the worker stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks or self._stopping)
            if self._stopping:
                return []
            key = self._tasks[0].key
            batch = [task for task in self._tasks if task.key == key][:MOST]
            for task in batch:
                self._tasks.remove(task)
            return batch


def _compute(batch: list[_Task]) -> None:
    """Set the results of tasks. If a batch fails, compute each task alone: the batch may be too
    large, or one item invalid.
    """

    def check_wanted() -> None:
        if not any(task.future.wanted for task in batch):
            raise CancelledError

    started = time.monotonic()
    BEFORE_STEP.set(check_wanted)
    try:
        results = batch[0].do([task.what for task in batch])
    except Exception as error:
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for task in batch:
            _compute([task])
        return
    for task, result in zip(batch, results, strict=True):
        task.future.started, task.future.batch = started, len(batch)
        task.future.set_result(result)
