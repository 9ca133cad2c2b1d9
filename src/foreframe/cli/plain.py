"""YAML of plain values, from anybody: numbers, words, lists and mappings, and nothing that YAML can
do besides.
"""

import re
from typing import Any

import yaml

MOST = 256 * 1024  # bytes of a config
DEEPEST = 32  # lists and mappings within each other
HINT = "YAML has values such as 8, [96,128] or {kind: log}, and lines such as `batch_size: 8`"


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
        said = error.problem if error.problem and error.context is None else "not YAML"
        raise ValueError(f"{what}{line}: {said}; {HINT}") from None
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
