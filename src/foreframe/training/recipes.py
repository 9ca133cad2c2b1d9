"""From flags, configs and calls to the options of training. A config may be a stranger's: plain
values under names that exist.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from foreframe.base.extras import of_package, registered
from foreframe.base.files import exists
from foreframe.base.schema import Given, brief, converted, put, type_hints, typed
from foreframe.base.untrusted import check_harmless, leaves
from foreframe.base.wording import closest
from foreframe.base.yaml_files import read_yaml
from foreframe.data.data_options import GENERATED, as_published, protocol_of
from foreframe.training.options import GROUPS, DataOptions, Options

RECIPES = Path(__file__).parents[1] / "configs"
DEFAULT = "default"  # the recipe where none is named
KINDS = {name.name: type_hints(group)[name.name] for group in GROUPS for name in fields(group)}
KINDS["data"] = str  # where they have a name


def recipes() -> list[str]:
    """Names of recipes, those of installed packages too; `--config NAME` takes one anywhere."""
    return sorted({*(path.stem for path in RECIPES.glob("*.yaml")), *registered("recipes")})


def recipe_file(name: str) -> Path:
    """The file of a recipe; a package registers the folder."""
    own = RECIPES / f"{name}.yaml"
    return own if own.is_file() else of_package("recipes", name) / f"{name}.yaml"


def explicit_options(configs: Sequence[str], given: Given) -> Given | None:
    """The user's options where the default recipe chooses the rest from the data; None where it
    does not: another recipe or a model is named, a run goes on, or clips are generated.
    """
    named = {path[0] for path, _ in given}
    data = dict(given).get(("data",), DataOptions.data)
    generated = isinstance(data, str) and data == GENERATED
    if generated or not set(configs) <= {DEFAULT} or named & {"model", "resume"}:
        return None
    return [(path, value) for path, value in given if path != ("config",)]


def options_from(configs: Sequence[str], given: Given) -> Options:
    """The options of training: the usual ones, changed by those of a run that is resumed, by
    configs, and by those of a command or a call, in this order. The protocol of published data is
    above recipes, and below a user's own configs.

    Args:
        configs: recipes by name, or files.
        given: each option that a user gave, and its value.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have; a config that
            cannot be read, or names what only the command line may.
    """
    files = [
        config if exists(config) or config not in recipes() else str(recipe_file(config))
        for config in configs
    ]
    ours = {*files} - {*configs}
    if resume := dict(given).get(("resume",)):
        config = Path(resume) / "config.yaml"
        if not exists(config):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        files = [str(config), *files]
    settings: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for file in files:
        settings |= (found := config_settings(file))
        own |= {} if file in ours else found
    named_data = dict(given).get(("data",), settings.get("data"))
    if protocol_of(named_data):
        settings |= as_published({**own, "data": named_data})
    values = put(settings, given)
    named = {inner for path, value in given for inner, _ in leaves(value, path)}
    if resume and any(Path(resume).glob("checkpoints/last*.ckpt")):
        named.add(("weights",))  # what it began with is in there: the name is a record
    of_files = [(path, value) for path, value in leaves(values) if path not in named]
    where, data = f"config {files[-1] if files else ''}", str(settings.get("data"))
    from_files = "data" in settings and ("data",) not in dict(given)
    check_harmless(where, from_files, data, of_files)
    if resume is None:
        values.pop("resume", None)  # of a run that was resumed itself
    groups: list[Any] = []
    for group in GROUPS:
        of_group = {o.name: values[o.name] for o in fields(group) if o.name in values}
        groups.append(typed(group, of_group, ""))
    return Options(*groups)


def config_settings(file: str) -> dict[str, Any]:
    """The options in a file, which may be a stranger's: plain values under names that exist.

    Raises:
        ValueError: no such file, no YAML of plain values, an option that is not there, a value of
            another type.
    """
    try:
        settings = read_yaml(file)
    except OSError as error:
        near = closest(file, recipes())
        raise ValueError(
            f"config {brief(file, quoted=False)} cannot be read: {error.strerror or error}; "
            f"{near and f'{near} These are '}recipes by name: {', '.join(recipes())}"
        ) from None
    for name, value in settings.items():
        if name not in KINDS:
            raise ValueError(f"config {file}: {no_option(name, list(KINDS))}")
        converted(value, KINDS[name], f"config {file}: {name}")
    return settings


def no_option(name: str, names: Sequence[str]) -> str:
    """The words for a name that is no option, with the nearest that is."""
    return f"there is no option {name!r}; {closest(name, names) or 'see --help-all'}"
