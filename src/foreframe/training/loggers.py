"""Loggers of a training: TensorBoard, or any logger of Lightning. Lightning logs numbers; this file
logs pictures, if a logger shows any.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from foreframe.base.wording import described


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


def begin(loggers: Sequence[Logger], options: Mapping[str, Any]) -> None:
    """Send a new run's options to the user's logger objects.

    Raises:
        ValueError: a logger cannot be reached, or raises an error.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):  # config.yaml has the options
            continue
        try:
            logger.log_hyperparams(dict(options))
        except Exception as error:  # any error of its library
            raise ValueError(f"{type(logger).__name__} cannot begin: {described(error)}") from error


def log_picture(loggers: Sequence[Logger], step: int, strip: np.ndarray) -> None:
    """Show a picture (H,W,3) in the loggers that show any."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("forecast/strip", strip, step, dataformats="HWC")
        elif hasattr(logger, "log_image"):  # such as W&B's
            logger.log_image("forecast/strip", [strip], step)
