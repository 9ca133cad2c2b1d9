"""The class of docs/integrations.md that adapts networks to mlcast, read from the page."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from foreframe.models import build_model

PAGE = Path(__file__).parents[1] / "docs" / "integrations.md"
DRAWS = {"of": "linear_motion"}  # of a network that draws members


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file of the page, by its name, imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for file, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / f"{file}.py").write_text(code)

    def imported(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return imported


def batches() -> list[dict[str, torch.Tensor]]:
    """As mlcast's datasets have them, -1 to 1."""
    rain = 2 * torch.rand(2, 2, 6, 1, 32, 32) - 1
    return [{"input": clip[:, :3], "target": clip[:, 3:]} for clip in rain]


def test_a_network_is_one_of_mlcasts(page: Any) -> None:
    """Members lie on the channels' axis, and -1 to 1 there is 0 to 1 here."""
    network = page("mlcast_network").Network("persistence")
    past = batches()[0]["input"]
    future = network(past, steps=4, ensemble_size=3)
    torch.testing.assert_close(future, past[:, -1:].expand(-1, 4, 3, -1, -1))
    drawn = page("mlcast_network").Network("dressed", **DRAWS)
    several = drawn(past, steps=2, ensemble_size=3)
    assert several.shape == (2, 2, 3, 32, 32)
    assert several.std(dim=2).amax(dim=(1, 2, 3)).min() > 0  # of each clip
    several.mean().backward()
    assert drawn.model.state_dict().keys() == build_model("dressed", DRAWS).state_dict().keys()


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # their own
def test_mlcast_trains_it(page: Any, tmp_path: Path) -> None:
    module = pytest.importorskip("mlcast.nowcasting_module")
    lightning = importlib.import_module("pytorch_lightning")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    for name, args, loss, members in (("quick", {}, "mse", 1), ("dressed", DRAWS, "crps", 2)):
        network = page("mlcast_network").Network(name, **args)
        before = [weight.clone() for weight in network.parameters()]
        trained = module.NowcastLightningModule(network, ensemble_size=members, loss_class=loss)
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet)
        trainer.fit(trained, batches(), batches())
        assert any((a != b).any() for a, b in zip(before, network.parameters(), strict=True))
    rain = 5 * torch.rand(3, 32, 32)
    mm_per_hour = trained.predict(rain, forecast_steps=4, ensemble_size=3)
    assert mm_per_hour.shape == (3, 4, 32, 32)
    assert np.isfinite(mm_per_hour).all()
