"""The one rule by which documented commands become quick enough for a test: fewer steps, fewer
clips, members and baselines, one process on the CPU; and what is exported is the smallest model.

Flags that come last win, so each verb's are put at the end of every command of that verb, whatever
the model: `--devices 2 --precision 16-mixed`, meant for two GPUs, runs as one process on the CPU.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

STEPS = 1
TRAIN = (
    f"--trainer.limit_train_batches {STEPS} --batch_size 1 --validation_clips 2 "
    "--device cpu --devices 1 --precision auto"
)
SCORE = "--clips 2 --baselines [persistence]"
FEWER = {
    "train": TRAIN,
    "evaluate": SCORE,
    "bench": SCORE,
    "anomalies": "--weights persistence",
}


def fewer(arguments: Sequence[str]) -> list[str]:
    """The arguments of `foreframe`, with what cuts the work behind them."""
    given = list(arguments)
    if given[0] == "export":
        given[1] = "persistence"
    cut = FEWER.get(given[0], "").split()
    if given[0] == "train" and "--help" not in given:
        cut += ["--trainer.max_steps", f"{steps_behind(given) + STEPS}"]
    if "--members" in given and given[given.index("--members") + 1] == "16":
        cut += ["--members", "3"]
    if "--every" in given:  # a tenth of the rolling forecasts
        cut += ["--every", f"{10 * int(given[given.index('--every') + 1])}"]
    return [*given, *cut]


def fewer_in_python(code: str) -> str:
    """An example of a docstring, with fewer minutes or epochs, clips and baselines."""
    code = re.sub(r"\b(?:minutes|epochs)=[\d.]+", "minutes=0.02", code)
    code = re.sub(r"\bclips=\d+", "clips=2", code)
    code = code.replace('weights="dense_motion"', 'weights="persistence"')
    return re.sub(r"(evaluate\([^()\n]+)\)", r"\1, baselines=['persistence'])", code)


def steps_behind(arguments: Sequence[str]) -> int:
    """Steps that the run has taken which `--resume` goes on with, or 0."""
    if "--resume" not in arguments:
        return 0
    import torch

    run = Path(arguments[arguments.index("--resume") + 1])
    step: int = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    return step


def write_shims(folder: Path, called: Path) -> None:
    """Programs for scripts that put FOLDER first on the PATH: foreframe and python only write what
    they are called with, a line of JSON each, at the end of CALLED; there is no pip.
    """
    note = "import json, sys; print(json.dumps(sys.argv[1:]))"
    shims = {
        name: f"""exec "{sys.executable}" -c '{note}' {name} "$@" >> "{called}\""""
        for name in ("foreframe", "python")
    }
    shims["pip"] = "exit 0  # the tests' own environment has all extras, and tests use no network"
    folder.mkdir(parents=True)
    for name, line in shims.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)
