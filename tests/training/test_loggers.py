"""Where a training is logged: by names, by loggers of Lightning, or nowhere; no network."""

from typing import Any

import numpy as np
import pytest
import yaml
from lightning.pytorch.loggers import Logger
from trainings import train_small

import foreframe
from refusals import parse

FRAMES = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)


class Kept(Logger):
    """A logger of a user's own, which keeps what it is given, and cannot be copied."""

    name, version = "kept", "0"

    def __init__(self) -> None:
        self.numbers: list[int | None] = []
        self.pictures: list[str] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.numbers += [step] if "loss" in metrics else []

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.options = params

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self.pictures.append(f"{key} {step} {images[0].dtype}")

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("it may hold locks and files")


def test_a_logger_of_ones_own(tmp_path) -> None:
    own, steps = Kept(), [{"max_steps": 2}, {"max_steps": 3}]
    how = {"past": 2, "future": 2, "batch_size": 4, "hidden": 4, "device": "cpu"}
    how |= {"data": FRAMES, "run": tmp_path / "run", "logger": own}
    run = foreframe.fit("quick", trainer=steps[0], **how)
    assert (own.numbers, own.pictures) == ([0, 1], ["forecast/strip 1 uint8"])
    assert own.options["seed"] == 0
    assert not list(run.folder.glob("events*"))
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["logger"] == []
    foreframe.fit(resume=run, data=FRAMES, trainer=steps[1], logger=[own, "tensorboard"])
    assert own.numbers == [0, 1, 2]
    assert len(list(run.folder.glob("events*"))) == 1


def test_no_logger_and_none_that_exists(tmp_path) -> None:
    run = train_small(tmp_path / "run", epochs=1, logger=False)
    left = {"config.yaml", "checkpoints", "validation.jsonl"}
    assert {path.name for path in run.iterdir()} == left
    for given, shown in (("wandbb", "'wandbb'"), ("[tensorboard,3]", "3")):
        with pytest.raises(ValueError, match=f"tensorboard or false, not {shown}"):
            parse(["--config", "quick", "--logger", given])


def test_a_logger_that_cannot_begin_leaves_no_run(tmp_path) -> None:
    class Unreachable(Kept):
        def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
            raise ConnectionError("no\nanswer")

    with pytest.raises(ValueError, match=r"^Unreachable cannot begin: ConnectionError: no answer$"):
        train_small(tmp_path / "run", logger=[Unreachable()])
    assert not (tmp_path / "run").exists()
