"""A model with an objective of its own, trained from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster
from foreframe.cli import main

FLAGS = [
    *("train", "--model", "svg_small", "--model_args.width", "4", "--model_args.code", "8"),
    *("--model_args.hidden", "8", "--past", "3", "--future", "3", "--batch_size", "2"),
    *("--epochs", "1", "--validation_clips", "2", "--picture_every", "2"),
    *("--trainer.limit_train_batches", "3", "--trainer.log_every_n_steps", "1"),
    *("--accelerator", "cpu", "--devices", "1", "--data", "array.npy", "--loss", "mix"),
    *("--run", "run"),
]


@pytest.fixture(autouse=True)
def array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("array.npy", np.random.default_rng(0).random((120, 1, 24, 20)).astype(np.float32))


def test_a_variational_model_trains_and_forecasts(capsys: pytest.CaptureFixture) -> None:
    assert main(FLAGS) == 0, capsys.readouterr().err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator("run")
    events.Reload()
    logged = {name: events.Scalars(name)[-1].value for name in ("loss", "reconstruction", "kl")}
    assert logged["loss"] == pytest.approx(logged["reconstruction"] + 1e-4 * logged["kl"], rel=1e-4)
    (row,) = map(json.loads, Path("run/validation.jsonl").read_text().splitlines())
    assert row["step"] == 3
    forecaster = Forecaster.load("run")
    past = np.load("array.npy")[:4]
    assert forecaster.predict(past, 5).shape == (5, 1, 24, 20)
    state = forecaster.model.encode(forecaster.scaling.to_network(torch.from_numpy(past))[None])
    future = forecaster.model.decode(state | {"key": torch.tensor([1])}, 2)
    assert future.isfinite().all()


@pytest.mark.parametrize("option", ["sampling_steps", "truncate"])
def test_what_its_objective_does_not_have_is_refused(option: str, capsys) -> None:
    assert main([*FLAGS, f"--{option}", "2"]) == 2
    said = capsys.readouterr().err.strip()
    assert f"model svg learns by an objective of its own, which has no {option}" in said
    assert "\n" not in said
    assert not Path("run").exists()
