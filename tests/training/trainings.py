"""Trainings of 4 steps an epoch that take a second, and a run to go on from."""

import json
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.fit import train
from foreframe.training.options import Options

SMALL: dict[str, Any] = {
    "canvas": 24,
    "clips": 16,
    "motion": {"rule": "srivastava", "digit_px": 16},
}
# The same, for processes of their own.
LEARNING = [
    *("--model", "quick", "--hidden", "4", "--learning_rate", "3e-3", "--past", "3"),
    *("--future", "2", "--batch_size", "4", "--validation_clips", "5", "--picture_every", "0"),
    *("--device", "cpu"),
]
FLAGS = [
    *(*LEARNING, "--data_args.canvas", "24", "--data_args.clips", "16"),
    *("--data_args.motion", "{rule: srivastava, digit_px: 16}"),
]
FOLDER = tempfile.TemporaryDirectory()
USUAL = Options(
    ModelOptions("quick", hidden=4),
    DataOptions(data_args=SMALL, past=3, future=2, batch_size=4, validation_clips=5),
    LearningOptions(learning_rate=3e-3, epochs=2),
    MachineOptions(device="cpu", devices=1),
    RunOptions(picture_every=0),
)


def small_options(run: Path | None, **changes: Any) -> Options:
    """Options of a small training; each group takes the changes of its fields."""
    changes["run"] = run and str(run)
    return Options(
        *(
            replace(group, **{name: changes[name] for name in {*changes} & {*vars(group)}})
            for group in USUAL
        )
    )


def train_small(run: Path | None, **changes: Any) -> Path:
    return train(small_options(run, **changes))


@cache
def first_epoch() -> Path:
    return train_small(Path(FOLDER.name) / "run", epochs=1)


def copied_run(folder: Path) -> Path:
    """A run of one epoch, trained once for all tests, in a folder of a test."""
    return Path(shutil.copytree(first_epoch(), folder / "run"))


def last(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return state


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]


def same_to_the_bit(a: Path, b: Path) -> None:
    one, other = last(a), last(b)
    assert one["global_step"] == other["global_step"]
    for weights in ("state_dict", "current_model_state", "averaging_state"):
        assert (weights in one) == (weights in other)
        for name, value in one.get(weights, {}).items():
            assert torch.equal(value, other[weights][name]), (weights, name)
    for key, moments in one["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, other["optimizer_states"][0]["state"][key][name]), (key, name)
