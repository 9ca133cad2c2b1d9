"""The classes of docs/frameworks.md by which mlcast and earth2studio take our networks, read from
the page. Where these packages are installed, they take them; a protocol of the same shape always.
"""

import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Scaling, Window
from foreframe.models import build_model

PAGE = Path(__file__).parents[1] / "docs" / "frameworks.md"
GRID = {"lat": np.linspace(50, 49, 24), "lon": np.linspace(6, 8, 32)}
HOUR = np.timedelta64(1, "h")


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
    drawn = page("mlcast_network").Network("svg_small")
    several = drawn(past, steps=2, ensemble_size=3)
    assert several.shape == (2, 2, 3, 32, 32)
    assert several.std(dim=2).amax(dim=(1, 2, 3)).min() > 0  # of each clip
    several.mean().backward()
    assert drawn.model.state_dict().keys() == build_model("svg_small").state_dict().keys()


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # their own
def test_mlcast_trains_it(page: Any, tmp_path: Path) -> None:
    module = pytest.importorskip("mlcast.nowcasting_module")
    lightning = importlib.import_module("pytorch_lightning")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    for name, loss, members in (("quick", "mse", 1), ("svg_small", "crps", 2)):
        network = page("mlcast_network").Network(name)
        before = [weight.clone() for weight in network.parameters()]
        trained = module.NowcastLightningModule(network, ensemble_size=members, loss_class=loss)
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet)
        trainer.fit(trained, batches(), batches())
        assert any((a != b).any() for a, b in zip(before, network.parameters(), strict=True))
    rain = 5 * torch.rand(3, 32, 32)
    mm_per_hour = trained.predict(rain, forecast_steps=4, ensemble_size=3)
    assert mm_per_hour.shape == (3, 4, 32, 32)
    assert np.isfinite(mm_per_hour).all()


@runtime_checkable
class Shape(Protocol):
    """What earth2studio asks a model for."""

    def __call__(self, x: torch.Tensor, coords: Any) -> Any: ...
    def create_iterator(self, x: torch.Tensor, coords: Any) -> Any: ...
    def input_coords(self) -> Any: ...
    def output_coords(self, input_coords: Any) -> Any: ...
    def to(self, device: Any) -> Any: ...


@pytest.fixture
def prognostic(page: Any) -> Any:
    forecaster = Forecaster(
        build_model("quick", {"channels": 2, "core": {"convlstm": {"hidden": [8]}}}),
        Window(past=3, future=2),
        Scaling(250, 310, "K"),
    )
    return page("earth2studio_model").Prognostic(forecaster, ["t2m", "t850"], HOUR, GRID)


def given(model: Any, **outer: Any) -> tuple[torch.Tensor, Any]:
    """Frames of the past, and their coordinates, after those of what lies outside."""
    coords = OrderedDict(outer | model.input_coords())
    coords.pop("batch")
    return 270 + 20 * torch.rand([len(values) for values in coords.values()]), coords


def test_a_forecaster_is_a_prognostic_model(prognostic: Any) -> None:
    assert isinstance(prognostic, Shape)
    assert prognostic.to("cpu") is prognostic
    times = np.array(["2026-07-01T12", "2026-07-02T00"], "datetime64[ns]")
    x, coords = given(prognostic, ensemble=np.arange(2), time=times)
    ahead = prognostic.create_iterator(x, coords)
    steps = [next(ahead) for _ in range(6)]  # further than it was trained for
    assert [at["lead_time"] for _, at in steps] == [k * HOUR for k in range(6)]
    for frames, at in steps:
        assert frames.shape == tuple(map(len, at.values())) == (2, 2, 1, 2, 24, 32)
        assert list(at) == ["ensemble", "time", "lead_time", "variable", "lat", "lon"]
    torch.testing.assert_close(steps[0][0], x[:, :, -1:])
    own = torch.cat([frames for frames, _ in steps[1:3]], dim=2)
    torch.testing.assert_close(own[1, 0], prognostic.forecaster.predict(x[1, 0], 2))
    one, at = prognostic(x, coords)
    torch.testing.assert_close(one, steps[1][0])
    later = OrderedDict(coords) | {"lead_time": coords["lead_time"] + 5 * HOUR}
    assert prognostic(x, later)[1]["lead_time"] == 6 * HOUR
    single, at = prognostic(x[0, 0], given(prognostic)[1])  # none outside
    torch.testing.assert_close(single, one[0, 0])
    with pytest.raises(ValueError, match="lat is not what the forecaster was given for"):
        prognostic(x, coords | {"lat": GRID["lat"][::-1]})


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # their own
def test_earth2studio_runs_it(prognostic: Any) -> None:
    run = pytest.importorskip("earth2studio.run")
    px = importlib.import_module("earth2studio.models.px")
    assert isinstance(prognostic, px.PrognosticModel)
    utils = importlib.import_module("earth2studio.utils")
    wanted = prognostic.input_coords()
    for k, name in enumerate(wanted):
        utils.handshake_dim(wanted, name, k)
        utils.handshake_coords(prognostic.output_coords(wanted), wanted, "variable")
    random = importlib.import_module("earth2studio.data").Random(OrderedDict(GRID))
    files = importlib.import_module("earth2studio.io").KVBackend()
    days = ["2026-07-01", "2026-07-02"]
    kelvin = lambda time, variable: 280 + 4 * random(time, variable)  # noqa: E731
    run.deterministic(days, 3, prognostic, kelvin, files, device=torch.device("cpu"))
    assert files["t850"].shape == (2, 4, 24, 32)
    np.testing.assert_array_equal(files.coords["lead_time"], np.arange(4) * HOUR)
    assert np.isfinite(np.asarray(files["t2m"])).all()
