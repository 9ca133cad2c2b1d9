"""Forecasters on the Hugging Face Hub, against a stand-in on this machine: no network."""

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.models import build_model
from hub_standin import TOKEN, Hub

PAST = np.random.default_rng(0).random((3, 1, 16, 16), dtype=np.float32)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """A Hub, with a token for it, and an empty cache."""
    from huggingface_hub import constants

    with Hub() as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        files = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            "ENDPOINT": server.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": files,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()


@pytest.fixture
def forecaster(tmp_path: Path) -> Forecaster:
    network = build_model("quick", {"channels": 1, "core": {"convlstm": {"hidden": [4, 4]}}})
    about = {"title": "Rain", "license": "mit", "scores": {"MSE": 1.5}}
    (tmp_path / "calibration.json").write_text("{}")  # an add-on's file
    return Forecaster(network, Window(3, 2), about=about, folder=tmp_path)


def test_there_and_back(hub: Hub, forecaster: Forecaster, tmp_path) -> None:
    address = forecaster.push_to_hub("hf://me/rain")
    first = hub.branches["me/rain"]["main"]
    assert address == f"{hub.address}/me/rain/commit/{first}"
    saved = {path.name: path.read_bytes() for path in forecaster.save(tmp_path / "own").iterdir()}
    assert hub.commits[first] == saved
    from huggingface_hub import ModelCard

    card = ModelCard(saved["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("mit", "foreframe")
    assert [(r.metric_type, r.metric_value) for r in card.data.eval_results] == [("MSE", 1.5)]
    hub.asked.clear()
    expected = Forecaster.load(tmp_path / "own").predict(PAST, 2)
    assert not hub.asked  # the network is for names of the Hub
    again = Forecaster.load("hf://me/rain")
    np.testing.assert_array_equal(again.predict(PAST, 2), expected)
    assert (again.folder / "calibration.json").read_text() == "{}"
    with torch.no_grad():
        next(forecaster.model.parameters()).add_(1)
    forecaster.push_to_hub("hf://me/rain@v2")
    assert hub.branches["me/rain"]["main"] == first
    changed = Forecaster.load("hf://me/rain@v2").predict(PAST, 2)
    assert not np.allclose(changed, expected)
    hub.shutdown()
    hub.server_close()
    kept = Forecaster.load("hf://me/rain")  # what was downloaded before
    np.testing.assert_array_equal(kept.predict(PAST, 2), expected)
    with pytest.raises(ValueError, match="hf://me/wind cannot be reached: LocalEntryNotFoundError"):
        Forecaster.load("hf://me/wind")
    with pytest.raises(ValueError, match="hf://me/rain cannot be reached: ConnectError"):
        forecaster.push_to_hub("hf://me/rain")


def test_what_the_hub_has_not_or_does_not_give(hub, forecaster, tmp_path, monkeypatch) -> None:
    def refused(name: str, why: str) -> None:
        with pytest.raises(ValueError, match=f"^{name} {why}"):
            Forecaster.load(name)

    files = {path.name: path.read_bytes() for path in forecaster.save(tmp_path / "own").iterdir()}
    weights = files.pop("model.safetensors")
    hub.commit("me/pickled", files | {"model.ckpt": weights, "pytorch_model.bin": weights})
    hub.commit("they/bert", {"config.json": b'{"vocab_size": 3}', "model.safetensors": weights})
    nothing = "does not exist, or needs permission: check its name and revision; .* or HF_TOKEN"
    refused("hf://me/wind", nothing)
    refused("hf://me/pickled@v3", nothing)
    refused("hf://me/pickled", "has no model.safetensors: .* pickled weights, are never opened")
    assert not [line for line in hub.asked if ".ckpt" in line or ".bin" in line]
    refused("hf://they/bert", "does not hold a foreframe model: config takes no argument 'vocab_s")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match=f"hf://me/rain {nothing}"):
        forecaster.push_to_hub("hf://me/rain")
    hub.asked.clear()
    refused("hf://rain", "is not hf://USER/NAME")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused("hf://me/rain", r"needs huggingface_hub; pip install 'foreframe\[hub\]'")
    assert not hub.asked


@pytest.mark.slow
def test_names_of_the_hub_are_names_of_forecasters(
    hub: Hub, forecaster: Forecaster, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    forecaster.push_to_hub("hf://me/rain")
    np.save("clip.npy", np.concatenate([PAST] * 28))
    train = "--past 3 --future 2 --batch_size 4 --device cpu --picture_every 0 --run run"
    args = "--model quick --model_args.core.convlstm.hidden [4,4] --trainer.max_steps 1"
    for words in (
        "predict hf://me/rain clip.npy -o future.npy",
        "evaluate hf://me/rain --data clip.npy --clips 2",
        f"train --data clip.npy {train} {args} --weights hf://me/rain",
        "train --resume run --trainer.max_steps 2",  # whose weights are in its checkpoint
    ):
        assert main(words.split()) == 0, words
    assert Path("runs/rain/evaluation-clip/scorecard.json").is_file()
    assert not Path("hf:").exists()
    hub.asked.clear()
    assert main(["train", "--config", "run/config.yaml", "--run", "other"]) == 2
    assert "'hf://me/rain'; downloads, larger budgets" in capsys.readouterr().err
    assert not hub.asked  # what a file names is not downloaded
