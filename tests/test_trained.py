"""What a stranger's folder, checkpoint or config names is offered in words: nothing is imported,
called or fetched.
"""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.data.data_options import ReadOptions
from foreframe.forecasting.checkpoint_files import write_checkpoint
from foreframe.forecasting.recordings import reading_as_trained
from foreframe.forecasting.trained import Trained, data_of
from foreframe.models import build_model
from foreframe.training import DataOptions
from refusals import parse

SPY = """
from pathlib import Path
Path('imported').touch()
class Kernel:
    def __init__(self, of: int = 3): Path('called').touch()
"""


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a module that leaves a mark when it is imported; calls of the system and of the
    network leave one too.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spy_of_tests.py").write_text(SPY)
    for owner, name in (
        (os, "system"),
        (os, "popen"),
        (socket, "getaddrinfo"),
        (socket.socket, "connect"),
    ):
        monkeypatch.setattr(owner, name, lambda *_, **__: Path("called").touch())
    yield
    sys.modules.pop("spy_of_tests", None)
    assert not Path("imported").exists()
    assert not Path("called").exists()


def saved(**config: Any) -> str:
    Forecaster(build_model("persistence"), Window(2, 2)).save("stranger")
    file = Path("stranger/config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return "stranger"


DATA = [
    "spy_of_tests.Kernel", "http://127.0.0.1:9/rain.zarr", "//127.0.0.1/share/film.npy",
    "simplecache::http://127.0.0.1:9/rain.zarr", "\\\\127.0.0.1\\share\\film.npy",
    "file:///etc/hostname.npy", "/dev/zero", "/", "gone.npy",
]  # fmt: skip
ARGS: list[tuple[str, dict[str, Any]]] = [
    ("os.system", {"command": "touch called"}),
    ("moving_mnist", {"digits": {"source": "mnist", "download": True}}),
    ("moving_mnist_published", {"download": True}),
    ("moving_mnist_published", {"path": "//127.0.0.1/share/mnist_test_seq.npy"}),
]
NAMED = [
    *({"data": data} for data in DATA),
    *({"data": data, "data_args": args} for data, args in ARGS),
]


@pytest.mark.parametrize("named", NAMED)
def test_what_a_file_names_is_offered_in_words(
    named: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text(json.dumps(named))
    for verb in (
        ["evaluate", saved(trained=named), "--clips", "2"],
        ["train", "--config", "run/config.yaml"],
        ["train", "--resume", "run"],
    ):
        assert main(verb) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "the command line alone: if you trust it, give --data" in said


def test_a_checkpoint_is_offered_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    config = Forecaster(
        build_model("persistence"), Window(2, 2), trained=Trained("spy_of_tests.Kernel")
    ).config()
    write_checkpoint(Path("stranger.ckpt"), {"forecaster": config, "state_dict": {}})
    assert main(["evaluate", "stranger.ckpt", "--clips", "2"]) == 2
    assert "stranger.ckpt was trained on 'spy_of_tests.Kernel'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "config",
    [
        "model_args: {kernel: {class_path: spy_of_tests.Kernel, init_args: {of: 3}}}",
        "data_args: {digits: '{class_path: spy_of_tests.Kernel}'}",
        "trainer: {strategy: {class_path: spy_of_tests.Kernel}}",
        "config: other.yaml",
        "model: !!python/object/apply:os.system [touch called]",
        "weights: http://127.0.0.1:9/run",
        "resume: //127.0.0.1/share/run",
        "trainer: {model_registry: stranger/model}",
    ],
)
def test_a_config_imports_nothing(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.yaml").write_text("data: os.system")
    Path("config.yaml").write_text(config)
    assert main(["train", "--config", "config.yaml", "--run", "run", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("run").exists()


def test_the_command_line_may_name_anything() -> None:
    Path("config.yaml").write_text(
        "data: my_clips.Waves\ndata_args: {n: 200, digits: {download: true, root: data}}"
    )
    flags = ["--data", "my_clips.Waves", "--data_args.digits.download", "true"]
    data = parse(["--config", "config.yaml", *flags]).data
    assert (data.data, data.data_args) == (
        "my_clips.Waves",
        {"n": 200, "digits": {"download": True, "root": "data"}},
    )
    trained = Trained("my_clips.Waves", {"n": 200})
    data = data_of(trained, "run", {"data": "my_clips.Waves", "data_args": {"m": 1}})
    assert data == DataOptions("my_clips.Waves", {"n": 200, "m": 1})
    assert data_of(trained, "run", {"data": "other.Clips"}) == DataOptions("other.Clips")


def test_what_is_harmless_needs_no_word() -> None:
    np.save("film.npy", np.zeros((40, 8, 8), np.uint8))
    Path("pictures").mkdir()
    for data in ("moving_mnist", "film.npy", str(Path("film.npy").resolve()), "pictures"):
        how = ReadOptions(every=2)
        assert data_of(Trained(data, reading=how), "run", {}) == DataOptions(data, reading=how)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"data": 3}, "trained.data is a word"),
        ({"data_args": [1]}, "trained.data_args is names and values"),
        ({"frame": [64]}, "trained.frame is a list of length 2"),
        ({"seed": True}, "trained.seed"),
        ({"reading": {"size": "big"}}, "trained.reading.size"),
        ("moving_mnist", "trained is names and values"),
        ({"data_args": {"x": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}, "deep"),
    ],
)
def test_what_describes_a_forecaster_is_checked_on_load(told: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Forecaster.load(saved(trained=told))


def test_free_words_steer_nothing() -> None:
    forecaster = Forecaster.load(
        saved(trained={"data": "moving_mnist"}, about={"data": "os.system", "frame": "wide"})
    )
    assert forecaster.trained == Trained("moving_mnist")
    assert forecaster.about == {"data": "os.system", "frame": "wide"}


def test_a_file_does_not_say_how_much_memory_may_be_taken() -> None:
    trained = {
        "data": "film.mp4",
        "reading": {"budget": 1e9, "size": [8, 8]},
    }
    forecaster = Forecaster.load(saved(trained=trained))
    small = ReadOptions(size=[8, 8])
    assert reading_as_trained(forecaster, "a.mp4", {}) == small
    assert reading_as_trained(forecaster, "a.mp4", {"budget": 2}) == replace(small, budget=2)
    Path("film.mp4").touch()
    assert data_of(forecaster.trained, "it", {}) == DataOptions("film.mp4", reading=small)
