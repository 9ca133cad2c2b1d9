"""The README runs: its Python, and every foreframe command in it, on a small run that stands in for the demo's."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreframe.cli import main
from foreframe.cli.options import recipes
from foreframe.cli.train import parse
from foreframe.training import DataOptions, LearningOptions, MachineOptions, ModelOptions, RunOptions
from foreframe.training.fit import fit
from foreframe.visuals import write_mp4

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str = README) -> list[list[str]]:
    lines = [line.split("#")[0].strip() for block in blocks("bash", text) for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("foreframe ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """runs/demo, trained for a moment."""
    folder = tmp_path_factory.mktemp("readme")
    fit(
        ModelOptions(hidden=8),
        DataOptions(batch_size=4, validation_clips=4, data_args={"clips": 8}),
        LearningOptions(epochs=1),
        MachineOptions(accelerator="cpu", devices=1),
        RunOptions(run=str(folder / "runs" / "demo"), picture_every=0),
    )
    return folder


def test_the_readme_runs_from_top_to_bottom(folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    python = blocks("python")
    assert len(python) == 2
    (Path("my_clips.py")).write_text(python[1])
    write_mp4("film.mp4", np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8), 10)  # the reader's own
    ran = set()
    for arguments in commands():
        ran.add(arguments[0])
        if arguments[0] == "train" and "my_clips.Waves" in arguments:
            quick = ["--accelerator", "cpu", "--hidden", "8", "--trainer.max_steps", "2", "--validation_clips", "4"]
            assert main([*arguments, *quick]) == 0
        elif arguments[0] == "train":
            assert parse(arguments[1:])  # every option and config is there; the training itself would take hours
        else:
            assert main(arguments) == 0, capsys.readouterr().err
    assert ran == {"plan", "train", "evaluate", "models", "data", "predict", "stream"}
    assert Image.open("future.gif").n_frames == 35
    exec(compile(python[0], "README.md", "exec"), {})
    assert Path("my-forecaster/model.safetensors").exists()
    sys.modules.pop("my_clips", None)


@pytest.mark.parametrize("page", DOCS, ids=[page.name for page in DOCS])
def test_the_docs_run(page: Path, folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", text, flags=re.DOTALL):
        if language == "python":
            exec(compile(block, page.name, "exec"), {})
        else:
            for arguments in commands(f"```bash\n{block}```"):
                assert main(arguments) == 0


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("config", recipes())
def test_recipes_train(config: str, tmp_path) -> None:
    """Each recipe names its own preset and takes its first steps, with fewer channels and clips than it has."""
    options = parse(["--config", config])
    assert options[ModelOptions].model == config
    if config == "tutorial":  # the knobs that the tutorial promised
        learning, data = options[LearningOptions], options[DataOptions]
        assert (learning.learning_rate, learning.beta_1, learning.beta_2, learning.epochs) == (1e-4, 0.9, 0.98, 300)
        assert (data.batch_size, data.past, data.future) == (12, 10, 10)
    fewer = ["--model_args.temporal", "16", "--model_args.spatial", "8"] if "simvp" in config else ["--hidden", "4"]
    small = [*fewer, "--batch_size", "2", "--data_args.clips", "8", "--validation_clips", "2", "--trainer.max_steps", "4"]
    where = ["--accelerator", "cpu", "--devices", "1", "--run", str(tmp_path / "run")]
    assert main(["train", "--config", config, *small, *where]) == 0
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
