"""The one thread that runs models. What waits for it and can be computed together is one batch."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, NamedTuple

from foreframe.base.cancelling import while_wanted
from foreframe.models.footprint import only_known

# Items of a batch. Of more, the memory of even small frames is counted before the first of them
# (`footprint.at_once`).
MOST = 4


class FullError(RuntimeError):
    """As much waits for the model as may wait, or the server is stopping."""


class Job(Future[Any]):
    """The result of a task. A task that is cancelled after it began ends before its next step,
    unless others are computed with it.
    """

    wanted = True

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
        limit: tasks that may wait.
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
        """End the thread after its present batch; what waits is cancelled."""
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
        """How many tasks wait."""
        return len(self._tasks)

    def submit(self, do: Callable[[list[Any]], list[Any]], what: Any, key: Hashable) -> Job:
        """Have something computed, with all others of this key that wait at that time.

        Args:
            do: gives a result for each item of a list; of a batch that of its first is called. It
                measures no memory of forecasts: see `footprint.only_known`.
            what: an item.
            key: of what `do` can compute together.

        Returns:
            The result of this item; one that is cancelled before its turn is left out.

        Raises:
            FullError: no place in the queue.
        """
        task = _Task(do, what, key, Job())
        with self._changed:
            if self._stopping or len(self._tasks) >= self._limit:
                raise FullError("the server is busy; ask again in a moment")
            self._tasks.append(task)
            self._changed.notify()
        return task.future

    def run(self, function: Callable[[], Any]) -> Job:
        """Call a function in the thread; raises as `submit`."""
        return self.submit(lambda _: [function()], None, object())

    def _work(self) -> None:
        while batch := self._next():
            batch = [task for task in batch if task.future.set_running_or_notify_cancel()]
            if batch:
                self._observe(len(batch))
                _compute(batch)

    def _next(self) -> list[_Task]:
        """The task that has waited longest, and those of its key; none when the worker stops."""
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
    """Set the results of tasks. Where a batch fails each is computed alone: it may have been too
    large, or one of its items bad.
    """
    try:
        with while_wanted(lambda: any(task.future.wanted for task in batch)), only_known():
            results = batch[0].do([task.what for task in batch])
    except Exception as error:
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for task in batch:
            _compute([task])
        return
    for task, result in zip(batch, results, strict=True):
        task.future.set_result(result)
