"""Without its add-ons foreframe works, and its other tests are found."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewer import SCORE, TRAIN

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
POINTS = PROJECT["entry-points"]


def copied_without_addons(copy: Path) -> None:
    """The project, and beside its source what an installation writes of it."""
    for name in ("src", "tests", "examples", "benchmarks", "docs", "recipe", ".ci", ".github"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    for addon in copy.glob("src/foreframe/addons/*/"):
        shutil.rmtree(addon)
        for room in ("tests/addons", "benchmarks"):
            shutil.rmtree(copy / room / addon.name, ignore_errors=True)
    about = copy / "src" / "foreframe-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreframe\nVersion: 0\n")
    with (about / "entry_points.txt").open("w") as file:
        for group, points in POINTS.items():
            left = [f"{name} = {home}" for name, home in points.items() if ".addons." not in home]
            print(f"[{group}]", *left, sep="\n", file=file)


def run(copy: Path, *words: str, **how: Any) -> str:
    program = [sys.executable, "-m", *words]
    env = os.environ | {"PYTHONPATH": str(copy / "src")}
    return subprocess.run(program, cwd=copy, env=env, check=True, text=True, **how).stdout


@pytest.mark.slow
def test_without_addons(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    copied_without_addons(tmp_path)
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).random((10, 1, 64, 64)))
    shown = run(tmp_path, "foreframe", "--help", stdout=subprocess.PIPE)
    verbs = re.findall(r"^ +(\w+)", shown, re.MULTILINE)
    assert "train" in verbs
    assert not {*verbs} & {*POINTS.get("foreframe.verbs", ())}
    one_step = ("--trainer.max_steps", "1", "--run", "run")
    run(tmp_path, "foreframe", "train", "--config", "quick", *TRAIN.split(), *one_step)
    run(tmp_path, "foreframe", "predict", "run", "clip.npy", "-o", "future.npy")
    run(tmp_path, "foreframe", "evaluate", "run", *SCORE.split())
    run(tmp_path, "foreframe", "export", "run", "-o", "exported")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("--collect-only", marks=pytest.mark.slow),
        pytest.param("--quiet", marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
    ],
)
def test_the_tests_of_the_core(how: str, tmp_path: Path) -> None:
    """All quick ones, but for those of pages, which show add-ons, too."""
    copied_without_addons(tmp_path)
    pages = ("--ignore", "tests/test_readme.py")
    run(tmp_path, "pytest", how, "-m", "not slow and not full", *pages)
