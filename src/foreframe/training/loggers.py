"""Where a training is logged: TensorBoard, CSV, MLflow, Weights & Biases by name, or any logger of
Lightning. Numbers go there by Lightning; pictures and scorecards from here, if it shows any.
"""

import csv
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from tensorboard.compat.proto.summary_pb2 import Summary

from foreframe.base.extras import needed
from foreframe.base.files import atomic_write
from foreframe.base.processes import is_first_process
from foreframe.base.schema import converted
from foreframe.base.wording import described
from foreframe.training.notices import verbose
from foreframe.visuals import gif_bytes

IDS = "loggers.json"  # in the run's folder: what each service calls the run, by its logger
PROJECT = "foreframe"  # of runs there, where the environment names no other


class Events(TensorBoardLogger):
    """TensorBoard events, in the run's folder itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")

    def save(self) -> None:
        """Write nothing beside the events: options are in config.yaml."""


class OwnWandb(WandbLogger):
    """A run at W&B that ends with its training: the next training of this process gets another."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(int(status != "success"))


def start_tensorboard(folder: Path, port: int) -> str:
    """Start TensorBoard, and return its address."""
    from tensorboard import program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    board = program.TensorBoard()
    board.configure(
        argv=[None, "--logdir", str(folder), "--port", str(port), "--load_fast", "false"]
    )
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise ValueError(
            f"TensorBoard cannot use port {port} ({str(error).splitlines()[0]}); choose another "
            "with --port, or 0 for any free one"
        ) from None


def _csv(folder: Path, step: int, _: dict[str, str]) -> Logger:
    """RUN/metrics.csv; a resumed run keeps the rows before its checkpoint's step."""
    logger, file = CSVLogger(folder, name="", version=""), folder / "metrics.csv"
    if step > 0 and file.exists() and is_first_process():
        with file.open(newline="") as table:
            rows = [row for row in csv.DictReader(table) if int(row["step"] or step) < step]
        logger.experiment.metrics = rows  # Lightning has removed the file
        logger.save()
    return logger


def _mlflow(folder: Path, _: int, known: dict[str, str]) -> Logger:
    """A run of MLflow, at MLFLOW_TRACKING_URI or where MLflow keeps runs by itself."""
    mlflow = needed("mlflow", "mlflow", "logger mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it tells of each table that it makes
    experiment, where = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), mlflow.get_tracking_uri()
    try:
        return MLFlowLogger(experiment, folder.name, where, run_id=known.get("MLFlowLogger"))
    except Exception as error:  # an address that it does not take
        raise ValueError(f"logger mlflow: {described(error)}") from error


def _wandb(folder: Path, _: int, known: dict[str, str]) -> Logger:
    """A run of W&B, with its files in RUN/wandb; WANDB_MODE=offline keeps it there."""
    needed("wandb", "wandb", "logger wandb")
    project, silent = os.environ.get("WANDB_PROJECT", PROJECT), {"silent": not verbose()}
    return OwnWandb(folder.name, folder, known.get("OwnWandb"), project=project, settings=silent)


BY_NAME: dict[str, Callable[[Path, int, dict[str, str]], Logger]] = {
    "tensorboard": lambda folder, *_: Events(folder),
    "csv": _csv,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def loggers_of(folder: Path, wanted: Sequence[Any], step: int) -> list[Logger]:
    """The loggers of a run.

    Args:
        folder: of the run.
        wanted: names in `BY_NAME`, and loggers of the user's own.
        step: of the checkpoint to resume; -1 for a new run.

    Raises:
        ValueError: a package that is missing, a damaged file of ids.
    """
    known: dict[str, str] = {}
    if step >= 0 and (folder / IDS).exists():
        known = converted(json.loads((folder / IDS).read_text("utf-8")), dict[str, str], IDS)
    return [
        BY_NAME[each](folder, step, known) if isinstance(each, str) else each for each in wanted
    ]


def begin(loggers: Sequence[Logger], folder: Path, step: int, options: Mapping[str, Any]) -> None:
    """Begin or go on with the runs of MLflow, W&B and others, keep their ids in the folder, and
    give new ones the options.

    Raises:
        ValueError: one of them cannot be reached, or refuses.
    """
    ids = {}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):  # files beside config.yaml
            continue
        try:
            getattr(logger, "experiment", None)  # which begins it
            if step < 0:
                logger.log_hyperparams(dict(options))
            ids[type(logger).__name__] = str(logger.version)
        except Exception as error:  # of its library
            raise ValueError(f"{type(logger).__name__} cannot begin: {described(error)}") from error
    if any(ids.values()):  # of a dry run it is empty
        with atomic_write(folder / IDS) as rough:
            rough.write_text(json.dumps(ids) + "\n", encoding="utf-8")


def log_pictures(loggers: Sequence[Logger], step: int, strip: np.ndarray, film: np.ndarray) -> None:
    """Show a picture (H,W,3), and a film (T,H,W,3) as a GIF, in the loggers that show any."""
    gif = gif_bytes(film) if loggers else b""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("forecast/strip", strip, step, dataformats="HWC")
            h, w = film.shape[1:3]
            image = Summary.Image(height=h, width=w, encoded_image_string=gif)
            moving = Summary(value=[Summary.Value(tag="forecast/gif", image=image)])
            logger.experiment.file_writer.add_summary(moving, step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, strip, key="forecast/strip", step=step)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"step-{step:07d}.gif"
                file.write_bytes(gif)
                logger.experiment.log_artifact(logger.run_id, file, "forecast/gif")
        elif hasattr(logger, "log_image"):  # as W&B's
            logger.log_image("forecast/strip", [strip], step)
            if hasattr(logger, "log_video"):
                logger.log_video("forecast/gif", [BytesIO(gif)], step, format=["gif"])


def log_scorecard(loggers: Sequence[Logger], row: Mapping[str, Any]) -> None:
    """Show a row of validation.jsonl, scores by lead time, in loggers that show files or tables."""
    step = row["step"]
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_dict(logger.run_id, row, f"validation/step-{step:07d}.json")
        elif hasattr(logger, "log_table"):  # as W&B's
            table = [
                [f"{convention}/{score}", *values["per_lead"]]
                for convention, scores in row["scores"].items()
                for score, values in scores.items()
            ]
            columns = ["score", *map(str, range(1, len(table[0])))]  # lead times
            logger.log_table("validation", columns, table, step=step)
