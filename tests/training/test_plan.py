"""foreframe plan: counts that are known, and measures that cannot be far off."""

import os
from functools import partial
from pathlib import Path

import pytest

from foreframe.cli import main
from foreframe.models import build_model
from foreframe.training import DataOptions, LearningOptions, MachineOptions, ModelOptions
from foreframe.training.fit import network_for
from foreframe.training.plan import plan

SMALL = {"canvas": 32, "clips": 40, "motion": {"rule": "srivastava", "digit_px": 16}}


def planned(**machine: str):
    options = ModelOptions("tutorial", hidden=4)
    data = DataOptions(data_args=SMALL, past=3, future=2, batch_size=4)
    return plan(partial(network_for, options, 0), data, LearningOptions(), MachineOptions(accelerator="cpu", **machine))


@pytest.mark.parametrize("machine", [{}, {"precision": "bf16-mixed"}, {"memory": "save"}])
def test_counts_are_right_and_measures_are_there(machine) -> None:
    found = planned(**machine)
    assert found.parameters == sum(p.numel() for p in build_model("tutorial", {"hidden": (4, 4)}).parameters())
    encoder, decoder, head = 3 * (16 * 5 + 16 * 8), 2 * (16 * 8 + 16 * 8), 2 * 4
    assert found.multiply_adds == 32 * 32 * 9 * (encoder + decoder + head)
    assert (found.clips, found.batch, found.steps, found.device) == (40, 4, 10, "cpu")
    assert found.step > 0
    assert found.epoch == pytest.approx(10 * (found.step + found.fetch))
    if Path("/proc/self/clear_refs").exists() and os.access("/proc/self/clear_refs", os.W_OK):
        assert found.memory is not None
        assert found.memory >= 0


def test_the_command(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(f"model: tutorial\nhidden: 4\npast: 3\nfuture: 2\nbatch_size: 4\ndata_args: {SMALL}\nepochs: 7\n")
    assert main(["plan", "small.yaml", "--accelerator", "cpu"]) == 0
    said = capsys.readouterr().out
    for told in ("tutorial: ", "parameters", "4 clips", "40 clips, 10 steps", "7 epochs: "):
        assert told in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]
    assert main(["plan", "small.yaml", "--batch_size", "41"]) == 2
    assert "40 training clips do not fill one batch of 41" in capsys.readouterr().err
    assert main(["plan", "none.yaml"]) == 2
    assert main(["plan"]) == 2
    assert main(["plan", "--help"]) == 0
