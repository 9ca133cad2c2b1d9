"""Shapes as types are checked here, by jaxtyping's import hook, and nowhere else: as decorators
they would slow every call. Here they double the time of small networks: of tests that run the same
code on frames of the same shapes one has them, the others ask for `without_types`.
"""

import os

from jaxtyping import config, install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:  # all tests, of which some need it
    # Modules that are first imported by one of ours, under the hook, have no cached bytecode: a
    # worker would compile all of Lightning, torchvision and others again.
    import lightning.pytorch  # noqa: F401

install_import_hook(["foreframe", "examples"], "typechecker.checked")

import signal  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

if TYPE_CHECKING:
    from foreframe import Forecaster

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(2)

# In the background of a script Ctrl-C is ignored, and programs that tests start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(os.environ.get("FOREFRAME_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real_data(name: str) -> Path:
    """A file of real data from FOREFRAME_DATA or ../shared/data; the test skips, and says so, where
    it is not there.
    """
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"needs {name} in FOREFRAME_DATA or ../shared/data")
    return path


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of progress among what a slow machine prints."""
    monkeypatch.setattr("foreframe.base.progress.EVERY", 600.0)


@pytest.fixture
def without_types() -> Iterator[None]:
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def clips() -> torch.Tensor:
    """Four small clips of moving digits, (4,20,1,64,64)."""
    from foreframe import MovingMNIST

    return MovingMNIST("test").batch(range(4))


@pytest.fixture
def forecaster() -> "Forecaster":
    """A small recurrent network with the same weights each time."""
    from foreframe import Forecaster, Window
    from foreframe.models import build_model

    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"core": {"convlstm": {"hidden": [8]}}}), Window(5, 5))
