"""From flags, configs and calls to the options of training. A config may be a stranger's: plain
values under names that exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from foreframe.base.files import exists
from foreframe.base.schema import brief, converted, merged, type_hints, typed
from foreframe.base.untrusted import check_harmless, is_remote, leaves
from foreframe.base.wording import closest
from foreframe.base.yaml_files import plain_yaml, read_yaml
from foreframe.clips.data_options import ReadOptions
from foreframe.training.options import GROUPS, DataOptions, MachineOptions, Options

RECIPES = Path(__file__).parents[1] / "configs"
DEFAULT = "default"  # the recipe where none is named
GENERATED = ("moving_mnist", "moving_mnist_published")  # data that need no choices
KINDS = {name.name: type_hints(group)[name.name] for group in GROUPS for name in fields(group)}
KINDS["data"] = str  # where they have a name


def recipes() -> list[str]:
    """Names of the configs in this package; `--config NAME` takes one wherever it is run."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def config_file(given: str) -> str:
    """The config file that is meant: one that is there, or else a recipe of this package by its
    name.

    Raises:
        ValueError: a name that is not there, but resembles a recipe.
    """
    if exists(given) or given not in recipes():
        if not exists(given) and Path(given).stem in recipes():
            raise ValueError(
                f"there is no config {given}; that recipe comes with foreframe: --config "
                f"{Path(given).stem}"
            )
        return given
    return str(RECIPES / f"{given}.yaml")


Given = list[tuple[tuple[str, ...], Any]]  # ("reading", "size"), [96, 128]: an option and its value


def explicit_options(configs: Sequence[str], given: Given) -> Given | None:
    """The user's options where the default recipe chooses the rest from the data; None where it
    does not: another recipe or a model is named, a run goes on, or clips are generated.
    """
    named = {path[0] for path, _ in given}
    data = dict(given).get(("data",), DataOptions.data)
    generated = isinstance(data, str) and data in GENERATED
    if generated or not set(configs) <= {DEFAULT} or named & {"model", "resume"}:
        return None
    return [(path, value) for path, value in given if path != ("config",)]


def options_from(configs: Sequence[str], given: Given) -> Options:
    """The options of training: the usual ones, changed by those of a run that is resumed, by
    configs, and by those of a command or a call, in this order.

    Args:
        configs: recipes by name, or files.
        given: each option that a user gave, and its value.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have; a config that
            cannot be read, or names what only the command line may.
    """
    files = [config_file(config) for config in configs]
    if resume := dict(given).get(("resume",)):
        config = Path(resume) / "config.yaml"
        if not exists(config):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        files = [str(config), *files]
    settings: dict[str, Any] = {}
    for file in files:
        settings |= config_settings(file)
    settings.pop("resume", None)
    check_origin(f"config {files[-1] if files else ''}", settings, [path for path, _ in given])
    values = put(settings, given)
    groups: list[Any] = []
    for group in GROUPS:
        own = {o.name: values[o.name] for o in fields(group) if o.name in values}
        groups.append(typed(group, own, ""))
    return Options(*groups)


def put(values: Any, given: Given) -> Any:
    """`values` with others in them, however deep these lie; a mapping in the place of what is
    none. Parts of a model are changed as `merged` does it.
    """
    for path, value in given:
        values = _put(values, path, value)
    return values


def _put(values: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    inner = dict(values) if isinstance(values, Mapping) else {}
    if path[0] == "model_args" and len(path) > 1:
        args, part = inner.get("model_args") or {}, path[1]
        change = merged(args.get(part), _put({}, path[2:], value))
        return inner | {"model_args": {**args, part: change}}
    return inner | {path[0]: _put(inner.get(path[0]), path[1:], value)}


def of_kind(kind: Any, given: Any, where: str) -> Any:
    """What a flag says, as a value of a type.

    Args:
        kind: the type.
        given: text, which is YAML unless the option is a word.
        where: how messages name it.

    Raises:
        ValueError: not YAML, or another type.
    """
    if kind in (Any, str, str | None) and isinstance(given, str):
        return None if given == "null" and kind is not str else given
    value = plain_yaml(given, where) if isinstance(given, str) else given
    try:
        converted(value, kind, where)
    except ValueError:
        if isinstance(value, list | dict) or not isinstance(given, str):
            raise
        try:  # a name that looks like a number
            return converted(given, kind, where)
        except ValueError:
            pass
        raise
    return value


def config_settings(file: str) -> dict[str, Any]:
    """The options in a file, which may be a stranger's: plain values under names that exist, and
    nothing that lies on another machine.

    Raises:
        ValueError: no such file, no YAML of plain values, an option that is not there, a URL.
    """
    try:
        settings = read_yaml(file)
    except OSError as error:
        near = closest(file, recipes())
        names = f"recipes by name: {', '.join(recipes())}"
        known = "" if exists(file) else f"; {near and f'{near} These are '}{names}"
        raise ValueError(
            f"config {brief(file, quoted=False)} cannot be read: {error.strerror or error}{known}"
        ) from None
    for name, value in settings.items():
        if name == "config":
            raise ValueError(f"config {file} names another config; give both on the command line")
        if name not in KINDS:
            raise ValueError(f"config {file}: {no_option(name, list(KINDS))}")
        converted(value, KINDS[name], f"config {file}: {name}")
        for path, text in leaves(value, (name,)):
            if name not in ("data", "data_args") and isinstance(text, str) and is_remote(text):
                raise ValueError(
                    f"config {file}: {'.'.join(path)} {brief(text)} lies elsewhere; that comes "
                    "from the command line alone"
                )
    return settings


def check_origin(where: str, settings: Mapping[str, Any], given: Sequence[Sequence[str]]) -> None:
    """What a config names may be a stranger's: imports, URLs, downloads and larger budgets come
    from the command line, or a call, alone.

    Args:
        where: what the config is called.
        settings: its options.
        given: the names that lead to each option that was given beside it.

    Raises:
        ValueError: any of these in a config; the message has the flag that allows it.
    """
    args = {} if ("data_args",) in given else dict(settings.get("data_args") or {})
    for path in given:
        if path[0] == "data_args":
            args = _without(args, path[1:])
    reading = settings.get("reading") or {}
    for name, budget, usual in (
        ("budget", settings.get("budget", 0.0), MachineOptions.budget),
        ("reading.budget", reading.get("budget", 0.0), ReadOptions.budget),
    ):
        if budget > usual and tuple(name.split(".")) not in given:
            raise ValueError(
                f"{where}: a larger budget comes from the command line alone: --{name} {budget:g}"
            )
    named = "data" in settings and ("data",) not in given
    check_harmless(where, named, str(settings.get("data")), args)


def _without(values: Any, path: Sequence[str]) -> Any:
    if not isinstance(values, Mapping) or not path:
        return values
    rest = {name: value for name, value in values.items() if name != path[0]}
    if len(path) == 1 or path[0] not in values:
        return rest
    return rest | {path[0]: _without(values[path[0]], path[1:])}


def no_option(name: str, names: Sequence[str]) -> str:
    """The words for a name that is no option, with the nearest that is."""
    return f"there is no option {name!r}; {closest(name, names) or 'see --help'}"
