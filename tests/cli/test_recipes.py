"""`--config NAME` finds a recipe inside the package, wherever it is run; a file of that name
wins.
"""

import pytest

from foreframe.cli.train import parse
from foreframe.training import DataOptions, ModelOptions
from foreframe.training.recipes import RECIPES


@pytest.mark.parametrize("name", ["quick", "tutorial", "nowcast"])
def test_a_recipe_is_found_by_its_name(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RECIPES.parent.name == "foreframe"  # inside what is installed
    assert parse(["--config", name])[ModelOptions].model == name
    assert parse([f"--config={name}", "--batch_size", "3"])[DataOptions].batch_size == 3


def test_a_file_of_that_name_wins(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").write_text("model: tutorial\n")
    assert parse(["--config", "quick"])[ModelOptions].model == "tutorial"
