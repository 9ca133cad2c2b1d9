"""foreframe plan: counts that are known, and measures that cannot be far off."""

import os
from pathlib import Path

import pytest

from foreframe.cli import main
from foreframe.models import build_model
from foreframe.training import DataOptions, LearningOptions, MachineOptions, ModelOptions
from foreframe.training.planning import plan

SMALL = {"canvas": 32, "clips": 40, "motion": {"rule": "srivastava", "digit_px": 16}}


def planned(hidden: int = 4, **machine: str):
    options = ModelOptions("tutorial", hidden=hidden)
    data = DataOptions(data_args=SMALL, past=3, future=2, batch_size=4)
    return plan(options, data, LearningOptions(), MachineOptions(device="cpu", **machine))


@pytest.mark.parametrize(
    "machine", [{"precision": "64-true"}, {"precision": "bf16-mixed", "memory": "save"}]
)
def test_counts_are_right_and_measures_are_there(machine) -> None:
    found = planned(**machine)
    assert found.parameters == sum(
        p.numel()
        for p in build_model("tutorial", {"core": {"convlstm": {"hidden": [4, 4]}}}).parameters()
    )
    encoder, decoder, head = 3 * (16 * 5 + 16 * 8), 2 * (16 * 8 + 16 * 8), 2 * 4
    assert found.multiply_adds == 32 * 32 * 9 * (encoder + decoder + head)
    assert (found.clips, found.batch, found.steps, found.device) == (40, 4, 10, "cpu")
    assert found.step > 0
    assert found.epoch == pytest.approx(10 * (found.step + found.fetch))


@pytest.mark.full
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks of memory are read from Linux"
)
def test_memory_holds_gradients_the_optimizers_state_and_what_is_kept_of_every_step() -> None:
    found = planned(hidden=32)
    assert found.memory is not None
    # Of a cell and step: 4 clips, the gates and c, in float32.
    gates = 4 * 32 * 32 * (4 + 1) * 32 * 4
    # 2 cells, 5 steps; gradients, Adam's two moments.
    assert found.memory > (3 * 4 * found.parameters + 10 * gates) / 2**20


def test_what_training_refuses_plan_refuses_too() -> None:
    data = DataOptions(data_args=SMALL, past=3, future=2, batch_size=4)
    model, tpu = ModelOptions("quick", hidden=4), MachineOptions(device="tpu")
    loss = LearningOptions(loss="cross_entropy")
    with pytest.raises(ValueError, match="cross_entropy needs forecasts"):
        plan(model, data, loss, MachineOptions(device="cpu"))
    with pytest.raises(ValueError, match="refuses these settings"):
        plan(model, data, LearningOptions(), tpu)


def test_the_command(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(
        "model: tutorial\nhidden: 4\npast: 3\nfuture: 2\nbatch_size: 4\ndata_args: "
        f"{SMALL}\nepochs: 7\n"
    )
    assert main(["plan", "small.yaml", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for told in ("tutorial: ", "parameters", "4 clips", "40 clips, 10 steps", "7 epochs: "):
        assert told in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]
    assert main(["plan", "small.yaml", "--batch_size", "41"]) == 2
    assert "40 training clips do not fill one batch of 41" in capsys.readouterr().err
    assert main(["plan", "none.yaml"]) == 2
    assert main(["plan"]) == 2
    assert main(["plan", "--help"]) == 0
