"""What was trained with a preset before that changed stays what it was: folder, forecasts, next
step.
"""

from pathlib import Path

import torch
import yaml

from foreframe import Forecaster
from foreframe.models import build_model
from foreframe.training.fit import train
from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)


def test_openstl_now_adds_no_offset() -> None:
    assert build_model("openstl").args["core"]["convlstm"]["forget_bias"] == 0.0


def trained(run: Path, model: ModelOptions, steps: int, resume: bool = False) -> dict:
    train(
        model,
        DataOptions(
            data_args={"canvas": 40, "clips": 16},
            past=2,
            future=2,
            batch_size=4,
            validation_clips=2,
        ),
        LearningOptions(epochs=9),
        MachineOptions(device="cpu", devices=1, trainer={"max_steps": steps}),
        RunOptions(
            run=None if resume else str(run), resume=str(run) if resume else None, picture_every=0
        ),
    )
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_of_openstl_with_the_offset_goes_on_with_it(tmp_path: Path) -> None:
    """Such a run's config.yaml names the preset alone, and its checkpoints name the offset too."""
    run, by_hand = tmp_path / "run", {"gates": {"forget_bias": 1.0}}
    trained(run, ModelOptions("openstl", hidden=3, model_args=by_hand), 2)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"model_args": {}}, sort_keys=False))
    gone_on = trained(run, ModelOptions("openstl", hidden=3), 4, resume=True)
    whole = trained(tmp_path / "whole", ModelOptions("openstl", hidden=3, model_args=by_hand), 4)
    assert gone_on["global_step"] == 4
    assert gone_on["forecaster"]["args"]["core"]["convlstm"]["forget_bias"] == 1.0
    for name, value in whole["state_dict"].items():
        assert torch.equal(gone_on["state_dict"][name], value), name
    forecaster = Forecaster.load(run)
    assert {cell.forget_bias for cell in forecaster.model.encoder.cells} == {1.0}
    again = Forecaster.load(forecaster.save(tmp_path / "saved"))
    past = torch.rand(3, 1, 40, 40)
    assert torch.equal(again.predict(past, 2), forecaster.predict(past, 2))
    plain = build_model("openstl", {"core": {"convlstm": {"hidden": [3, 3, 3, 3]}}})
    plain.load_state_dict(forecaster.model.state_dict())
    assert not torch.equal(plain(past[None], 2)[0], forecaster.predict(past, 2))
