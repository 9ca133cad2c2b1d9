"""A service whose requests are handled in threads of the test, not in processes of their own."""

import multiprocessing
import os
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from foreframe.addons.serve import handling, uploads


class ThreadAsProcess(threading.Thread):
    """What `RequestProcess` uses of a process; it cannot be killed, and ends by itself."""

    killed = 0

    def __init__(self, target: Any, args: tuple[Any, ...] = (), daemon: bool = True) -> None:
        if args:  # the server closes its copy of the connection
            args = (Connection(os.dup(args[0].fileno())), *args[1:])
        super().__init__(target=target, args=args, daemon=daemon)

    @property
    def pid(self) -> int | None:
        return self.native_id

    def run(self) -> None:
        with suppress(BrokenPipeError):  # a process would have been killed
            super().run()

    def kill(self) -> None:
        type(self).killed += 1


class Threads:
    Process = ThreadAsProcess
    Pipe = staticmethod(multiprocessing.Pipe)

    @staticmethod
    def set_forkserver_preload(modules: Any) -> None:
        """There is nothing to start."""


def use(monkeypatch: Any) -> None:
    """From now on requests are handled in threads."""
    monkeypatch.setattr(handling, "get_context", lambda kind: Threads)
    monkeypatch.setattr(handling, "respond", uploads.answer)
