"""From flags, configs and calls to the options of training. A config may be untrusted: it has plain
values under known names.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from foreframe.base.extras import of_package, registered
from foreframe.base.files import check_source, exists
from foreframe.base.schema import Given, brief, converted, put, type_hints, typed
from foreframe.base.untrusted import check_harmless, leaves
from foreframe.base.wording import closest
from foreframe.base.yaml_files import read_yaml
from foreframe.data.data_options import GENERATED, as_published, protocol_of
from foreframe.forecasting.forecast_options import plain_option
from foreframe.training.options import GROUPS, DataOptions, Options

RECIPES = Path(__file__).parents[1] / "configs"
DEFAULT = "default"  # the recipe unless one is named
KINDS = {name: hint for group in GROUPS for name, hint in type_hints(group).items()}
KINDS["data"] = str  # in files


class Chosen(NamedTuple):
    """The options of a training; `explicit` as `explicit_options` returns them."""

    options: Options
    explicit: Given | None


def chosen(configs: Sequence[str], given: Given) -> Chosen:
    """Return the options for recipes or config files and a user's options.

    Raises:
        ValueError: as `options_from`; a data file or folder that does not exist.
    """
    options = options_from(configs, given)
    data = options.data.data
    if isinstance(data, str) and "/" in data:  # no import path has any
        check_source(data)
    return Chosen(options, explicit_options(configs, given))


def named(
    recipe: str | os.PathLike[str] | None, options: Mapping[str, Any]
) -> tuple[list[str], Given]:
    """Return the configs and the options of a call. Mappings change the recipe name by name.

    Raises:
        ValueError: an unknown name, with the closest one.
    """
    given: Given = []
    for name, value in options.items():
        check_option(name, "")
        plain = plain_option(name, value)
        if isinstance(plain, Mapping) and name not in ("data", "scaling"):
            given += [((name, inner), part) for inner, part in plain.items()]
        else:
            given.append(((name,), plain))
    return [] if recipe is None else [os.fspath(recipe)], given


def recipes() -> list[str]:
    """Return the names of recipes, also of installed packages."""
    return sorted({*(path.stem for path in RECIPES.glob("*.yaml")), *registered("recipes")})


def recipe_file(name: str) -> Path:
    """Return the file of a recipe; a package registers the folder."""
    own = RECIPES / f"{name}.yaml"
    return own if own.is_file() else of_package("recipes", name) / f"{name}.yaml"


def explicit_options(configs: Sequence[str], given: Given) -> Given | None:
    """Return the user's options if the default recipe chooses all others from the data. Return None
    with another recipe, a model, a resumed run or generated clips.
    """
    names = {path[0] for path, _ in given}
    data = dict(given).get(("data",), DataOptions.data)
    generated = isinstance(data, str) and data == GENERATED
    if generated or not set(configs) <= {DEFAULT} or names & {"model", "resume"}:
        return None
    return given


def options_from(configs: Sequence[str], given: Given) -> Options:
    """Return the options of training. Later sources take precedence: defaults, a resumed run,
    recipes, the protocol of published data, the user's config files, and `given`.

    Args:
        configs: recipes by name, or files.
        given: the user's options and their values.

    Raises:
        ValueError: an unknown option or an invalid value; a config that cannot be read, or with
            data that only the command line may name.
    """
    values = dict(given)
    resume = values.get(("resume",))
    settings, file = _settings_of(configs, resume, values.get(("data",)))
    changed = put(settings, given)
    names = {inner for path, value in given for inner, _ in leaves(value, path)}
    if resume and any(Path(resume).glob("checkpoints/last*.ckpt")):
        names.add(("weights",))  # which the checkpoint contains
    of_files = [(path, value) for path, value in leaves(changed) if path not in names]
    from_files = "data" in settings and ("data",) not in values
    check_harmless(f"config {file}", from_files, str(settings.get("data")), of_files)
    if resume is None:
        changed.pop("resume", None)  # of a run that was resumed itself
    groups: list[Any] = []
    for group in GROUPS:
        of_group = {o.name: changed[o.name] for o in fields(group) if o.name in changed}
        groups.append(typed(group, of_group, ""))
    return Options(*groups)


def _settings_of(configs: Sequence[str], resume: Any, data: Any) -> tuple[dict[str, Any], str]:
    """Return the options in files, with the protocol of published data, and the last file."""
    settings: dict[str, Any] = {}
    own: dict[str, Any] = {}
    file = ""
    if resume:
        file = str(Path(resume) / "config.yaml")
        if not exists(file):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        settings |= config_settings(file)
        own |= settings
    for config in configs:
        is_recipe = config in recipes() and not exists(config)
        file = str(recipe_file(config)) if is_recipe else config
        found = config_settings(file)
        settings |= found
        own |= {} if is_recipe else found
    data = settings.get("data") if data is None else data
    if protocol_of(data):
        settings |= as_published({**own, "data": data})
    return settings, file


def config_settings(file: str) -> dict[str, Any]:
    """Read the options in a file, which may be untrusted.

    Raises:
        ValueError: no such file, other YAML than plain values, an unknown option, a value of
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
        check_option(name, f"config {file}: ")
        converted(value, KINDS[name], f"config {file}: {name}")
    return settings


def check_option(name: str, where: str) -> None:
    """Check that an option of training has this name.

    Raises:
        ValueError: it has not, with the closest name; the message begins with `where`.
    """
    if name not in KINDS:
        near = closest(name, KINDS) or "see --help-all"
        raise ValueError(f"{where}there is no option {name!r}; {near}")
