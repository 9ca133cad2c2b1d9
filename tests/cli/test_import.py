"""`--import`: models and parts of a user's own from the command line, which alone may name them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe.cli import main, module_of, verbs
from foreframe.models import CORES, MODELS
from refusals import refused

OWN = """
from foreframe.models import CORES, MODELS, Persistence
from foreframe.models import ConvLSTM
class Mine(ConvLSTM): "A core."
class Still(Persistence): "A model."
CORES["mine"], MODELS["still"] = Mine, Still
"""
HINT = "unknown here; install its package, or name its module by --import MODULE (in Python"
HIDDEN = ("--model_args.core.mine.hidden", "[8]")
TINY = "--config quick --past 3 --future 3 --batch_size 2 --validation_clips 2 --device cpu"


def forget() -> None:
    CORES.pop("mine", None)
    MODELS.pop("still", None)
    sys.modules.pop("own_parts", None)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder in which commands run."""
    (tmp_path / "own_parts.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    forget()


@pytest.mark.parametrize("verb", [*verbs(), "data check"])
def test_every_verb_takes_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    named, *check = verb.split()
    module = module_of(named)
    shown = (module.check_parser() if check else module.parser()).help(False).splitlines()
    assert len([line for line in shown if line.startswith("  --import ")]) == 1
    line = "foreframe: --import broken: cannot import it (ZeroDivisionError: division by zero)\n"
    assert refused(capsys, named, *check, "--import", "broken") == line
    assert "ModuleNotFoundError" in refused(capsys, named, *check, "--import=nowhere")
    assert main([named, *check, "--help", "--import", "broken"]) == 2 * (verb == "train")


@pytest.mark.slow
def test_a_core_of_ones_own_trains_and_is_used(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("clip.npy", np.zeros((10, 1, 40, 40), np.float32))
    tiny = [*TINY.split(), "--data_args.canvas", "40", "--run", "mine"]
    train = ["train", *tiny, *HIDDEN, "--trainer.max_steps", "2"]
    predict = ["predict", "mine", "clip.npy", "-o", "future.npy"]
    assert "core 'mine' is unknown; choose convlstm" in refused(capsys, *train)
    assert main([*train, "--import", "own_parts"]) == 0
    assert "own_parts" not in Path("mine/config.yaml").read_text()
    forget()
    for words in (["evaluate", "mine", "--clips", "2"], predict):
        assert f"mine/checkpoints/last.ckpt needs core 'mine', which is {HINT}" in refused(
            capsys, *words
        )
        assert main([words[0], "--import", "own_parts", *words[1:]]) == 0
        forget()
    assert np.load("future.npy").shape == (3, 1, 40, 40)
