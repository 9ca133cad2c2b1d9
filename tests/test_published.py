"""The weights that come with foreframe: there at once, small, and what their card says."""

from pathlib import Path

import pytest

from foreframe import Forecaster
from foreframe.models import build_model
from foreframe.models.names import published, weights_folder


def test_they_are_small_enough() -> None:
    folders = [weights_folder(name) for name in published()]
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 7.2e6


@pytest.mark.parametrize("name", [*published()[:1], "mean"])
def test_a_name_means_what_comes_with_foreframe(name: str, tmp_path: Path, monkeypatch) -> None:
    """A note says how to name the folder of that name; a `Path` is a folder."""
    monkeypatch.chdir(tmp_path)
    Forecaster(build_model("persistence")).save(name)
    with pytest.warns(UserWarning, match=rf"\./{name} is the file or folder here"):
        named = Forecaster.load(name)
    assert type(named.model).__name__ != "Persistence"
    for what in (f"./{name}", Path(name)):
        assert type(Forecaster.load(what).model).__name__ == "Persistence"
