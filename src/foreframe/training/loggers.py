"""Loggers of a training: TensorBoard and CSV by name, or any logger of Lightning. Lightning logs
numbers; this file logs pictures, if a logger shows any.
"""

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary

from foreframe.base.processes import is_first_process
from foreframe.base.wording import described
from foreframe.visuals import gif_bytes


class Events(TensorBoardLogger):
    """TensorBoard events, in the run's folder itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")

    def save(self) -> None:
        """Write only events: options are in config.yaml."""


def start_tensorboard(folder: Path) -> str:
    """Start TensorBoard on a free port, and return its address."""
    from tensorboard import program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir", str(folder), "--load_fast", "false"])
    return str(board.launch())


def _csv(folder: Path, step: int) -> Logger:
    """Return the logger of RUN/metrics.csv. A resumed run keeps the rows before its checkpoint."""
    logger, file = CSVLogger(folder, name="", version=""), folder / "metrics.csv"
    if step > 0 and file.exists() and is_first_process():
        with file.open(newline="") as table:
            rows = [row for row in csv.DictReader(table) if int(row["step"] or step) < step]
        logger.experiment.metrics = rows  # Lightning has removed the file
        logger.save()
    return logger


def loggers_of(folder: Path, wanted: Sequence[Any], step: int) -> list[Logger]:
    """Return the loggers of a run.

    Args:
        folder: the run's folder.
        wanted: names in `options.LOGGERS`, and the user's logger objects.
        step: step of the checkpoint to resume; -1 for a new run.
    """
    by_name: dict[str, Callable[[], Logger]]
    by_name = {"tensorboard": lambda: Events(folder), "csv": lambda: _csv(folder, step)}
    return [by_name[each]() if isinstance(each, str) else each for each in wanted]


def begin(loggers: Sequence[Logger], options: Mapping[str, Any]) -> None:
    """Send a new run's options to the user's logger objects.

    Raises:
        ValueError: a logger cannot be reached, or raises an error.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):  # config.yaml has the options
            continue
        try:
            logger.log_hyperparams(dict(options))
        except Exception as error:  # any error of its library
            raise ValueError(f"{type(logger).__name__} cannot begin: {described(error)}") from error


def log_pictures(loggers: Sequence[Logger], step: int, strip: np.ndarray, film: np.ndarray) -> None:
    """Show a picture (H,W,3), and a film (T,H,W,3) as a GIF, in the loggers that show any."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("forecast/strip", strip, step, dataformats="HWC")
            h, w = film.shape[1:3]
            image = Summary.Image(height=h, width=w, encoded_image_string=gif_bytes(film))
            moving = Summary(value=[Summary.Value(tag="forecast/gif", image=image)])
            logger.experiment.file_writer.add_summary(moving, step)
        elif hasattr(logger, "log_image"):  # such as W&B's
            logger.log_image("forecast/strip", [strip], step)
