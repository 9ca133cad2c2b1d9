"""YAML as plain values: numbers, words, lists and mappings, without any other feature of YAML.

Files are untrusted: they run no code, and a few lines never expand to much memory. Values are built
from PyYAML's events: its loaders would make objects, read `on` as true and 1e-3 as a word.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml

MOST = 256 * 1024  # bytes of a file
DEEPEST = 32  # lists and mappings within each other
HINT = "YAML has values such as 8, [96,128] or {kind: log}, and lines such as `batch_size: 8`"
CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")


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
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        holds = (yaml.NodeEvent, yaml.CollectionEndEvent)  # not where documents begin and end
        nodes = (event for event in events if isinstance(event, holds))
        first = next(nodes, None)
        made = None if first is None else _value(first, nodes)
        for event in nodes:
            raise _refused("a second document", event)
        return made
    except (yaml.YAMLError, ValueError) as error:
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        raise ValueError(f"{what}{line}: {problem or 'not YAML'}; {HINT}") from None


def _value(event: Any, events: Iterator[Any], depth: int = 0) -> Any:
    """The value that begins with an event; takes its other events, too."""
    if isinstance(event, yaml.AliasEvent) or event.tag is not None:
        raise _refused("aliases and tags, such as *name and !name, are not read", event)
    if isinstance(event, yaml.ScalarEvent):
        return event.value if event.style else _scalar(event.value)
    if depth == DEEPEST:
        raise _refused(f"more than {DEEPEST} levels of lists and mappings", event)
    inner = takewhile(lambda event: not isinstance(event, yaml.CollectionEndEvent), events)
    if isinstance(event, yaml.SequenceStartEvent):
        return [_value(item, events, depth + 1) for item in inner]
    made: dict[str, Any] = {}
    for key in inner:
        name = _value(key, events, depth + 1)
        if not isinstance(name, str) or name in made:
            raise _refused(f"{name!s:.60} is no name, or stands there twice", key)
        made[name] = _value(next(events), events, depth + 1)
    return made


def _scalar(text: str) -> Any:
    """What a word without quotes stands for, as in YAML 1.2."""
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _refused(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


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
    try:
        settings = plain_yaml(raw.decode("utf-8"), what)
    except UnicodeDecodeError:
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{what} holds no options; {HINT}")
    return settings
