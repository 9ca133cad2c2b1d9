"""What is handed out says the same as pyproject.toml."""

import re
import tomllib
from pathlib import Path

import yaml

import foreframe

ROOT = Path(__file__).parents[1]
OTHERWISE = {  # names on conda-forge
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "cf-xarray": "cf_xarray",
    "docstring-parser": "docstring_parser",
}


def test_the_conda_recipe_has_the_version_and_the_dependencies() -> None:
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [re.split(r"(?=[<>])", line, maxsplit=1) for line in project["dependencies"]]
    expected = {f"{OTHERWISE.get(name, name.lower())} {bounds}" for name, bounds in needed}
    assert set(recipe["requirements"]["run"][1:]) == expected
    assert recipe["context"]["version"] == foreframe.__version__


def test_workflows_try_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    for job in ("tests", "installed"):
        assert workflow["jobs"][job]["strategy"]["matrix"]["python"] == promised


def test_the_documentation_lists_every_extra_of_a_user() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    table = page.partition("\n## Extras\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == {*project["optional-dependencies"]} - {"test", "docs", "lint", "dev"}
