"""YAML as plain values: numbers, words, lists and mappings, without any other feature of YAML.

Files are untrusted: they run no code, and a few lines never expand to much memory.
"""

import re
from typing import Any

import yaml

MOST = 256 * 1024  # bytes of a file
DEEPEST = 32  # lists and mappings within each other
HINT = "YAML has values such as 8, [96,128] or {kind: log}, and lines such as `batch_size: 8`"

# As in YAML 1.2. PyYAML reads 1.1, in which 1e-3 is a word, `on` is true and 12:30 a number.
SCALARS = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    "float": (
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


class _Refused(yaml.MarkedYAMLError):
    """YAML, but more than plain values."""


class _Loader(yaml.SafeLoader):
    """A loader that refuses names that are not words, and repeated names."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                word = key.value if isinstance(key.value, str) else "a list"
                raise _Refused(problem=f"{word} is no name", problem_mark=key.start_mark)
            if key.value in names:
                raise _Refused(
                    problem=f"{key.value} stands there twice", problem_mark=key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
    )


def plain_yaml(text: str, what: str) -> Any:
    """Read YAML as a plain value.

    Args:
        text: the content of a file, or the value of a flag.
        what: the file or flag, for messages.

    Raises:
        ValueError: not YAML, several documents, aliases (a few lines of which can expand beyond any
            memory), tags (which create objects), more than 32 levels, names that are not words, or
            repeated ones; with the line.
    """
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # a SafeLoader, restricted
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        reason = error.problem if isinstance(error, _Refused) else "not YAML"
        raise ValueError(f"{what}{line}: {reason}; {HINT}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ValueError(f"{what}: not YAML; {HINT}") from None


def _check_events(text: str) -> None:
    """Refuse what is not plain, in a pass over the text that builds nothing."""
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases such as *name are not read"
        elif getattr(event, "tag", None) not in (None, "!"):
            problem = f"tags such as {event.tag[:40]} are not read"
        elif depth > DEEPEST:
            problem = f"more than {DEEPEST} levels of lists and mappings"
        if problem:
            raise _Refused(problem=problem, problem_mark=event.start_mark)


def read_yaml(file: str) -> dict[str, Any]:
    """The options in a file, by name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, not text, or not a mapping; errors of `plain_yaml`.
    """
    what = f"config {file}"
    with open(file, "rb") as opened:
        raw = opened.read(MOST + 1)
    if len(raw) > MOST:
        raise ValueError(f"{what} is larger than {MOST // 1024} KiB: it is no config")
    holds = "a config holds lines such as `batch_size: 8`"
    try:
        settings = plain_yaml(raw.decode("utf-8"), what)
    except UnicodeDecodeError:
        raise ValueError(f"{what}: not text in UTF-8; {holds}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{what} holds no options; {holds}")
    return settings
