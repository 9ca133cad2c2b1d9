"""How far a training is, and how long it still takes: on a terminal, in a notebook, in a log."""

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import RichProgressBar

from foreframe.training.notices import say, verbose


def progress(bar: bool = True) -> list[L.Callback]:
    """The callback that shows how far a training is, where this one is watched.

    Args:
        bar: whether one may be drawn; else there are lines.
    """
    if not verbose():
        return []
    if bar and in_notebook():
        return [Line()]
    return [Bar() if bar and sys.stdout.isatty() else Lines()]


def in_notebook() -> bool:
    """Whether this Python is a notebook's."""
    ipython = sys.modules.get("IPython")  # imported where there is a notebook
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


class TimeLeft:
    """Hours, minutes and seconds until the end of the whole training, at the pace since this was
    first asked.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def __call__(self, trainer: L.Trainer, module: Any) -> str:
        now, done = time.monotonic(), module.done
        if trainer.max_steps > 0:
            done = max(done, trainer.global_step / trainer.max_steps)
        self._first = self._first or (now, done)
        since, share = now - self._first[0], done - self._first[1]
        if share <= 0:
            return "?"
        left = since / share * max(0.0, 1 - done)
        if module.learning.minutes:  # never more, however long a step has just taken
            left = min(left, max(0.0, 60 * module.learning.minutes - module.elapsed))
        left = int(left)
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"


class Bar(RichProgressBar):
    """Lightning's rich bar, with the time that is left until the end of the whole training."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._left = TimeLeft()

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """A short bar and no time of the epoch, so that loss and time left find room on 80
        columns.
        """
        description, bar, batches, _, speed = super().configure_columns(trainer)
        bar.bar_width = 12
        return [description, bar, batches, speed]

    def get_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, module)
        shown.pop("v_num", None)
        if trainer.training and not trainer.sanity_checking:
            shown = {"left": self._left(trainer, module), **shown}
        return shown


class Lines(L.Callback):
    """Progress where there is no screen for a bar: a line every half minute."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._left = TimeLeft()
        self._said_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        left = self._left(trainer, module)
        if trainer.is_global_zero and time.monotonic() - self._said_at > self.seconds:
            self._said_at = time.monotonic()
            self.show(f"step {trainer.global_step}: loss {float(outputs['loss']):.5f}, {left} left")

    def show(self, line: str) -> None:
        say(line)


class Line(Lines):
    """The same in a notebook: one line, written over every second, and gone at the end.

    The bars of tqdm and rich need ipywidgets there, and leave stray lines without.
    """

    def __init__(self) -> None:
        super().__init__(seconds=1.0)
        self._display: Any = None

    def show(self, line: str) -> None:
        from IPython.display import Code, display

        shown = Code(line, language="text")
        if self._display is None:
            self._display = display(shown, display_id=True)
        else:
            self._display.update(shown)

    def teardown(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        from IPython.display import HTML

        if self._display is not None:
            self._display.update(HTML(""))
            self._display = None
