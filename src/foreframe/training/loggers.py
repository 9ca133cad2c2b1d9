"""Loggers of a training: TensorBoard, or any logger of Lightning. Lightning logs numbers; this file
logs pictures, if a logger shows any.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary

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
