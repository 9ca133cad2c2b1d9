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
    for name in ("src", "tests", "examples", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
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


@pytest.mark.slow
def test_without_addons(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    copied_without_addons(tmp_path)
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).random((10, 1, 64, 64)))

    def run(*words: str, **how: Any) -> str:
        program = [sys.executable, "-m", *words]
        env = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
        return subprocess.run(program, cwd=tmp_path, env=env, check=True, text=True, **how).stdout

    shown = run("foreframe", "--help", stdout=subprocess.PIPE)
    verbs = re.findall(r"^ +(\w+)", shown, re.MULTILINE)
    assert "train" in verbs
    assert not {*verbs} & {*POINTS.get("foreframe.verbs", ())}
    of_all_pages = ("--ignore", "tests/test_readme.py")
    run("pytest", "--collect-only", "-m", "not slow and not full", *of_all_pages)
    one_step = ("--trainer.max_steps", "1", "--run", "run")
    run("foreframe", "train", "--config", "quick", *TRAIN.split(), *one_step)
    run("foreframe", "predict", "run", "clip.npy", "-o", "future.npy")
    run("foreframe", "evaluate", "run", *SCORE.split())
    run("foreframe", "export", "run", "-o", "exported")
