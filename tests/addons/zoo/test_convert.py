"""What `foreframe convert` takes and refuses; test_originals.py has every model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import foreframe
from foreframe.addons.zoo.originals import ORIGINALS
from foreframe.cli import main
from foreframe.models import build_model
from refusals import refused

ARGS = {"frames": 2, "spatial": 8, "temporal": 16, "blocks": 2}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a checkpoint whose names are ours, of the preset `tau`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ORIGINALS, "tau", lambda theirs, network: dict(theirs))
    weights = build_model("tau", ARGS).state_dict()
    save_file(weights, "weights.safetensors")
    torch.save(weights, "weights.pt")
    torch.save({"state_dict": weights, "run": Path("here")}, "objects.ckpt")
    torch.save([1.0], "list.pt")
    torch.save(weights | {"more": torch.zeros(1).expand(10**12)}, "repeated.pt")
    Path("text.pt").write_text("weights")
    Path("cut.pt").write_bytes(Path("weights.pt").read_bytes()[:-999])


@pytest.mark.parametrize("file", ["weights.pt", "weights.safetensors"])
def test_it_forecasts(file: str, capsys) -> None:
    words = [f"--model_args.{name}={value}" for name, value in ARGS.items()]
    assert main(["convert", file, "--model", "tau", *words, "-o", "tau", "--past", "4"]) == 0
    assert "10 frames from 4, values of 0 to 1" in capsys.readouterr().out
    clip = np.random.default_rng(0).random((5, 1, 12, 16), dtype=np.float32)
    np.save("clip.npy", clip)
    assert main(["predict", "tau", "clip.npy", "-o", "future.npy", "--steps", "3"]) == 0
    again = foreframe.convert(file, "again", model="tau", model_args=ARGS, past=4)
    np.testing.assert_allclose(np.load("future.npy"), again.predict(clip, 3), atol=1e-6)


@pytest.mark.parametrize(
    ("file", "more", "told"),
    [
        ("objects.ckpt", [], "save the weights alone"),
        ("text.pt", [], "is no file of torch.save"),
        ("cut.pt", [], "cannot be read as a checkpoint"),
        ("list.pt", [], "holds no weights by name"),
        ("repeated.pt", [], "weight 'more' is not held in full"),
        ("none.pt", [], "there is no file or folder none.pt"),
        ("weights.pt", ["--model", "simvp_small"], "no original of 'simvp_small' is known"),
        ("weights.pt", ["--model_args.spatial=16"], "do the model's arguments fit?"),
        ("weights.pt", ["--past", "0"], "past must be at least 1"),
        ("weights.pt", ["-o", "full"], "output full exists"),
    ],
)
def test_what_is_refused(file: str, more: list[str], told: str, capsys) -> None:
    Path("full").mkdir()
    Path("full/of").touch()
    words = [f"--model_args.{name}={value}" for name, value in ARGS.items()]
    assert told in refused(capsys, "convert", file, "--model", "tau", *words, "-o", "tau", *more)
    assert not Path("tau").exists()
