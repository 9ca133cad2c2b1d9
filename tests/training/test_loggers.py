"""Where a training is logged: by names, by loggers of Lightning, or nowhere; no network."""

import csv
import json
import sys
from typing import Any

import numpy as np
import pytest
import yaml
from lightning.pytorch.loggers import Logger
from PIL import Image
from trainings import groups, rows_of

import foreframe
from foreframe.cli.train import parse
from foreframe.training.fit import train

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
    foreframe.fit(resume=run, data=FRAMES, trainer=steps[1], logger=[own, "tensorboard", "csv"])
    assert own.numbers == [0, 1, 2]
    assert len(list(run.folder.glob("events*"))) == len(list(run.folder.glob("metrics.csv"))) == 1


def test_numbers_alone_go_on_where_the_checkpoint_was(tmp_path) -> None:
    run, file = tmp_path / "run", tmp_path / "run" / "metrics.csv"
    train(*groups(run, logger="csv", epochs=1))
    lost = file.read_text().splitlines()[-1].replace(",3,", ",4,")  # a step that was never saved
    file.write_text(f"{file.read_text()}{lost}\n0,")
    train(*groups(run, logger="csv", epochs=2, resume=str(run)))
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [int(row["step"]) for row in rows if row["loss"]] == list(range(8))
    assert [int(row["step"]) for row in rows if row["val_openstl/mse"]] == [3, 7]


def test_no_logger_and_none_that_exists(tmp_path, monkeypatch) -> None:
    run = train(*groups(tmp_path / "run", epochs=1, logger=False))
    left = {"config.yaml", "checkpoints", "validation.jsonl"}
    assert {path.name for path in run.iterdir()} == left
    for given, shown in (("wandbb", "'wandbb'"), ("[csv,3]", "3")):
        with pytest.raises(
            ValueError, match=f"any of tensorboard, csv, mlflow, wandb, not {shown}"
        ):
            parse(["--config", "quick", "--logger", given])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")
    with pytest.raises(ValueError, match=r"^logger mlflow: \w+: "):
        train(*groups(tmp_path / "other", logger="mlflow"))
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ValueError, match=rf"needs {name}; pip install 'foreframe\[{name}\]'"):
            train(*groups(tmp_path / "other", logger=name))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_mlflow_has_numbers_options_pictures_and_scorecards(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    run, options = tmp_path / "run", {"picture_every": 4, "logger": "mlflow", "verbose": False}
    train(*groups(run, epochs=1, **options))
    train(*groups(run, epochs=2, **options, resume=str(run)))
    assert capfd.readouterr() == ("", "")
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("foreframe")
    (found,) = client.search_runs([experiment.experiment_id])  # one, which went on
    name = found.info.run_id
    losses = client.get_metric_history(name, "loss")
    assert [metric.step for metric in losses] == list(range(8))
    mse = [row["scores"]["openstl"]["mse"]["overall"] for row in rows_of(run)]
    logged = client.get_metric_history(name, "val_openstl/mse")
    assert [metric.value for metric in logged] == pytest.approx(mse)
    assert (found.data.params["model"], found.data.params["epochs"]) == ("quick", "1")
    artifacts = next((tmp_path / "mlruns").rglob(f"{name}/artifacts"))
    assert len(list((artifacts / "images").glob("forecast~strip*.png"))) == 3
    with Image.open(artifacts / "forecast" / "gif" / "step-0000008.gif") as gif:
        assert (gif.format, gif.n_frames) == ("GIF", 5)
    card = json.loads((artifacts / "validation" / "step-0000008.json").read_text())
    assert card == rows_of(run)[-1]


@pytest.mark.slow
def test_wandb_has_pictures_and_scorecards(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run, options = tmp_path / "run", {"logger": "wandb", "picture_every": 4, "verbose": False}
    train(*groups(run, epochs=1, **options))
    train(*groups(run, epochs=2, **options, resume=str(run)))
    out, err = capfd.readouterr()
    assert (out, "run" in err) == ("", False)  # a warning about an argument of Lightning's is left
    import wandb

    assert wandb.run is None  # the next training begins another
    parts = sorted((run / "wandb").glob("offline-run-*"))
    names = [part.name.rpartition("-")[2] for part in parts]
    assert names == [json.loads((run / "loggers.json").read_text())["OwnWandb"]] * 2
    for part, pictures in zip(parts, (2, 1), strict=True):
        media = part / "files" / "media"
        assert len(list(media.glob("images/forecast/strip*.png"))) == pictures
        assert len(list(media.glob("videos/forecast/gif*.gif"))) == pictures
        (table,) = (json.loads(file.read_text()) for file in media.glob("table/*.json"))
        assert table["columns"] == ["score", "1", "2"]
        assert "openstl/mse" in [row[0] for row in table["data"]]
