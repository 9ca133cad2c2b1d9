"""Recipes by name, and config files, maybe a stranger's: plain values under names that exist.

YAML is read as numbers, words, lists and mappings, and nothing that YAML can do besides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from foreframe.base.files import exists
from foreframe.base.typed import brief, describe_type, matches, merged, type_hints, typed
from foreframe.base.untrusted import check_harmless, is_remote, leaves
from foreframe.base.wording import closest
from foreframe.clips.data_options import DRAWN, as_data_args, check_drawn
from foreframe.clips.data_options import GROUPS as OF_RECORDINGS
from foreframe.training.options import GROUPS, DataOptions, MachineOptions, Options

RECIPES = Path(__file__).parents[1] / "configs"
MOST = 256 * 1024  # bytes of a config
DEEPEST = 32  # lists and mappings within each other
DEFAULT = "default"  # the recipe of a training that is told none
HINT = "YAML has values such as 8, [96,128] or {kind: log}, and lines such as `batch_size: 8`"


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
    """The user's options, where the default recipe chooses the rest from the data; None where it
    does not: another recipe or a model is named, a run goes on, or clips are drawn.
    """
    named = {path[0] for path, _ in given}
    data = dict(given).get(("data",), DataOptions.data)
    drawn = isinstance(data, str) and data in (*DRAWN, "moving_mnist_published")
    if drawn or not set(configs) <= {DEFAULT} or named & {"model", "resume"}:
        return None
    return [(path, value) for path, value in given if path != ("config",)]


def options_from(configs: Sequence[str], given: Given) -> Options:
    """The options of training: the usual ones, changed by those of a run that is resumed, by
    configs, and by what a command or a call tells, in this order.

    Args:
        configs: recipes by name, or files.
        given: today's names; those of recordings by their groups.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have; a config that
            cannot be read, or names what only the command line may.
    """
    as_data_args(put({}, given))  # for what it refuses
    files = [config_file(config) for config in configs]
    if resume := dict(given).get(("resume",)):
        config = Path(resume) / "config.yaml"
        if not exists(config):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        files = [str(config), *files]
    kinds: dict[str, Any] = {}
    for group in GROUPS:
        kinds |= {option.name: type_hints(group)[option.name] for option in fields(group)}
    settings: dict[str, Any] = {}
    for file in files:
        for name, value in config_settings(file, list(kinds)).items():
            settings[name] = of_kind(kinds[name], value, f"config {file}: {name}")
    settings.pop("resume", None)
    flags = with_data_args(given)
    check_origin(f"config {files[-1] if files else ''}", settings, [path for path, _ in flags])
    values = put(settings, flags)
    check_drawn(values.get("data", DataOptions.data), [path for path, _ in given])
    groups: list[Any] = []
    for group in GROUPS:
        own = {o.name: values[o.name] for o in fields(group) if o.name in values}
        groups.append(typed(group, own, ""))
    return Options(*groups)


def with_data_args(given: Given) -> Given:
    """Options of recordings where they are kept: among the arguments of the data."""
    flags: Given = []
    for (root, *inner), value in given:
        if root in OF_RECORDINGS and not inner:
            flags += [(("data_args", name), part) for name, part in value.items()]
        elif root in OF_RECORDINGS:
            flags.append((("data_args", *inner), value))
        else:
            flags.append(((*(["data_args"] if root == "scaling" else []), root, *inner), value))
    return flags


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
    """A value of a type.

    Args:
        kind: the type.
        given: text, which is YAML unless the option is a word; or a value of a config.
        where: how messages name it.

    Raises:
        ValueError: not YAML, or another type.
    """
    if kind in (Any, str, str | None):
        if isinstance(given, str):
            return None if given == "null" and kind is not str else given
        kind = str if kind is Any else kind
    value = plain_yaml(given, where) if isinstance(given, str) else given
    if matches(value, kind):
        return value
    if not isinstance(value, list | dict) and isinstance(given, str) and matches(given, kind):
        return given  # a name that looks like a number
    cure = ","
    if where.startswith("--") and dict in (kind, *get_args(kind)):
        cure = f", such as {where}.NAME VALUE,"
    words = describe_type(kind)
    if where.startswith("--"):  # nobody types null there: an option is left out
        words = words.removesuffix(" or null")
    raise ValueError(f"{where} is {words}{cure} not {brief(value)}")


def config_settings(file: str, names: Sequence[str]) -> dict[str, Any]:
    """The options in a file, which may be a stranger's: plain values under names that exist, and
    nothing that lies elsewhere; those of recordings among the arguments of the data.

    Raises:
        ValueError: no such file, no YAML of plain values, an option that is not there, a URL.
    """
    try:
        with open(file, "rb") as opened:
            raw = opened.read(MOST + 1)
    except (OSError, ValueError) as error:
        near = closest(file, recipes())
        names = f"recipes by name: {', '.join(recipes())}"
        known = "" if exists(file) else f"; {near and f'{near} These are '}{names}"
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ValueError(
            f"config {brief(file, quoted=False)} cannot be read: {reason}{known}"
        ) from None
    if len(raw) > MOST:
        raise ValueError(f"config {file} is larger than {MOST // 1024} KiB: it is no config")
    try:
        settings = plain_yaml(raw.decode("utf-8"), f"config {file}")
    except UnicodeDecodeError:
        raise ValueError(
            f"config {file}: not text in UTF-8; a config holds lines such as `batch_size: 8`"
        ) from None
    if not isinstance(settings, dict):
        raise ValueError(
            f"config {file} holds no options; a config holds lines such as `batch_size: 8`"
        )
    options = [*names, *OF_RECORDINGS, "scaling"]
    for name, value in settings.items():
        if name == "config":
            raise ValueError(f"config {file} names another config; give both on the command line")
        if name not in options:
            raise ValueError(f"config {file}: {no_option(name, options)}")
        for path, text in leaves(value, (name,)):
            if name not in ("data", "data_args") and isinstance(text, str) and is_remote(text):
                raise ValueError(
                    f"config {file}: {'.'.join(path)} {brief(text)} lies elsewhere; that comes "
                    "from the command line alone"
                )
    try:
        return as_data_args(settings)
    except ValueError as error:
        raise ValueError(f"config {file}: {error}") from None


def check_origin(where: str, settings: Mapping[str, Any], given: Sequence[Sequence[str]]) -> None:
    """What a config names may be a stranger's: imports, URLs and downloads come from the command
    line, or a call, alone.

    Args:
        where: what the config is called.
        settings: its options.
        given: the names that lead to each option that was given beside it.

    Raises:
        ValueError: with an offer in words.
    """
    args = {} if ("data_args",) in given else dict(settings.get("data_args") or {})
    for path in given:
        if path[0] == "data_args":
            args = _without(args, path[1:])
    budget = settings.get("budget", 0.0)
    if budget > MachineOptions.budget and ("budget",) not in given:
        raise ValueError(
            f"{where}: a larger budget comes from the command line alone: --budget {budget:g}"
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


class _Refused(yaml.MarkedYAMLError):
    """YAML, but more than plain values."""


class _Loader(yaml.SafeLoader):
    """Numbers such as 1e-3 are numbers, and dates are words; names are words, and each is there
    once.
    """


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in rules
        if not tag.endswith((":timestamp", ":float", ":merge"))
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.value:
        name = loader.construct_object(key)
        if not isinstance(name, str):
            word = key.value if isinstance(key.value, str) else "a list"
            raise _Refused(problem=f"{word} is no name", problem_mark=key.start_mark)
        if name in values:
            raise _Refused(problem=f"{name} stands there twice", problem_mark=key.start_mark)
        values[name] = loader.construct_object(value, deep=True)
    return values


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def plain_yaml(text: str, what: str) -> Any:
    """The value that YAML stands for.

    Args:
        text: as it stands in a file, or behind a flag.
        what: the file or flag, for messages.

    Raises:
        ValueError: no YAML, several documents, aliases (a few lines of which can stand for more
            than any memory), tags (which ask for objects), more than 32 levels, names that are no
            words or stand there twice.
    """
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with less in it
    except yaml.MarkedYAMLError as error:
        line = (
            f", line {error.problem_mark.line + 1}"
            if error.problem_mark and "\n" in text.strip()
            else ""
        )
        reason = error.problem if error.problem and error.context is None else "not YAML"
        raise ValueError(f"{what}{line}: {reason}; {HINT}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ValueError(f"{what}: not YAML; {HINT}") from None


def _check_events(text: str) -> None:
    """One walk over the text, which builds nothing."""
    depth = documents = 0
    event: Any
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases such as *name are not read"
        elif getattr(event, "tag", None) is not None and event.tag != "!":
            problem = f"tags such as {event.tag[:40]} are not read"
        elif depth > DEEPEST:
            problem = f"more than {DEEPEST} levels of lists and mappings"
        elif documents > 1:
            problem = "more than one document"
        if problem:
            raise _Refused(problem=problem, problem_mark=event.start_mark)
